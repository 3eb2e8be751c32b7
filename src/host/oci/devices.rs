//! Device nodes: which grant each falls under, and the nodes and rules that an app is given.

use super::{Allow, Refusal, Terms};
use fullmetal_proto::ostree::Grant;
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, User};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The most entries of /dev that are looked at.
const NODES_MAX: usize = 8192;
/// How deep: `bus/usb/001/002`.
const DEPTH_MAX: usize = 4;
/// What runc gives every container.
const EVERYBODYS: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
/// What is the device itself, whoever allows it.
const NEVER: [&str; 5] = ["mem", "kmem", "port", "kmsg", "kvm"];
/// The screen: a name, and numbers after it where it ends in `#`; anything where it ends in `*`.
const SCREEN: [&str; 5] = ["fb#", "dri/card#", "input/event#", "input/mouse#", "input/mice"];
/// What renders and computes, by the kernel's and the vendors' drivers.
const GPU: [&str; 9] =
    ["dri/renderD#", "galcore", "mali#", "pvr_sync", "kgsl-3d0", "nvidia#", "nvidiactl", "nvidia-uvm", "dma_heap/*"];
/// ALSA.
const SOUND: [&str; 1] = ["snd/*"];
/// Reading and writing; never making nodes.
const ACCESS: &str = "rw";

/// A device node of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) struct Node {
    /// Its path below /dev.
    pub(super) name: String,
    /// Not a block device.
    pub(super) character: bool,
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// What an app is given.
pub(super) struct Given {
    pub(super) nodes: Vec<LinuxDevice>,
    pub(super) rules: Vec<LinuxDeviceCgroup>,
    /// What it would be given if it were there.
    pub(super) lacks: Vec<String>,
}

/// The nodes below `dev`, sorted; links are not followed.
pub(in crate::host) fn scan(dev: &Path) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut seen = 0;
    let mut dirs = vec![(dev.to_owned(), 1)];
    while let Some((dir, depth)) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            seen += 1;
            let Ok(meta) = entry.metadata() else { continue };
            if seen > NODES_MAX {
                break;
            }
            let kind = meta.file_type();
            if kind.is_dir() && depth < DEPTH_MAX {
                dirs.push((entry.path(), depth + 1));
            } else if kind.is_char_device() || kind.is_block_device() {
                let path = entry.path();
                let name = path.strip_prefix(dev).unwrap_or(&path).to_string_lossy().into_owned();
                let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
                nodes.push(Node { name, character: kind.is_char_device(), major, minor });
            }
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

/// Nodes and rules for what the commit and the configuration ask for, all of which the policy must allow.
///
/// The configuration's own rules are replaced: one for all devices means those that are granted.
pub(super) fn grant(asked: &Linux, user: &User, terms: &Terms<'_>) -> Result<Given, Refusal> {
    let mut found = BTreeSet::new();
    let mut lacks = Vec::new();
    for device in asked.devices().iter().flatten() {
        let path = device.path().display().to_string();
        let name = path.strip_prefix("/dev/").ok_or_else(|| Refusal::Device(path.clone()))?;
        if EVERYBODYS.contains(&name) {
            continue;
        }
        let grant = of(name, terms).ok_or_else(|| Refusal::Device(path.clone()))?;
        check(&grant, &format!("{path} ({grant})"), terms)?;
        match terms.nodes.iter().position(|n| n.character && n.name == name) {
            Some(at) => drop(found.insert(at)),
            None if is_class(&grant) => lacks.push(format!("no {path} on this device, which {grant} would give")),
            None => return Err(Refusal::NoDevice { name: name.to_owned(), grant }),
        }
    }
    for grant in &terms.asks.grants {
        check(grant, &grant.to_string(), terms)?;
        let covered = |(at, node): (usize, &Node)| (node.character && covers(grant, &node.name)).then_some(at);
        let nodes: Vec<usize> = terms.nodes.iter().enumerate().filter_map(covered).collect();
        match grant {
            Grant::Serial(name) | Grant::Device(name) if nodes.is_empty() => {
                return Err(Refusal::NoDevice { name: name.clone(), grant: grant.clone() });
            }
            _ if nodes.is_empty() => lacks.push(format!("this device has none of the devices that {grant} gives")),
            _ => found.extend(nodes),
        }
    }
    let nodes: Vec<&Node> = found.into_iter().map(|at| &terms.nodes[at]).collect();
    let blanket = asked.devices().iter().flatten().next().is_some() || !terms.asks.grants.is_empty();
    check_rules(asked, &nodes, blanket)?;
    let mut none = LinuxDeviceCgroup::default();
    none.set_allow(false).set_access(Some("rwm".to_owned()));
    let rules = std::iter::once(none).chain(nodes.iter().map(|n| rule(n))).collect();
    Ok(Given { nodes: nodes.iter().map(|n| node(n, user)).collect(), rules, lacks })
}

