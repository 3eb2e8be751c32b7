//! A machine's cables: its network cards are on bridges in its host's namespace, beside the ends of that host's own cables.

use crate::lab::net::{LAN, WAN, ip};
use anyhow::Context as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The interfaces, their networks, and what the machine's kernel calls them.
const CABLES: [(&str, u8, &str); 2] = [(LAN, 99, "eth0"), (WAN, 98, "eth1")];

fn tap(interface: &str) -> String {
    format!("tap-{interface}")
}

/// Has the host's interfaces be a machine's.
pub(super) fn plug(netns: &str) -> anyhow::Result<()> {
    for (interface, ..) in CABLES {
        let (tap, bridge) = (tap(interface), format!("br-{interface}"));
        for line in [
            format!("addr flush dev {interface}"),
            format!("link add {bridge} type bridge mcast_snooping 0"),
            format!("link set {interface} master {bridge}"),
            format!("tuntap add dev {tap} mode tap"),
            format!("link set {tap} master {bridge} up"),
            format!("link set {bridge} up"),
        ] {
            ip(&format!("-n {netns} {line}"))?;
        }
    }
    Ok(())
}

/// What qemu is told.
pub(super) fn arguments(number: u8) -> Vec<String> {
    let card = |(at, (interface, network, _)): (usize, (&str, u8, &str))| {
        let tap = tap(interface);
        let net = format!("tap,id=n{at},ifname={tap},script=no,downscript=no");
        let mac = format!("52:54:00:{network:02x}:00:{number:02x}");
        ["-netdev".into(), net, "-device".into(), format!("virtio-net-pci,netdev=n{at},mac={mac},romfile=")]
    };
    CABLES.into_iter().enumerate().flat_map(card).collect()
}

/// Has the machine set its interfaces up, and say when it is up.
pub(super) fn configure(etc: &Path, number: u8) -> anyhow::Result<()> {
    let mut up = String::new();
    for (interface, network, card) in CABLES {
        let ip = "/bin/busybox ip";
        up += &format!("ExecStart={ip} link set {card} name {interface}\n");
        up += &format!("ExecStart={ip} addr add 10.{network}.0.{number}/16 dev {interface}\n");
        up += &format!("ExecStart={ip} link set {interface} up\n");
    }
    up += &format!("ExecStart=/bin/busybox ip route add 224.0.0.0/4 dev {LAN}\n");
    let network = format!(
        "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\nBefore=network.target fullmetal-peer.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n{up}"
    );
    let said = format!("echo \"{}$(cat /usr/share/lab-version)\" > /dev/console", super::UP);
    let tell = format!(
        "[Unit]\nAfter=fullmetal-agent.service fullmetal-peer.service\n[Service]\nType=oneshot\nExecStart=sh -c '{said}'\n"
    );
    let units = etc.join("systemd/system");
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    for (name, text) in [("lab-network.service", network), ("lab-up.service", tell)] {
        fs::write(units.join(name), text).with_context(|| format!("writing {name}"))?;
        symlink(format!("/etc/systemd/system/{name}"), wants.join(name))?;
    }
    Ok(())
}
