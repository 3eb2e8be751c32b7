//! Network namespaces: switches as bridges, and hosts with an interface on one or two of them.
//!
//! What crosses the site's uplink is counted at the interface of the central host, and what a host gets at its own.

use super::cable::{Cables, Impairment, Tally};
use super::{Cgroup, NodeOptions, output_of};
use anyhow::{Context as _, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;

/// Hosts' interface on the LAN.
pub const LAN: &str = "lan0";
/// Hosts' interface toward the WAN.
pub const WAN: &str = "wan0";

/// What the names of all namespaces begin with; the owner's process id follows.
const PREFIX: &str = "fm";
/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// Bytes that a host's interface has carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Into the host.
    pub received: u64,
    /// Out of it.
    pub sent: u64,
}

/// The namespaces of one test or lab; removed when dropped.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    hosts: Vec<String>,
    cables: Cables,
}

/// Runs `ip` with the words of `line`.
pub(super) fn ip(line: &str) -> anyhow::Result<String> {
    output_of(Command::new("ip").args(line.split_whitespace()))
}

impl Net {
    /// Makes a LAN and a WAN; names carry this process's id, so that tests may run side by side.
    pub fn new() -> anyhow::Result<Self> {
        Self::of(&["lan", "wan"])
    }

    /// Makes these switches.
    pub fn of(switches: &[&str]) -> anyhow::Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{count}", std::process::id());
        let mut net = Net { prefix, hosts: Vec::new(), cables: Cables::default() };
        net.namespace("sw")?;
        switches.iter().try_for_each(|switch| net.switch(switch))?;
        Ok(net)
    }

    /// From now on impaired links draw from this seed, and spare what comes from the host with this number or is for it.
    pub fn impair(&mut self, seed: u64, spared: u8) {
        self.cables.draw(seed, lan(spared));
    }

    /// Makes one more switch; its name has at most 12 letters.
    pub fn switch(&self, switch: &str) -> anyhow::Result<()> {
        let name = self.netns("sw");
        ip(&format!("-n {name} link add br-{switch} type bridge mcast_snooping 0"))?;
        ip(&format!("-n {name} link set br-{switch} up")).map(|_| ())
    }

    /// Joins two switches by a link that carries `rate` bytes a second each way, and impairs it each way.
    pub fn trunk(
        &mut self,
        number: usize,
        between: [&str; 2],
        rate: u64,
        impairment: Impairment,
    ) -> anyhow::Result<()> {
        let name = self.netns("sw");
        let ends = ["a", "b"].map(|end| format!("t-{number}{end}"));
        self.cables.lay(ends.clone().map(|end| (name.clone(), end)), [impairment; 2])?;
        for (end, switch) in ends.iter().zip(between) {
            ip(&format!("-n {name} link set {end} master br-{switch} up"))?;
            shape(&name, end, rate)?;
        }
        Ok(())
    }

    /// The namespace of a host.
    pub fn netns(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn namespace(&mut self, host: &str) -> anyhow::Result<String> {
        let name = self.netns(host);
        ip(&format!("netns add {name}")).context("making a network namespace (root only)")?;
        self.hosts.push(host.to_owned());
        ip(&format!("-n {name} link set lo up"))?;
        Ok(name)
    }

    /// Adds a host with an address on the LAN, `10.99.0.<number>`, or without one.
    pub fn host(&mut self, host: &str, number: u8, lan: bool, wan: bool) -> anyhow::Result<()> {
        self.namespace(host)?;
        if lan {
            self.plug_in(host, number, "lan", Impairment::default())?;
        }
        if wan {
            self.plug(host, (WAN, "w"), "br-wan", Ipv4Addr::new(10, 98, 0, number), Impairment::default())?;
        }
        Ok(())
    }

    /// Adds a host with the address `10.99.0.<number>` on one switch; its name has at most 13 letters. What it sends is
    /// impaired on its way there.
    pub fn host_at(&mut self, host: &str, number: u8, switch: &str, impairment: Impairment) -> anyhow::Result<()> {
        self.namespace(host)?;
        self.plug_in(host, number, switch, impairment)?;
        // Packets as a wire has them: otherwise the kernel hands over 64 KiB at once and counts one header.
        ip(&format!("-n {} link set {LAN} gso_max_segs 1", self.netns(host))).map(|_| ())
    }

    fn plug_in(&mut self, host: &str, number: u8, switch: &str, impairment: Impairment) -> anyhow::Result<()> {
        self.plug(host, (LAN, "l"), &format!("br-{switch}"), lan(number), impairment)?;
        // Discovery is by multicast.
        ip(&format!("-n {} route add 224.0.0.0/4 dev {LAN}", self.netns(host))).map(|_| ())
    }

    /// Takes the cable of a host's [`LAN`] interface from its switch and puts it into another.
    pub fn replug(&self, host: &str, switch: &str) -> anyhow::Result<()> {
        ip(&format!("-n {} link set l-{host} master br-{switch}", self.netns("sw"))).map(|_| ())
    }

    fn plug(
        &mut self,
        host: &str,
        (interface, kind): (&str, &str),
        bridge: &str,
        address: Ipv4Addr,
        impairment: Impairment,
    ) -> anyhow::Result<()> {
        let (name, switch) = (self.netns(host), self.netns("sw"));
        let port = format!("{kind}-{host}");
        let ends = [(name.clone(), interface.to_owned()), (switch.clone(), port.clone())];
        self.cables.lay(ends, [impairment, Impairment::default()])?;
        ip(&format!("-n {switch} link set {port} master {bridge} up"))?;
        ip(&format!("-n {name} addr add {address}/16 dev {interface}"))?;
        ip(&format!("-n {name} link set {interface} up"))?;
        Ok(())
    }

    /// Options of a node that lives on a host, in a control group of its own.
    pub fn options(&self, host: &str, central: Option<String>) -> anyhow::Result<NodeOptions> {
        let netns = self.netns(host);
        let cgroup = Some(Arc::new(Cgroup::new(&netns)?));
        Ok(NodeOptions { central, interface: LAN.to_owned(), netns: Some(netns), cgroup, peer: String::new() })
    }

    /// Limits a host's interface to `rate` bytes a second in both directions, whatever was before.
    pub fn limit(&self, host: &str, interface: &str, rate: u64) -> anyhow::Result<()> {
        let kind = if interface == LAN { "l" } else { "w" };
        for (namespace, device) in
            [(self.netns(host), interface.to_owned()), (self.netns("sw"), format!("{kind}-{host}"))]
        {
            shape(&namespace, &device, rate)?;
        }
        Ok(())
    }

    /// Bytes that came in at a host's interface.
    pub fn received(&self, host: &str, interface: &str) -> anyhow::Result<u64> {
        self.carried(&self.netns(host), interface).map(|carried| carried.received)
    }

    /// Bytes that the central host `host` sent toward the site over the WAN.
    pub fn sent_by(&self, host: &str) -> anyhow::Result<u64> {
        self.carried(&self.netns(host), WAN).map(|carried| carried.sent)
    }

    /// What a host's [`LAN`] interface has carried so far.
    pub fn carried_by(&self, host: &str) -> anyhow::Result<Carried> {
        self.carried(&self.netns(host), LAN)
    }

    /// What the trunks of [`Net::trunk`] have carried so far, each way counted once.
    pub fn carried_between(&self, trunks: usize) -> anyhow::Result<u64> {
        let both = |number| self.carried(&self.netns("sw"), &format!("t-{number}a")).map(|c| c.received + c.sent);
        (0..trunks).map(both).sum()
    }

    /// Fails when an impaired link passes nothing on any more.
    pub fn check(&self) -> anyhow::Result<()> {
        self.cables.check()
    }

    /// What became of frames on impaired links so far.
    pub fn tally(&self) -> Tally {
        self.cables.tally()
    }

    fn carried(&self, namespace: &str, device: &str) -> anyhow::Result<Carried> {
        let text = ip(&format!("-n {namespace} -s -j link show dev {device}"))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let bytes = |direction: &str| value[0]["stats64"][direction]["bytes"].as_u64();
        let (Some(received), Some(sent)) = (bytes("rx"), bytes("tx")) else {
            bail!("no counter in what `ip -s -j link` printed");
        };
        Ok(Carried { received, sent })
    }
}