/// What the configuration would open must be what is granted.
fn check_rules(asked: &Linux, granted: &[&Node], blanket: bool) -> Result<(), Refusal> {
    let rules = asked.resources().iter().flat_map(|r| r.devices().iter().flatten());
    for rule in rules.filter(|rule| rule.allow()) {
        let known = match (rule.major(), rule.minor()) {
            (Some(major), Some(minor)) => {
                let named = asked.devices().iter().flatten().any(|d| (d.major(), d.minor()) == (major, minor));
                named || granted.iter().any(|n| (i64::from(n.major), i64::from(n.minor)) == (major, minor))
            }
            (None, None) => blanket,
            _ => false,
        };
        if !known {
            let number = |n: Option<i64>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
            return Err(Refusal::Device(format!("{}:{}", number(rule.major()), number(rule.minor()))));
        }
    }
    Ok(())
}

/// The grant under which a device of this name falls: by its own name where the policy has that.
fn of(name: &str, terms: &Terms<'_>) -> Option<Grant> {
    let own: Grant = format!("device:{name}").parse().ok()?;
    if NEVER.contains(&name) {
        return None;
    }
    if terms.policy.grants.contains(&own) {
        return Some(own);
    }
    let class = [Grant::Screen, Grant::Gpu, Grant::Sound].into_iter().find(|class| covers(class, name));
    class.or_else(|| format!("serial:{name}").parse().ok()).or(Some(own))
}

fn check(grant: &Grant, what: &str, terms: &Terms<'_>) -> Result<(), Refusal> {
    if let Grant::Device(name) = grant
        && NEVER.contains(&name.as_str())
    {
        return Err(Refusal::Device(format!("/dev/{name}")));
    }
    if terms.policy.grants.contains(grant) {
        return Ok(());
    }
    let allow = Allow::one_more(terms.name, "grants", &terms.policy.grants, &grant.to_string());
    Err(Refusal::Grant { what: what.to_owned(), allow })
}

/// One that gives what there is, rather than one device.
fn is_class(grant: &Grant) -> bool {
    matches!(grant, Grant::Screen | Grant::Gpu | Grant::Sound)
}

fn covers(grant: &Grant, name: &str) -> bool {
    let patterns: &[&str] = match grant {
        Grant::Screen => &SCREEN,
        Grant::Gpu => &GPU,
        Grant::Sound => &SOUND,
        Grant::Serial(own) | Grant::Device(own) => return own == name,
    };
    patterns.iter().any(|pattern| fits(pattern, name))
}

fn fits(pattern: &str, name: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('#') {
        return name.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    }
    match pattern.strip_suffix('*') {
        Some(prefix) => name.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && !n.contains('/')),
        None => pattern == name,
    }
}

fn rule(node: &Node) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(LinuxDeviceType::C))
        .set_major(Some(node.major.into()))
        .set_minor(Some(node.minor.into()))
        .set_access(Some(ACCESS.to_owned()));
    rule
}

/// The app's own node, whatever the groups of the device's one are: the policy has said that it may.
fn node(node: &Node, user: &User) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(Path::new("/dev").join(&node.name))
        .set_typ(LinuxDeviceType::C)
        .set_major(node.major.into())
        .set_minor(node.minor.into())
        .set_file_mode(Some(0o600))
        .set_uid(Some(user.uid()))
        .set_gid(Some(user.gid()));
    device
}
