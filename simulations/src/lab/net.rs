//! Network namespaces: a switch with a LAN and a WAN bridge, and hosts with an interface on one or both.
//!
//! What crosses the site's uplink is counted at the WAN port of the central host; what a single device gets from
//! outside, at its own WAN interface.

use super::output_of;
use anyhow::Context as _;
use std::net::Ipv4Addr;
use std::process::Command;

/// Hosts' interface on the LAN.
pub const LAN: &str = "lan0";
/// Hosts' interface toward the WAN.
pub const WAN: &str = "wan0";

/// The namespaces of one test; removed when dropped.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    hosts: Vec<String>,
}

/// Runs `ip` with the words of `line`.
fn ip(line: &str) -> anyhow::Result<String> {
    output_of(Command::new("ip").args(line.split_whitespace()))
}

impl Net {
    /// Makes the switch; names carry this process's id, so that tests may run side by side.
    pub fn new() -> anyhow::Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut net = Net { prefix: format!("fm{}-{count}", std::process::id()), hosts: Vec::new() };
        let switch = net.namespace("sw")?;
        for bridge in ["br-lan", "br-wan"] {
            ip(&format!("-n {switch} link add {bridge} type bridge mcast_snooping 0"))?;
            ip(&format!("-n {switch} link set {bridge} up"))?;
        }
        Ok(net)
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
            self.plug(host, LAN, "l", "br-lan", Ipv4Addr::new(10, 99, 0, number))?;
            let name = self.netns(host);
            ip(&format!("-n {name} route add 224.0.0.0/4 dev {LAN}"))?;
        }
        if wan {
            self.plug(host, WAN, "w", "br-wan", Ipv4Addr::new(10, 98, 0, number))?;
        }
        Ok(())
    }

    fn plug(&self, host: &str, interface: &str, kind: &str, bridge: &str, address: Ipv4Addr) -> anyhow::Result<()> {
        let (name, switch) = (self.netns(host), self.netns("sw"));
        let port = format!("{kind}-{host}");
        ip(&format!("link add {interface} netns {name} type veth peer name {port} netns {switch}"))?;
        ip(&format!("-n {switch} link set {port} master {bridge} up"))?;
        ip(&format!("-n {name} addr add {address}/16 dev {interface}"))?;
        ip(&format!("-n {name} link set {interface} up"))?;
        Ok(())
    }

    /// Limits a host's interface in both directions, in Mbit/s.
    pub fn limit(&self, host: &str, interface: &str, mbit: u32) -> anyhow::Result<()> {
        let kind = if interface == LAN { "l" } else { "w" };
        for (namespace, device) in
            [(self.netns(host), interface.to_owned()), (self.netns("sw"), format!("{kind}-{host}"))]
        {
            let line =
                format!("-n {namespace} qdisc add dev {device} root tbf rate {mbit}mbit burst 128kb latency 50ms");
            output_of(Command::new("tc").args(line.split_whitespace()))?;
        }
        Ok(())
    }

    /// Bytes that came in at a host's interface.
    pub fn received(&self, host: &str, interface: &str) -> anyhow::Result<u64> {
        self.counter(&self.netns(host), interface, "rx")
    }

    /// Bytes that the central host `host` sent toward the site.
    pub fn sent_by(&self, host: &str) -> anyhow::Result<u64> {
        self.counter(&self.netns(host), WAN, "tx")
    }

    fn counter(&self, namespace: &str, device: &str, direction: &str) -> anyhow::Result<u64> {
        let text = ip(&format!("-n {namespace} -s -j link show dev {device}"))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        value[0]["stats64"][direction]["bytes"].as_u64().context("no counter in what `ip -s -j link` printed")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _ = ip(&format!("netns del {}", self.netns(host)));
        }
    }
}
