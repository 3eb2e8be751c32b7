//! The site of a scenario in namespaces, before anything is switched on.

use super::able;
use super::release::{self, Published};
use super::timeline::HostId;
use crate::lab::net::{LAN, Net};
use crate::lab::relay::Relay;
use crate::lab::{
    Central, Cgroup, Fleet, Impairment, Node, NodeOptions, Operator, Programs, cgroup, net, pull_with_ostree,
};
use crate::sim::release::Release;
use crate::sim::scenario::{Group, Scenario};
use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Central's address, and where its web server listens behind the relay.
pub const CENTRAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 99, 0, CENTRAL_NUMBER)), 80);
const BEHIND_RELAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The last byte of central's address.
const CENTRAL_NUMBER: u8 = 2;
/// The last byte of the gateway's address; the devices follow.
const GATEWAY_NUMBER: u8 = 10;

/// The gateway or a device.
#[derive(Debug)]
pub struct Host {
    /// Its device id.
    pub id: String,
    /// Its name in the network.
    pub at: String,
    /// The switch that its hall has.
    pub switch: String,
    /// Bytes a second of its port.
    pub port: u64,
    /// Its programs.
    pub node: Node,
}

/// A site. Values are ended in the order in which they stand.
#[derive(Debug)]
pub struct Stage {
    /// The gateway, then the devices.
    pub hosts: Vec<Host>,
    /// The operator's server, in the gateway's namespace.
    pub operator: Operator,
    _relay: Option<Relay>,
    /// Central's web server.
    pub central: Central,
    _central_group: Cgroup,
    /// The namespaces.
    pub net: Net,
    /// How many weak links there are.
    pub trunks: usize,
    fleet: Fleet,
}

impl Drop for Stage {
    /// Ends all hosts at the same time.
    fn drop(&mut self) {
        let devices = self.devices();
        let hosts = std::mem::take(&mut self.hosts);
        std::thread::scope(|scope| {
            for host in hosts {
                scope.spawn(move || drop(host));
            }
        });
        devices.iter().for_each(|device| cgroup::end_containers(device));
    }
}

impl Stage {
    /// Sets all up below `dir`; this thread lives in the gateway's namespace afterwards.
    pub fn new(scenario: &Scenario, seed: u64, programs: &Programs, dir: &Path) -> anyhow::Result<Self> {
        let unsigned: Vec<&str> = release::unsigned(&scenario.release).into_iter().collect();
        let fleet = Fleet::that_allows(programs, dir, "lab", &unsigned)?;
        std::fs::create_dir_all(fleet.repo())?;
        fleet.make_plain_repo()?;
        let (net, switches) = network(scenario, seed)?;
        let netns = net.netns("central");
        let delayed = scenario.network.central_latency > 0;
        let plain = scenario.release.kind != crate::sim::scenario::Kind::Frames;
        let repo = if plain { fleet.plain_repo() } else { fleet.repo() };
        let address = if delayed { BEHIND_RELAY } else { CENTRAL };
        let central = Central::start(&dir.join("nginx"), &repo, address, Some(&netns))?;
        let central_group = Cgroup::new(&netns)?;
        central.process().join(&central_group)?;
        let latency = Duration::from_micros(scenario.network.central_latency);
        let relay = delayed.then(|| Relay::start(&netns, CENTRAL, BEHIND_RELAY, latency)).transpose()?;
        net::enter(&net.netns("gateway"))?;
        let operator = Operator::at(None, dir)?;
        let (trunks, hosts) = (scenario.network.trunks.len(), Vec::new());
        let mut stage =
            Stage { hosts, operator, _relay: relay, central, _central_group: central_group, net, trunks, fleet };
        for (name, group, at, switch) in switches {
            let host = stage.host(name, group, scenario.network.central_rate, (at, switch))?;
            stage.hosts.push(host);
        }
        stage.operator.steer(&stage.hosts[0].node, "*")?;
        stage.operator.make_targets(&stage.devices())?;
        Ok(stage)
    }

