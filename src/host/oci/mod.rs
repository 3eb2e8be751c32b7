//! The policy for an app's `config.json`: what runs is built anew from what is allowed in it.
//!
//! The published configuration is parsed into typed fields; what would weaken the device is refused with the reason,
//! what the policy fixes is overwritten, and fields that it does not know are left out. Source of the fields:
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md> and `config-linux.md`.

mod devices;
mod limits;
mod mounts;
mod process;
mod refusal;
#[cfg(test)]
mod tests;

pub(super) use devices::{Node, scan};
pub(super) use limits::Controllers;
pub use refusal::{Allow, Refusal};

use crate::config::{AppPolicy, HostNamespace, Network};
use fullmetal_proto::AppName;
use fullmetal_proto::ostree::Asks;
use oci_spec::runtime::{
    Hooks, Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, LinuxSeccomp, Process, Root, Spec,
};
use std::path::{Path, PathBuf};

/// The longest `config.json` in bytes.
pub const CONFIG_LEN_MAX: u64 = 1 << 20;

/// Hidden from every app, whatever its configuration says: runc's own defaults.
const MASKED: [&str; 8] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
];
/// Read-only in every app.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What an app's configuration is fitted to.
pub(super) struct Place {
    /// The checkout's root file system, absolute.
    pub(super) rootfs: PathBuf,
    /// The app's data, absolute.
    pub(super) data: PathBuf,
    /// How a `config.json` names `data`.
    pub(super) data_by_default: PathBuf,
    /// The container's cgroup.
    pub(super) cgroup: PathBuf,
}

/// Who asks for what, who allows what, and what there is.
pub(super) struct Terms<'a> {
    /// The app.
    pub(super) name: &'a AppName,
    /// What its commit asks for.
    pub(super) asks: &'a Asks,
    /// What the device allows it.
    pub(super) policy: &'a AppPolicy,
    /// The device nodes of the device.
    pub(super) nodes: &'a [Node],
    /// What the kernel can limit.
    pub(super) controllers: Controllers,
}

/// What is to run.
#[derive(Debug, PartialEq)]
pub(super) struct Adapted {
    /// The configuration for the container runtime.
    pub(super) spec: Spec,
    /// What was asked for and allowed and cannot be given on this device, a line each.
    pub(super) lacks: Vec<String>,
}

/// Parses a published configuration and builds the one to run.
pub(super) fn adapt(json: &[u8], place: &Place, terms: &Terms<'_>) -> Result<Adapted, Refusal> {
    let given: Spec = serde_json::from_slice(json).map_err(Refusal::Syntax)?;
    if !given.version().starts_with("1.") {
        let value = given.version().clone();
        return Err(Refusal::Value { field: "ociVersion", value, must: "1.x" });
    }
    if given.hooks().as_ref().is_some_and(|h| *h != Hooks::default()) {
        return Err(Refusal::Hooks);
    }
    check_root(given.root().as_ref().ok_or(Refusal::Missing("root"))?)?;
    let process = process::adapt(given.process().as_ref().ok_or(Refusal::Missing("process"))?)?;
    let asked = given.linux().as_ref().ok_or(Refusal::Missing("linux part"))?;
    let (linux, lacks) = adapt_linux(asked, &process, &place.cgroup, terms)?;
    let mounts = mounts::adapt(given.mounts().as_deref().unwrap_or_default(), place, terms)?;

    let mut root = Root::default();
    root.set_path(place.rootfs.clone()).set_readonly(Some(true));
    let own_name = has(&linux, LinuxNamespaceType::Uts);
    let mut spec = Spec::default();
    spec.set_version(given.version().clone())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts))
        .set_hostname(given.hostname().clone().filter(|_| own_name))
        .set_linux(Some(linux))
        .set_annotations(None);
    Ok(Adapted { spec, lacks })
}

fn check_root(root: &Root) -> Result<(), Refusal> {
    if root.path() == Path::new("rootfs") || root.path() == Path::new("./rootfs") {
        return Ok(());
    }
    let value = root.path().display().to_string();
    Err(Refusal::Value { field: "root.path", value, must: "\"rootfs\"" })
}

fn adapt_linux(
    asked: &Linux,
    process: &Process,
    cgroup: &Path,
    terms: &Terms<'_>,
) -> Result<(Linux, Vec<String>), Refusal> {
    if let Some(name) = asked.sysctl().iter().flatten().map(|(name, _)| name).min() {
        return Err(Refusal::Sysctl(name.clone()));
    }
    let given = devices::grant(asked, process.user(), terms)?;
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(given.rules));
    let mut lacks = given.lacks;
    lacks.extend(limits::set(&mut resources, asked.resources().as_ref(), terms)?);
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(asked.namespaces().as_deref().unwrap_or_default(), terms)?))
        .set_resources(Some(resources))
        .set_cgroups_path(Some(cgroup.to_owned()))
        .set_seccomp(seccomp(asked.seccomp().as_ref())?)
        .set_masked_paths(Some(union(&MASKED, asked.masked_paths())))
        .set_readonly_paths(Some(union(&READ_ONLY, asked.readonly_paths())))
        .set_devices(Some(given.nodes).filter(|nodes| !nodes.is_empty()))
        .set_rootfs_propagation(None);
    Ok((linux, lacks))
}

/// Its own pid, ipc and mount namespaces unless the policy lets it share one; a network as the policy says; uts and
/// cgroup as it likes.
fn namespaces(asked: &[LinuxNamespace], terms: &Terms<'_>) -> Result<Vec<LinuxNamespace>, Refusal> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network as Net, Pid, Uts};
    for namespace in asked {
        let kind = namespace.typ();
        if let Some(path) = namespace.path() {
            return Err(Refusal::ForeignNamespace { kind, path: path.clone() });
        }
        if ![Cgroup, Ipc, Mount, Net, Pid, Uts].contains(&kind) {
            return Err(Refusal::Namespace(kind));
        }
    }
    let lacks = |kind| !asked.iter().any(|n| n.typ() == kind);
    for (kind, shared) in [(Pid, Some(HostNamespace::Pid)), (Ipc, Some(HostNamespace::Ipc)), (Mount, None)] {
        let policy = &terms.policy.namespaces;
        if !lacks(kind) || shared.is_some_and(|shared| policy.contains(&shared)) {
            continue;
        }
        let allow = shared
            .map_or(Allow::Nothing, |shared| Allow::one_more(terms.name, "namespaces", policy, &shared.to_string()));
        return Err(Refusal::HostNamespace { kind, allow });
    }
    let mut namespaces = asked.to_vec();
    if terms.policy.network == Network::None && lacks(Net) {
        let mut own = LinuxNamespace::default();
        own.set_typ(Net);
        namespaces.push(own);
    }
    Ok(namespaces)
}

fn seccomp(asked: Option<&LinuxSeccomp>) -> Result<Option<LinuxSeccomp>, Refusal> {
    match asked {
        Some(filter) if filter.listener_path().is_some() => Err(Refusal::SeccompListener),
        filter => Ok(filter.cloned()),
    }
}

fn has(linux: &Linux, kind: LinuxNamespaceType) -> bool {
    linux.namespaces().iter().flatten().any(|n| n.typ() == kind)
}

fn union(fixed: &[&str], asked: &Option<Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = fixed.iter().map(|&p| p.to_owned()).collect();
    all.extend(asked.iter().flatten().filter(|p| !fixed.contains(&p.as_str())).cloned());
    all
}
