//! `fullmetal verify`: whether what lies on this device is what it should be, and what to do where it is not.
//!
//! Each check is one function in [`CHECKS`] or [`store::check`]; one more kind of thing on the disk is one more function.

mod store;
mod tree;
mod units;

use super::Context;
use anyhow::{Context as _, bail, ensure};
use fullmetal::config::{Paths, Settings};
use fullmetal::console;
use fullmetal::free_space;
use fullmetal::identity::{Clock, FleetTrust, Identity, Usage};
use fullmetal::journal;
use fullmetal_proto::AppName;
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::{App, Phase, Record};
use serde::Serialize;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

/// What ends so soon is told.
const SOON: Duration = Duration::from_secs(60 * 86_400);

/// Something that is not as it should be.
#[derive(Serialize)]
struct Finding {
    what: String,
    #[serde(rename = "where")]
    place: String,
    remedy: String,
}

/// What is looked at.
struct Device {
    settings: Settings,
    record: Record,
    findings: Vec<Finding>,
}

impl Device {
    fn paths(&self) -> &Paths {
        &self.settings.paths
    }

    fn find(&mut self, what: impl Into<String>, place: impl ToString, remedy: impl Into<String>) {
        self.findings.push(Finding { what: what.into(), place: place.to_string(), remedy: remedy.into() });
    }

    /// Apps whose switch is not under way.
    fn apps(&self) -> Vec<(AppName, App)> {
        let under_way = self.record.deployment.as_ref().filter(|d| d.phase != Phase::Staging);
        let moves = under_way.map(|_| self.record.moves()).unwrap_or_default();
        let at_rest = |name: &AppName| moves.iter().all(|m| m.name != *name);
        self.record.apps.iter().filter(|(n, a)| at_rest(n) && !a.lost).map(|(n, a)| (n.clone(), a.clone())).collect()
    }
}

const CHECKS: &[fn(&mut Device)] = &[trust, keys, links, units::check, trouble, space];

pub fn run(context: &Context) -> anyhow::Result<()> {
    let settings = context.settings()?;
    ensure!(super::asking::is_root(), "keys, journal and store are root's: call this as root");
    let mut device = Device { settings, record: Record::default(), findings: Vec::new() };
    match journal::peek(&device.paths().journal_dir()) {
        Ok(record) => device.record = record.unwrap_or_default(),
        Err(error) => {
            let place = device.paths().journal_dir().display().to_string();
            device.find(format!("the journal cannot be read: {error}"), place, "see the agent's log; its apps go on");
        }
    }
    CHECKS.iter().for_each(|check| check(&mut device));
    let objects = store::check(&mut device)?;
    let now = journal::peek(&device.paths().journal_dir()).ok().flatten().unwrap_or_default();
    if now.apps != device.record.apps {
        bail!("a deployment ended meanwhile, so that this looked at two states: verify again");
    }
    tell(context, &device, objects)
}

fn tell(context: &Context, device: &Device, objects: u64) -> anyhow::Result<()> {
    let Device { settings, record, findings } = device;
    let (apps, id) = (record.apps.len(), &settings.device.id);
    if context.json {
        let json = serde_json::json!({ "device": id, "apps": apps, "objects": objects, "findings": findings });
        console::print_json(&json)?;
    } else {
        let mut text = String::new();
        for Finding { what, place, remedy } in findings {
            let _ = writeln!(text, "{what}\n  at: {place}\n  do: {remedy}");
        }
        let _ = writeln!(text, "{id}: {apps} apps, {objects} objects, {} problems", findings.len());
        console::print(&text)?;
    }
    ensure!(findings.is_empty(), "{} problems found", findings.len());
    Ok(())
}

