//! The programs of a site: gateway, peers and agents, as they are installed.

use crate::room::{Host, Room, commit_file};
use anyhow::Context as _;
use fullmetal_sim::lab::net::LAN;
use fullmetal_sim::lab::{Fleet, Node, NodeOptions, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a fleet may take to find itself.
const NEIGHBOURS_MAX: Duration = Duration::from_secs(60);

/// What runs at the hosts of a room, in their order.
pub struct Site {
    pub gateway: Node,
    pub devices: Vec<Node>,
}

impl Site {
    /// Enrolls gateway and devices and starts them, but for the `late` last devices; they have found one another.
    pub fn start(room: &Room, fleet: &Fleet, late: usize) -> anyhow::Result<Self> {
        let mut gateway = enroll(room, fleet, &room.gateway)?;
        fs::copy(fleet.keys().join("gateway.key"), gateway.root().join("etc/fullmetal/gateway.key"))?;
        gateway.start_peer()?;
        gateway.start_gateway()?;
        let mut devices = room.hosts.iter().map(|host| enroll(room, fleet, host)).collect::<Result<Vec<_>, _>>()?;
        let early = devices.len().saturating_sub(late);
        for device in &mut devices[..early] {
            device.start_peer()?;
            device.start_agent()?;
        }
        for device in &mut devices[..early] {
            wait_for("neighbours", NEIGHBOURS_MAX, || {
                device.check()?;
                let status = device.status()?;
                Ok(status["peer"]["neighbours"].as_array().is_some_and(|n| !n.is_empty()).then_some(()))
            })
            .with_context(|| device.name().to_owned())?;
        }
        Ok(Site { gateway, devices })
    }

    /// Decides for all devices at once that they take what the ref names.
    pub fn decide(&self, room: &Room, ref_name: &str, mode: &str) -> anyhow::Result<()> {
        let file = room.dir.path().join("decision.toml");
        let names: Vec<&str> = self.devices.iter().map(Node::name).collect();
        fs::write(&file, format!("devices = {names:?}\nmode = {mode:?}\n[[part]]\nref = {ref_name:?}\n"))?;
        self.gateway.gateway(&["deploy", &file.to_string_lossy()]).map(|_| ())
    }

    /// Where a host has a commit when it has it.
    pub fn file_of(&self, commit: &str) -> impl Fn(&Host) -> PathBuf + use<> {
        let of = |device: &Node| (device.name().to_owned(), commit_file(&store(device.root()), commit));
        let files: Vec<(String, PathBuf)> = self.devices.iter().map(of).collect();
        move |host| files.iter().find(|(name, _)| *name == host.name).map(|(_, file)| file.clone()).unwrap_or_default()
    }
}

/// The object store of a device.
pub fn store(root: &Path) -> PathBuf {
    root.join("var/lib/fullmetal/repo")
}

fn enroll(room: &Room, fleet: &Fleet, host: &Host) -> anyhow::Result<Node> {
    let options = NodeOptions {
        central: Some(room.central.url()),
        interface: LAN.to_owned(),
        netns: Some(room.net.netns(&host.name)),
        cgroup: Some(host.group.clone()),
        peer: String::new(),
    };
    fleet.enroll(&host.name, &options)
}
