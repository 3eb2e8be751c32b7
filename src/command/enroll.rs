//! `fullmetal enroll`: a device's keys and request, and the taking of the answer.

use super::options::check_new_file;
use anyhow::{Context as _, bail};
use clap::Args;
use fullmetal::config::{Paths, Settings};
use fullmetal::console::{self, UsageError};
use fullmetal::identity::{
    Clock, FleetTrust, Usage, load_key, new_key, replace_certificate, save_key, verify_certificate, write_new,
};
use fullmetal_proto::wire::{
    EnrolmentAnswer, EnrolmentRequest, Opened, PublicKey, Revocations, SigningKey, Trust, open, seal,
};
use fullmetal_proto::{DeviceId, FleetId, HardwareId};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "First: fullmetal enroll --fleet F --device D --request FILE\n\
    then, where the keys are: fullmetal keys certify FILE --keys DIR --out ANSWER\n\
    then: fullmetal enroll --answer ANSWER")]
pub struct EnrollArgs {
    /// The fleet to join.
    #[arg(long, required_unless_present = "answer")]
    fleet: Option<FleetId>,
    /// This device's id, the same as in Hawkbit.
    #[arg(long, required_unless_present = "answer")]
    device: Option<DeviceId>,
    /// Where to write the request.
    #[arg(long, value_name = "FILE", required_unless_present = "answer")]
    request: Option<PathBuf>,
    /// What kind of hardware this is; may be given more than once.
    #[arg(long, value_name = "ID")]
    hardware: Vec<HardwareId>,
    /// The user that `fullmetal peer` runs as: gets the peer's key.
    #[arg(long, value_name = "UID")]
    peer_uid: Option<u32>,
    /// The answer to an earlier request.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fleet", "device", "request", "hardware", "peer_uid"])]
    answer: Option<PathBuf>,
}

pub fn run(paths: &Paths, args: EnrollArgs) -> anyhow::Result<()> {
    match (&args.answer, &args.fleet, &args.device, &args.request) {
        (Some(answer), ..) => take_answer(paths, answer),
        (None, Some(fleet), Some(device), Some(out)) => request(paths, &args, (fleet, device), out),
        _ => Err(UsageError("give --fleet, --device and --request, or --answer".into()).into()),
    }
}

fn request(paths: &Paths, args: &EnrollArgs, ids: (&FleetId, &DeviceId), out: &Path) -> anyhow::Result<()> {
    let dir = paths.identity_dir();
    check_new_file("--request", out)?;
    check_configured(paths, args, ids)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let peer = own_key(&dir.join("peer.key"))?;
    let agent = own_key(&dir.join("agent.key"))?;
    if let Some(uid) = args.peer_uid {
        std::os::unix::fs::chown(dir.join("peer.key"), Some(uid), None)
            .with_context(|| format!("giving the peer's key to user {uid}"))?;
        for dir in [paths.cache_dir(), paths.peer_run_dir()] {
            std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
            std::os::unix::fs::chown(&dir, Some(uid), Some(uid))
                .with_context(|| format!("giving {} to user {uid}", dir.display()))?;
        }
    }
    if !paths.config_file().exists() {
        write_new(&paths.config_file(), first_configuration(args, ids).as_bytes(), 0o644)?;
    }
    let (fleet, device) = (ids.0.clone(), ids.1.clone());
    let (peer_key, agent_key) = (PublicKey::of(&peer), PublicKey::of(&agent));
    let document = EnrolmentRequest { fleet, device, peer_key, agent_key };
    write_new(out, &seal(&document, &[&peer, &agent])?, 0o644)?;
    console::print(&format!("request of {} is in {}; answer it with `fullmetal keys certify`\n", ids.1, out.display()))
}

/// A configuration that is there already must not say something else than the request.
fn check_configured(paths: &Paths, args: &EnrollArgs, (fleet, device): (&FleetId, &DeviceId)) -> anyhow::Result<()> {
    let file = paths.config_file();
    if !file.exists() {
        return Ok(());
    }
    let settings = Settings::load(paths.clone())?;
    let of = &settings.device;
    let uid = args.peer_uid.filter(|uid| Some(*uid) != settings.agent.peer_uid);
    let hardware = Some(&args.hardware).filter(|h| !h.is_empty() && **h != of.hardware);
    let differs = [
        (of.id != *device).then(|| format!("[device] id is {}, not {device}", of.id)),
        (of.fleet != *fleet).then(|| format!("[device] fleet is {}, not {fleet}", of.fleet)),
        hardware.map(|h| format!("[device] hardware is {:?}, not {h:?}", of.hardware)),
        uid.map(|uid| format!("[agent] peer_uid is not {uid}")),
    ];
    let differs: Vec<String> = differs.into_iter().flatten().collect();
    if !differs.is_empty() {
        let (shown, differs) = (file.display(), differs.join("; "));
        let problem = format!("{shown} says otherwise: {differs}; change it, or the options");
        return Err(UsageError(problem).into());
    }
    Ok(())
}