    fn host(
        &self,
        name: String,
        group: &Group,
        budget: Option<u64>,
        (at, switch): (String, String),
    ) -> anyhow::Result<Host> {
        let central = group.origin.then(|| format!("http://{CENTRAL}/"));
        let budget = budget.map(|rate| format!("central_rate = \"{} bit/s\"\n", rate * 8)).unwrap_or_default();
        let peer = format!("weight = {}\n{budget}", group.weight);
        let options = NodeOptions { peer, ..self.net.options(&at, central)? };
        let node = self.fleet.enroll(&name, &options)?;
        if at == "gateway" {
            let key = node.root().join("etc/fullmetal/gateway.key");
            std::fs::copy(self.fleet.keys().join("gateway.key"), key).context("giving the gateway its key")?;
        }
        Ok(Host { id: name, at, switch, port: group.port, node })
    }

    /// The id of a host.
    pub fn id(&self, host: HostId) -> String {
        self.hosts[host].id.clone()
    }

    /// Ids of all devices.
    pub fn devices(&self) -> Vec<String> {
        self.hosts.iter().skip(1).map(|host| host.id.clone()).collect()
    }

    /// Publishes the release of the scenario.
    pub fn publish(&self, scenario: &Scenario, sizes: &Release, seed: u64) -> anyhow::Result<Published> {
        release::publish(&self.fleet, &scenario.release, sizes, seed, &self.operator)
    }

    /// Bytes that central sends for a cold pull by one host that knows nothing of us.
    pub fn one_copy(&self, ref_name: &str) -> anyhow::Result<u64> {
        let before = self.sent_by_central()?;
        let url = format!("http://{CENTRAL}/");
        let repo = self.fleet.dir().join("probe");
        pull_with_ostree(&repo, &url, ref_name, Some(&self.net.netns("probe")))?;
        std::fs::remove_dir_all(&repo).context("removing what the probe pulled")?;
        Ok(self.sent_by_central()? - before)
    }

    /// Bytes over the uplink toward the site so far.
    pub fn sent_by_central(&self) -> anyhow::Result<u64> {
        Ok(self.net.carried_by("central")?.sent)
    }

    /// Lets the links carry what the scenario says, and no more.
    pub fn limit(&self, uplink: u64) -> anyhow::Result<()> {
        self.net.limit("central", LAN, uplink)?;
        self.hosts.iter().try_for_each(|host| self.net.limit(&host.at, LAN, host.port))
    }

    /// Starts what runs on a host, if it does not run.
    pub fn power_on(&mut self, host: HostId) -> anyhow::Result<()> {
        let of = &mut self.hosts[host].node;
        if of.is_on() {
            return Ok(());
        }
        of.start_peer()?;
        if host == 0 { of.start_gateway() } else { of.start_agent() }
    }
}

/// A host that is to be: its id, its group, its name in the network, its switch.
type Planned<'a> = (String, &'a Group, String, String);

/// A switch for each hall that trunks join, else one, and a namespace for each host.
fn network(scenario: &Scenario, seed: u64) -> anyhow::Result<(Net, Vec<Planned<'_>>)> {
    let mut halls: Vec<&str> = scenario.network.trunks.iter().flat_map(|t| &t.between).map(String::as_str).collect();
    halls.sort_unstable();
    halls.dedup();
    let switch =
        |hall: &str| halls.iter().position(|h| *h == hall).map_or_else(|| "lan".to_owned(), |i| format!("h{i}"));
    let impairment = able::impairment(&scenario.network);
    let mut net = Net::of(&["lan"])?;
    // The way to central has a latency of its own.
    net.impair(seed, CENTRAL_NUMBER);
    halls.iter().try_for_each(|hall| net.switch(&switch(hall)))?;
    for (i, trunk) in scenario.network.trunks.iter().enumerate() {
        let [a, b] = [0, 1].map(|end| switch(&trunk.between[end]));
        net.trunk(i, [&a, &b], trunk.rate, able::weak(trunk))?;
    }
    let gateway = switch(&scenario.gateway.hall);
    net.host_at("central", CENTRAL_NUMBER, &gateway, Impairment::default())?;
    net.host_at("probe", 3, &gateway, Impairment::default())?;
    net.host_at("gateway", GATEWAY_NUMBER, &gateway, impairment)?;
    let mut hosts = vec![("gateway".to_owned(), &scenario.gateway, "gateway".to_owned(), gateway)];
    for group in &scenario.groups {
        for n in 0..group.devices {
            let (at, number) = (format!("d{}", hosts.len()), GATEWAY_NUMBER + hosts.len() as u8);
            net.host_at(&at, number, &switch(&group.hall), impairment)?;
            hosts.push((format!("{}-{n}", group.name), group, at, switch(&group.hall)));
        }
    }
    Ok((net, hosts))
}
