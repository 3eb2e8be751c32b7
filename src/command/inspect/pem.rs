//! Keys and certificates in PEM. Nothing of a private key is shown but the id of its public half.

use super::{Judge, Shown, verdict};
use anyhow::{Context as _, bail};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use fullmetal::identity::{FleetTrust, Usage, certificate_of_pem, key_of_pem, read_certificate, verify_certificate};
use fullmetal_proto::wire::PublicKey;
use std::path::Path;

/// Whether the file is PEM of whatever kind.
pub fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// What a PEM file is.
pub fn look(path: &Path, bytes: &[u8], judge: &Judge) -> anyhow::Result<Shown> {
    let text = std::str::from_utf8(bytes).with_context(|| format!("{} is no PEM file: not text", path.display()))?;
    let label = text.trim_start().trim_start_matches("-----BEGIN ").split("-----").next().unwrap_or_default();
    match label {
        "PRIVATE KEY" => {
            let key = PublicKey::of(&key_of_pem(path, bytes)?);
            Ok(key_shown("private-key", "ed25519 private key: keep it secret", key, judge))
        }
        "PUBLIC KEY" => {
            let key = VerifyingKey::from_public_key_pem(text)
                .with_context(|| format!("{} is no ed25519 public key", path.display()))?;
            Ok(key_shown("public-key", "ed25519 public key", PublicKey(key.to_bytes()), judge))
        }
        "CERTIFICATE" => certificate(path, bytes, judge),
        other => {
            bail!("{} holds a PEM {other:?}; the fleet's keys are \"PRIVATE KEY\" (PKCS#8, ed25519)", path.display())
        }
    }
}

fn key_shown(kind: &'static str, title: &str, key: PublicKey, judge: &Judge) -> Shown {
    let verdict = match &judge.trust {
        None => Err(verdict::NO_TRUST.to_owned()),
        Some(trust) => match &trust.roles(&key.id())[..] {
            [] => Err(format!("in no role of trust file version {}", trust.trust.version)),
            roles if roles.contains(&"revoked") => Err("it is revoked".to_owned()),
            roles => Ok(format!("{} key in trust file version {}", roles.join(" and "), trust.trust.version)),
        },
    };
    Shown { kind, title: title.to_owned(), facts: vec![("key id", key.id().to_string())], verdict }
}

fn certificate(path: &Path, bytes: &[u8], judge: &Judge) -> anyhow::Result<Shown> {
    let der = certificate_of_pem(path, bytes)?;
    let (key, names) = read_certificate(&der).with_context(|| path.display().to_string())?;
    let mut facts = vec![("key id", key.map_or_else(|| "not ed25519".to_owned(), |k| k.id().to_string()))];
    facts.extend(names.into_iter().map(|name| ("names", name)));
    let verdict = match &judge.trust {
        None => Err(verdict::NO_TRUST.to_owned()),
        Some(trust) => certifies(&der, trust, judge),
    };
    Ok(Shown { kind: "certificate", title: "X.509 certificate".to_owned(), facts, verdict })
}

fn certifies(der: &[u8], trust: &FleetTrust, judge: &Judge) -> Result<String, String> {
    let fleet = &trust.trust.fleet;
    if trust.trust.device_ca.iter().any(|ca| **ca == *der) {
        return Ok(format!("a device CA of fleet {fleet}, trust file version {}", trust.trust.version));
    }
    let as_peer = verify_certificate(der, trust, judge.now.now(), Usage::Peer);
    if let Ok(member) = as_peer {
        return Ok(format!("the peer of {} in fleet {fleet}", member.device));
    }
    match verify_certificate(der, trust, judge.now.now(), Usage::Agent) {
        Ok(member) => Ok(format!("the agent of {} in fleet {fleet}", member.device)),
        Err(error) => Err(error.to_string()),
    }
}
