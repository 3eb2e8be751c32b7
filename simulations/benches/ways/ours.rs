//! Fullmetal: gateway, peers and agents, as they are installed.

use crate::figures::Figures;
use crate::release::{REF, Repos};
use crate::room::{Host, Room, commit_file};
use anyhow::Context as _;
use fullmetal_sim::lab::net::LAN;
use fullmetal_sim::lab::{Node, NodeOptions, output_of, wait_for};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a fleet may take to find itself.
const NEIGHBOURS_MAX: Duration = Duration::from_secs(60);

/// Decides for all devices at once that they take it and wait with its start.
pub fn deploy(room: &mut Room, repos: &Repos, _plain: bool) -> anyhow::Result<Figures> {
    let fleet = repos.fleet.dir().to_owned();
    let mut gateway = enroll(room, repos, &room.gateway)?;
    fs::copy(repos.fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key"))?;
    gateway.start_peer()?;
    gateway.start_gateway()?;
    let mut devices = room.hosts.iter().map(|host| enroll(room, repos, host)).collect::<Result<Vec<_>, _>>()?;
    for device in &mut devices {
        device.start_peer()?;
        device.start_agent()?;
    }
    for device in &mut devices {
        wait_for("neighbours", NEIGHBOURS_MAX, || {
            device.check()?;
            let status = device.status()?;
            Ok(status["peer"]["neighbours"].as_array().is_some_and(|n| !n.is_empty()).then_some(()))
        })
        .with_context(|| device.name().to_owned())?;
    }
    let figures = decide(room, &gateway, &devices, &repos.commit);
    let repo = devices[0].root().join("var/lib/fullmetal/repo");
    let figures = figures.and_then(|figures| {
        output_of(Command::new("ostree").arg("fsck").arg(format!("--repo={}", repo.display())))?;
        Ok(figures)
    });
    drop(gateway);
    drop(devices);
    for name in room.hosts.iter().chain([&room.gateway]).map(|host| &host.name) {
        remove(&fleet, name)?;
    }
    figures
}

fn decide(room: &mut Room, gateway: &Node, devices: &[Node], commit: &str) -> anyhow::Result<Figures> {
    let file = room.dir.path().join("decision.toml");
    let names: Vec<&str> = devices.iter().map(Node::name).collect();
    fs::write(&file, format!("devices = {names:?}\nmode = \"stage\"\n[[part]]\nref = {REF:?}\n"))?;
    let begun = room.begin()?;
    gateway.gateway(&["deploy", &file.to_string_lossy()])?;
    let root = |host: &Host| devices.iter().find(|device| device.name() == host.name).map(|device| device.root());
    room.wait(begun, |host| {
        let repo = root(host).unwrap_or(Path::new("/nowhere")).join("var/lib/fullmetal/repo");
        commit_file(&repo, commit)
    })
}

fn enroll(room: &Room, repos: &Repos, host: &Host) -> anyhow::Result<Node> {
    let options = NodeOptions {
        central: Some(room.central.url()),
        interface: LAN.to_owned(),
        netns: Some(room.net.netns(&host.name)),
        cgroup: Some(host.group.clone()),
        peer: String::new(),
    };
    repos.fleet.enroll(&host.name, &options)
}

/// So that the next one begins with nothing.
fn remove(fleet: &Path, name: &str) -> anyhow::Result<()> {
    let root = fleet.join(name);
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    ["request", "answer"].iter().try_for_each(|end| Ok(fs::remove_file(fleet.join(format!("{name}.{end}")))?))
}