/// Enrolling again keeps the keys, so that a request can be made anew without losing an identity.
fn own_key(path: &Path) -> anyhow::Result<SigningKey> {
    if !path.exists() {
        save_key(path, &new_key())?;
    }
    Ok(load_key(path)?)
}

fn first_configuration(args: &EnrollArgs, (fleet, device): (&FleetId, &DeviceId)) -> String {
    let hardware: Vec<String> = args.hardware.iter().map(|h| format!("{h:?}")).collect();
    let agent = args.peer_uid.map(|uid| format!("\n[agent]\npeer_uid = {uid}\n")).unwrap_or_default();
    format!(
        "# Written by `fullmetal enroll`; every key is explained in the README.\n\
         [device]\nid = {device:?}\nfleet = {fleet:?}\nhardware = [{}]\n{agent}",
        hardware.join(", ")
    )
}

fn take_answer(paths: &Paths, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("reading {shown}"))?;
    let answer: Opened<EnrolmentAnswer> = open(&bytes).with_context(|| format!("{shown}"))?;
    let answer = answer.document;
    check_expected(paths, &answer, path)?;
    let trust: Opened<Trust> = open(&answer.trust).with_context(|| format!("trust file in {shown}"))?;
    Trust::check_self_signed(&trust).with_context(|| format!("trust file in {shown}"))?;
    let revoked = Revocations::none(&trust.document.fleet);
    check_certificates(paths, &answer, &FleetTrust { trust: trust.document, revoked }, path)?;
    if paths.trust_file().exists() {
        // The trust in force decides; the answer cannot bring another.
        let ours = FleetTrust::load(paths)?;
        let place = paths.trust_file();
        check_certificates(paths, &answer, &ours, path).with_context(|| {
            format!("{} is in force here; to join another fleet move it away first", place.display())
        })?;
    } else {
        write_new(&paths.trust_file(), &answer.trust, 0o644)?;
    }
    for (_, name, der) in certificates(&answer) {
        replace_certificate(&paths.identity_dir().join(format!("{name}.crt")), der)?;
    }
    console::print(&format!("{} is a member of fleet {}\n", answer.device, answer.fleet))
}

/// The answer is for whom the configuration says, and there is a request that it answers.
fn check_expected(paths: &Paths, answer: &EnrolmentAnswer, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let first = "make a request first: fullmetal enroll --fleet F --device D --request FILE";
    if !paths.identity_dir().join("peer.key").exists() {
        let root = paths.root().display();
        return Err(UsageError(format!("this device ({root}) has no keys that {shown} could certify; {first}")).into());
    }
    let of = Settings::load(paths.clone())?.device;
    if of.id != answer.device || of.fleet != answer.fleet {
        let theirs = format!("{} of fleet {}", answer.device, answer.fleet);
        let problem =
            format!("{shown} is for {theirs}, this device is {} of fleet {}; take its own answer", of.id, of.fleet);
        return Err(UsageError(problem).into());
    }
    Ok(())
}

fn certificates(answer: &EnrolmentAnswer) -> [(Usage, &'static str, &[u8]); 2] {
    [(Usage::Peer, "peer", &answer.peer_certificate), (Usage::Agent, "agent", &answer.agent_certificate)]
}

fn check_certificates(paths: &Paths, answer: &EnrolmentAnswer, trust: &FleetTrust, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    for (usage, name, der) in certificates(answer) {
        let member = verify_certificate(der, trust, Clock::new().now(), usage)
            .with_context(|| format!("{name} certificate in {shown}"))?;
        if member.key != PublicKey::of(&load_key(&paths.identity_dir().join(format!("{name}.key")))?) {
            bail!(
                "{shown} certifies another {name} key than this device has; make a new request with `fullmetal enroll`"
            );
        }
    }
    Ok(())
}
