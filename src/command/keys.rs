//! `fullmetal keys`: the fleet's keys and the certificates of its devices.

use super::options::{Before, Printing, check_new_file};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fullmetal::console::{self, UsageError};
use fullmetal::durable::{self, Existing};
use fullmetal::identity::{
    Clock, FleetTrust, Usage, issue_ca, issue_member, load_certificate, load_key, new_key, save_certificate, save_key,
    write_new,
};
use fullmetal_proto::wire::trust::Role;
use fullmetal_proto::wire::{
    BuildKey, EnrolmentAnswer, EnrolmentRequest, KeyId, Opened, PublicKey, Revocations, SigningKey, Trust, open, seal,
};
use fullmetal_proto::{DeviceId, FleetId, Timestamp};
use serde_bytes::ByteBuf;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make root, build, gateway and device-CA keys and trust file version 1.
    Generate(Printing<GenerateArgs>),
    /// Answer a device's enrolment request with its two certificates.
    Certify(CertifyArgs),
    /// Write a longer revocation list; devices read it from etc/fullmetal/revocations.
    Revoke(RevokeArgs),
}

#[derive(Args)]
pub struct GenerateArgs {
    /// The fleet's name.
    #[arg(long)]
    fleet: FleetId,
    /// A new directory for the keys. Keep root.key and device-ca.key offline.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days for which the trust file holds.
    #[arg(long, default_value_t = 3650)]
    days: u64,
    /// Refs that the build key may sign.
    #[arg(long = "build-ref", value_name = "PATTERN", default_value = "*")]
    build_refs: Vec<String>,
    /// Refs whose commits may be unsigned (FullMetalUpdate's).
    #[arg(long = "unsigned-ref", value_name = "PATTERN")]
    unsigned_refs: Vec<String>,
}

#[derive(Args)]
pub struct CertifyArgs {
    /// The request that `fullmetal enroll` wrote on the device.
    request: PathBuf,
    /// The directory that `fullmetal keys generate` made.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Where to write the answer.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
pub struct RevokeArgs {
    /// The directory that `fullmetal keys generate` made.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// A device that is no member any more; may be given more than once.
    #[arg(long, value_name = "ID", required_unless_present = "key_ids")]
    device: Vec<DeviceId>,
    /// A key that signs nothing any more, as `fullmetal inspect` shows it; may be given more than once.
    #[arg(long = "key-id", value_name = "HEX")]
    key_ids: Vec<String>,
    /// The list in force; the new one holds all of its entries. --out may name the same file.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Where to write the new list.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(command: KeysCommand, before: &Before) -> anyhow::Result<()> {
    match command {
        KeysCommand::Generate(printing) => generate(printing.json(before), printing.args),
        KeysCommand::Certify(args) => certify(&args),
        KeysCommand::Revoke(args) => revoke(args),
    }
}

fn generate(json: bool, args: GenerateArgs) -> anyhow::Result<()> {
    if args.days == 0 || args.days > 36_500 {
        return Err(UsageError(format!("--days {} must be between 1 and 36500", args.days)).into());
    }
    check_vacant(&args.out)?;
    let [root, build, gateway, ca] = std::array::from_fn(|_| new_key());
    let certificate = issue_ca(&args.fleet, &ca)?;
    let trust = first_trust(&args, [&root, &build, &gateway], &certificate);
    let envelope = seal(&trust, &[&root]).context("making the trust file")?;
    let making = making(&args.out);
    std::fs::DirBuilder::new().mode(0o700).create(&making).with_context(|| format!("creating {}", making.display()))?;
    let made = (|| {
        for (name, key) in [("build", &build), ("gateway", &gateway), ("device-ca", &ca), ("root", &root)] {
            save_key(&making.join(format!("{name}.key")), key)?;
        }
        save_certificate(&making.join("device-ca.crt"), &certificate)?;
        write_new(&making.join("trust"), &envelope, 0o644)?;
        durable::place_dir(&making, &args.out).context("placing the new keys")
    })();
    made.inspect_err(|_| drop(std::fs::remove_dir_all(&making)))?;
    let dir = args.out.display();
    if json {
        let ids = serde_json::json!({
            "fleet": trust.fleet, "directory": args.out, "root": PublicKey::of(&root).id(),
            "build": PublicKey::of(&build).id(), "gateway": PublicKey::of(&gateway).id(), "expires": trust.expires,
        });
        return console::print_json(&ids);
    }
    console::print(&format!(
        "Keys of fleet {} are in {dir}:\n  \
         root.key       signs trust files and revocations; keep it offline\n  \
         device-ca.key  certifies devices (`fullmetal keys certify`); keep it offline\n  \
         build.key      signs commits (`fullmetal publish`)\n  \
         gateway.key    signs announcements (`fullmetal-gateway run`)\n  \
         trust          whom the fleet believes; every device gets it; holds until {}\n",
        trust.fleet, trust.expires
    ))
}

/// Beside `out`, in the same file system: nothing half-made ever has its name.
fn making(out: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(format!(".making-{}", std::process::id()));
    out.with_file_name(name)
}

/// Keys are made once: nothing is in the directory, which need not exist.
fn check_vacant(out: &Path) -> anyhow::Result<()> {
    if out.join("root.key").exists() {
        bail!("{} already holds a fleet's keys; give a new directory to --out", out.display());
    }
    let found = match std::fs::read_dir(out) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        entries => entries.with_context(|| format!("--out {}", out.display()))?.count(),
    };
    if found > 0 {
        bail!("{} has other files in it; give a new directory to --out", out.display());
    }
    if out.file_name().is_none() {
        return Err(UsageError(format!("--out {} is no name for a new directory", out.display())).into());
    }
    match out.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => Ok(durable::make_dir(dir, 0o755)?),
        None => Ok(()),
    }
}