fn shape(namespace: &str, device: &str, rate: u64) -> anyhow::Result<()> {
    output_of(Command::new("tc").args(shaping(namespace, device, rate).split_whitespace())).map(|_| ())
}

/// What `tc` is told; it takes no rate of nothing, which the least that it takes comes near.
fn shaping(namespace: &str, device: &str, rate: u64) -> String {
    let bits = rate.max(1).saturating_mul(8);
    format!("-n {namespace} qdisc replace dev {device} root tbf rate {bits}bit burst 128kb latency 50ms")
}

/// The address of a host on the LAN.
fn lan(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, number)
}

/// Lets this thread, and threads and programs that it starts from now on, live in a namespace.
pub fn enter(netns: &str) -> anyhow::Result<()> {
    let path = format!("{NAMESPACES}/{netns}");
    let file = std::fs::File::open(&path).with_context(|| format!("opening {path}"))?;
    let kind = LinkNameSpaceType::Network;
    move_into_link_name_space(file.as_fd(), Some(kind)).with_context(|| format!("entering {netns}"))
}

/// Removes the namespaces of a process that is gone.
pub(super) fn sweep(is_gone: impl Fn(u32) -> bool) {
    let names = std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if owner.is_some_and(&is_gone) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.cables = Cables::default();
        for host in &self.hosts {
            let line = format!("netns del {}", self.netns(host));
            if ip(&line).is_err() {
                let _ = ip(&line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_gets_the_least_rate_that_tc_takes() {
        let told = |rate| shaping("n", "d", rate).split_whitespace().nth(9).map(str::to_owned);
        assert_eq!([0, 1, 2_500_000].map(told), ["8bit", "8bit", "20000000bit"].map(|text| Some(text.to_owned())));
        assert_eq!(told(u64::MAX), Some(format!("{}bit", u64::MAX)));
    }
}
