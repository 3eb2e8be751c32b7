//! Whether a document holds now, and why or why not.

use super::{Judge, line};
use fullmetal::identity::{FleetTrust, Usage, verify_certificate};
use fullmetal_proto::wire::{
    Announcement, Bundle, EnrolmentAnswer, EnrolmentRequest, Envelope, KeyId, Manifest, Opened, PlainManifest, Receipt,
    Refusal, Report, Revocations, Trust, open,
};
use fullmetal_proto::{FleetId, Timestamp};

/// A document that can be judged: `Ok(why it holds)` or `Err(why it does not)`.
pub trait Verdict: Sized {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String>;
}

pub const NO_TRUST: &str = "no trust file to judge by; give one with --trust";

/// Adds the verdict's line.
pub fn tell(text: &mut String, verdict: &Result<String, String>) {
    let told = match verdict {
        Ok(why) => format!("yes: {why}"),
        Err(why) => format!("no: {why}"),
    };
    line(text, "holds now", &told);
}

fn say(refusal: Refusal) -> String {
    refusal.to_string()
}

/// A key's place in the trust file, for people.
pub fn name_of(key: &KeyId, trust: Option<&FleetTrust>) -> String {
    let Some(trust) = trust else { return key.to_string() };
    let roles = trust.roles(key);
    if roles.is_empty() { format!("{key} (no role)") } else { format!("{key} ({})", roles.join(", ")) }
}

fn by_gateway(envelope: &Envelope, fleet: &FleetId, judge: &Judge) -> Result<String, String> {
    let trust = judge.trust.as_ref().ok_or(NO_TRUST)?;
    trust.trust.check_fleet(fleet).map_err(say)?;
    trust.check_gateway(envelope).map_err(say)?;
    Ok(format!("signed by the gateway role of trust file version {}", trust.trust.version))
}

impl Verdict for Trust {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String> {
        Trust::check_self_signed(opened).map_err(say)?;
        opened.document.check_time(judge.now.now()).map_err(say)?;
        match &judge.trust {
            Some(t) if t.trust == opened.document => Ok("it is the trust file in force".into()),
            Some(t) => {
                t.trust.check_successor(opened, &t.revoked).map_err(say)?;
                Ok(format!("it may follow version {}", t.trust.version))
            }
            None => Ok("signed by its own root role; compare the root key with the fleet's owner".into()),
        }
    }
}

impl Verdict for Revocations {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String> {
        let trust = judge.trust.as_ref().ok_or(NO_TRUST)?;
        trust.trust.check_revocations(opened, &trust.revoked).map_err(say)?;
        Ok(format!("signed by the root role of trust file version {}", trust.trust.version))
    }
}

impl Verdict for Bundle {
    fn verdict(_: &Opened<Self>, _: &Judge) -> Result<String, String> {
        Err("a bundle counts only by its hash in a signed announcement".into())
    }
}

impl Verdict for Manifest {
    fn verdict(_: &Opened<Self>, _: &Judge) -> Result<String, String> {
        Err("a manifest counts only by its hash in a bundle".into())
    }
}

impl Verdict for PlainManifest {
    fn verdict(_: &Opened<Self>, _: &Judge) -> Result<String, String> {
        Err("a manifest counts only by its hash in a bundle".into())
    }
}

impl Verdict for Announcement {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String> {
        let why = by_gateway(&opened.envelope, &opened.document.fleet, judge)?;
        expiry(opened.document.expires, judge)?;
        let epoch = judge.trust.as_ref().map_or(0, |t| t.trust.epoch);
        if opened.document.epoch != epoch {
            return Err(format!("epoch {} is not the trust file's {epoch}", opened.document.epoch));
        }
        Ok(why)
    }
}

fn expiry(at: Timestamp, judge: &Judge) -> Result<(), String> {
    if judge.now.now() > at { Err(format!("expired at {at}")) } else { Ok(()) }
}

impl Verdict for Receipt {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String> {
        by_gateway(&opened.envelope, &opened.document.fleet, judge)
    }
}

impl Verdict for Report {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String> {
        let trust = judge.trust.as_ref().ok_or(NO_TRUST)?;
        let report = &opened.document;
        trust.trust.check_fleet(&report.fleet).map_err(say)?;
        let member =
            verify_certificate(&report.certificate, trust, judge.now.now(), Usage::Agent).map_err(|e| e.to_string())?;
        if member.device != report.device {
            return Err(format!("its certificate is {}'s", member.device));
        }
        if opened.envelope.signers([&member.key]).is_empty() {
            return Err("not signed by the key of its certificate".into());
        }
        Ok(format!("signed by the agent of {}", member.device))
    }
}

impl Verdict for EnrolmentRequest {
    fn verdict(opened: &Opened<Self>, _: &Judge) -> Result<String, String> {
        let keys = [opened.document.peer_key, opened.document.agent_key];
        if opened.envelope.signers(&keys).len() != keys.len() {
            return Err("not signed by both of its keys".into());
        }
        Ok("signed by both of its keys".into())
    }
}

impl Verdict for EnrolmentAnswer {
    fn verdict(opened: &Opened<Self>, judge: &Judge) -> Result<String, String> {
        let answer = &opened.document;
        let inside: Opened<Trust> = open(&answer.trust).map_err(|e| format!("its trust file: {e}"))?;
        Trust::check_self_signed(&inside).map_err(|e| format!("its trust file: {e}"))?;
        let own = FleetTrust { revoked: Revocations::none(&inside.document.fleet), trust: inside.document };
        certified(answer, &own, judge)?;
        let Some(trust) = &judge.trust else {
            return Ok(
                "both certificates hold under its own trust file; compare the root key with the fleet's owner, \
                       or judge it by --trust"
                    .into(),
            );
        };
        trust.trust.check_fleet(&answer.fleet).map_err(say)?;
        certified(answer, trust, judge)?;
        if own.trust.root != trust.trust.root {
            return Err(format!(
                "its trust file has another root role than trust file version {}",
                trust.trust.version
            ));
        }
        Ok(format!("both certificates hold under trust file version {}", trust.trust.version))
    }
}

/// Whether both certificates are the device's and lead to a CA of `trust`, and neither is revoked.
fn certified(answer: &EnrolmentAnswer, trust: &FleetTrust, judge: &Judge) -> Result<(), String> {
    for (usage, der) in [(Usage::Peer, &answer.peer_certificate), (Usage::Agent, &answer.agent_certificate)] {
        let member = verify_certificate(der, trust, judge.now.now(), usage).map_err(|e| e.to_string())?;
        if member.device != answer.device {
            return Err(format!("a certificate is {}'s", member.device));
        }
    }
    Ok(())
}