fn first_trust(args: &GenerateArgs, [root, build, gateway]: [&SigningKey; 3], ca: &[u8]) -> Trust {
    let issued = Clock::new().now();
    let role = |key: &SigningKey| Role { keys: vec![PublicKey::of(key)], threshold: 1 };
    Trust {
        fleet: args.fleet.clone(),
        version: 1,
        issued,
        expires: Timestamp::from_secs(issued.after(Duration::from_secs(args.days * 86_400)).as_secs()),
        root: role(root),
        build: vec![BuildKey { key: PublicKey::of(build), refs: args.build_refs.clone() }],
        build_threshold: 1,
        gateway: role(gateway),
        epoch: 1,
        device_ca: vec![ByteBuf::from(ca.to_vec())],
        unsigned_refs: args.unsigned_refs.clone(),
    }
}

fn certify(args: &CertifyArgs) -> anyhow::Result<()> {
    let request = read_request(&args.request)?;
    let trust_path = args.keys.join("trust");
    let trust = FleetTrust::load_trust(&trust_path)?;
    if request.fleet != trust.fleet {
        let (file, keys, ours) = (args.request.display(), args.keys.display(), &trust.fleet);
        bail!("{file} is for fleet {}, the keys in {keys} are of fleet {ours}; give that fleet's keys", request.fleet);
    }
    check_new_file("--out", &args.out)?;
    let ca = (load_certificate(&args.keys.join("device-ca.crt"))?, load_key(&args.keys.join("device-ca.key"))?);
    let now = Clock::new().now();
    let issue = |key, usage| {
        let certificate = issue_member((&ca.0, &ca.1), (&request.fleet, &request.device), key, usage, now)?;
        anyhow::Ok(ByteBuf::from(certificate))
    };
    let answer = EnrolmentAnswer {
        fleet: request.fleet.clone(),
        device: request.device.clone(),
        peer_certificate: issue(&request.peer_key, Usage::Peer)?,
        agent_certificate: issue(&request.agent_key, Usage::Agent)?,
        trust: ByteBuf::from(std::fs::read(&trust_path).context("reading the trust file")?),
    };
    write_new(&args.out, &seal(&answer, &[])?, 0o644)?;
    console::print(&format!(
        "{} is certified for fleet {}; give {} to `fullmetal enroll --answer` there\n",
        request.device,
        request.fleet,
        args.out.display()
    ))
}

fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let trust = FleetTrust::load_trust(&args.keys.join("trust"))?;
    let replaces = args.previous.as_ref() == Some(&args.out);
    if !replaces {
        check_new_file("--out", &args.out)?;
    }
    let known = args.keys.join("revocations");
    if args.previous.is_none() && known.exists() {
        let known = known.display();
        return Err(UsageError(format!("{known} is in force, and lists only grow: give --previous {known}")).into());
    }
    let mut list = Revocations::none(&trust.fleet);
    if let Some(path) = &args.previous {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let previous: Opened<Revocations> = open(&bytes).with_context(|| path.display().to_string())?;
        trust.check_revocations(&previous, &list).with_context(|| path.display().to_string())?;
        list = previous.document;
    }
    list.version += 1;
    list.issued = Clock::new().now();
    list.devices.extend(args.device);
    for text in &args.key_ids {
        let mut id = [0; 16];
        let problem = || UsageError(format!("--key-id {text:?} is not 32 hex digits"));
        hex::decode_to_slice(text, &mut id).map_err(|_| problem())?;
        list.keys.insert(KeyId(id));
    }
    let root = load_key(&args.keys.join("root.key"))?;
    let existing = if replaces { Existing::Replaced } else { Existing::Refused };
    durable::write(&args.out, &seal(&list, &[&root])?, 0o644, existing)?;
    let count = list.devices.len() + list.keys.len();
    let shown = args.out.display();
    console::print(&format!("revocation list version {} with {count} entries is in {shown}\n", list.version))
}

fn read_request(path: &Path) -> anyhow::Result<EnrolmentRequest> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let opened: Opened<EnrolmentRequest> = open(&bytes).with_context(|| format!("{}", path.display()))?;
    let request = opened.document;
    let keys = [request.peer_key, request.agent_key];
    if opened.envelope.signers(&keys).len() != keys.len() {
        bail!("{}: not signed by both of the keys that it names; make it again on the device", path.display());
    }
    Ok(request)
}