/// The trust file holds and goes on holding.
fn trust(device: &mut Device) {
    let place = device.paths().trust_file().display().to_string();
    match FleetTrust::load(device.paths()) {
        Err(error) => device.find(console::one_line(&error.into()), place, "put the fleet's trust file there again"),
        Ok(trust) => {
            let expires = trust.trust.expires;
            if expires < clock(&trust).now().after(SOON) {
                device.find(format!("the trust file expires {expires}"), place, "have the root role sign a newer one");
            }
        }
    }
}

fn clock(trust: &FleetTrust) -> Clock {
    let clock = Clock::new();
    clock.raise(trust.trust.issued);
    clock
}

/// Keys are there, fit their certificates, and nobody else may read them; certificates hold and go on holding.
fn keys(device: &mut Device) {
    for (usage, name) in [(Usage::Agent, "agent"), (Usage::Peer, "peer")] {
        let dir = device.paths().identity_dir();
        let (key, certificate) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.crt")));
        if let Ok(meta) = std::fs::metadata(&key)
            && meta.mode() & 0o077 != 0
        {
            let what = format!("the {name}'s key has mode {:o}: others may read it", meta.mode() & 0o7777);
            device.find(what, key.display(), format!("chmod 600 {0}; if others were here, enroll anew", key.display()));
        }
        let remedy = "run `fullmetal enroll` anew and put the answer in";
        let identity = match Identity::load(&device.settings, usage) {
            Ok(identity) => identity,
            Err(error) => {
                device.find(console::one_line(&error.into()), key.display(), remedy);
                continue;
            }
        };
        let Ok(trust) = FleetTrust::load(device.paths()) else { continue };
        if let Err(error) = identity.check(&trust, &clock(&trust), usage) {
            device.find(console::one_line(&error.into()), certificate.display(), remedy);
        } else if expires_soon(&identity, &trust, usage) {
            let what = format!("the {name}'s certificate expires within {} days", SOON.as_secs() / 86_400);
            device.find(what, certificate.display(), remedy);
        }
    }
}

fn expires_soon(identity: &Identity, trust: &FleetTrust, usage: Usage) -> bool {
    let then: Timestamp = clock(trust).now().after(SOON);
    fullmetal::identity::verify_certificate(&identity.certificate, trust, then, usage).is_err()
}

/// `current` of each app is the version in force.
fn links(device: &mut Device) {
    for (name, app) in device.apps() {
        let link = device.paths().current(&name);
        let expected = app.current.commit.to_string();
        let problem = match std::fs::read_link(&link) {
            Ok(target) if target.as_os_str() == expected.as_str() => continue,
            Ok(target) => format!("{name} points to {}, in force is {expected}", target.display()),
            Err(error) => format!("the link of {name} to its version in force cannot be read: {error}"),
        };
        device.find(problem, link.display(), "restart the agent: it sets the link right");
    }
}

/// What the agent says of itself.
fn trouble(device: &mut Device) {
    let file = device.paths().agent_trouble();
    for line in std::fs::read_to_string(&file).unwrap_or_default().lines() {
        device.find(line, "the agent", "see the agent's log");
    }
}

/// There is room for the next deployment.
fn space(device: &mut Device) {
    let dir = device.paths().state_dir();
    let stat = match rustix::fs::statvfs(&dir).with_context(|| format!("asking for space at {}", dir.display())) {
        Ok(stat) => stat,
        Err(error) => {
            return device.find(console::one_line(&error), dir.display(), "start `fullmetal agent`, which makes it");
        }
    };
    let (free, needed) = (free_space::free(&stat), free_space::reserve(&stat));
    let remedy = "remove what is not the updater's; it keeps two versions of each app and a bounded cache";
    if free < needed {
        let (free, needed) = (console::bytes(free), console::bytes(needed));
        device.find(format!("{free} are free, {needed} must stay free: nothing is deployed"), dir.display(), remedy);
    }
    if stat.f_files > 0 && stat.f_favail < 1000 {
        device.find(format!("{} inodes are free", stat.f_favail), dir.display(), remedy);
    }
}
