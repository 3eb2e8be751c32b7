//! The policy for an app's `config.json`: what runs is built anew from what is allowed in it.
//!
//! The published configuration is parsed into typed fields; what would weaken the device is refused with the reason,
//! what the policy fixes is overwritten, and fields that it does not know are left out. Source of the fields:
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md> and `config-linux.md`.

mod mounts;
mod process;
#[cfg(test)]
mod tests;

use oci_spec::runtime::{
    Hooks, Linux, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, LinuxResources, LinuxSeccomp, Root, Spec,
};
use std::path::{Path, PathBuf};

/// The longest `config.json` in bytes.
pub(super) const CONFIG_LEN_MAX: u64 = 1 << 20;

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

/// Why an app's configuration is not run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not there, or not a regular file of a sensible length.
    #[error("{} cannot be used ({why}): publish the app with a config.json", path.display())]
    NoConfig {
        /// Where it should be.
        path: PathBuf,
        /// What is there instead.
        why: String,
    },
    /// It is not an OCI runtime configuration.
    #[error("config.json is not an OCI runtime configuration: {0}")]
    Syntax(#[source] serde_json::Error),
    /// Something that every app needs is missing.
    #[error("config.json has no {0}")]
    Missing(&'static str),
    /// A value that cannot be meant.
    #[error("config.json: {field} is {value:?}, but must be {must}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it must say.
        must: &'static str,
    },
    /// The root file system is not in the checkout.
    #[error("the app has no root file system: {} is not a directory", .0.display())]
    NoRoot(PathBuf),
    /// Hooks run on the host, as root.
    #[error("config.json has hooks, which run outside the container: remove them")]
    Hooks,
    /// The app would live in a namespace of the host.
    #[error("config.json leaves the app in the host's {0} namespace: list it in linux.namespaces")]
    HostNamespace(LinuxNamespaceType),
    /// The app would join somebody else's namespace.
    #[error("config.json joins the {kind} namespace {}: remove its path", path.display())]
    ForeignNamespace {
        /// Which kind.
        kind: LinuxNamespaceType,
        /// Whose.
        path: PathBuf,
    },
    /// A kind of namespace that is not offered.
    #[error("config.json asks for a {0} namespace, which apps are not given yet: remove it")]
    Namespace(LinuxNamespaceType),
    /// A directory of the host would be visible.
    #[error("config.json binds {} of the host: only the app's own data may be bound, and is, at /data", .0.display())]
    Bind(PathBuf),
    /// A mount of a type that is not offered.
    #[error("config.json mounts a {kind:?} at {}: apps may mount proc, sysfs, tmpfs, devpts, mqueue and cgroup", at.display())]
    MountType {
        /// The type.
        kind: String,
        /// Its destination.
        at: PathBuf,
    },
    /// A mount in a place where it could hide or reach something.
    #[error("config.json mounts a {kind:?} at {}, which is not a place for it", at.display())]
    MountPlace {
        /// The type.
        kind: String,
        /// Its destination.
        at: PathBuf,
    },
    /// A mount option that is not offered.
    #[error("config.json mounts {} with the option {option:?}, which apps may not use", at.display())]
    MountOption {
        /// The option.
        option: String,
        /// The destination.
        at: PathBuf,
    },
    /// A device node or a rule that would open one.
    #[error("config.json asks for the device {0}: apps are not given devices")]
    Device(String),
    /// A capability with which root in the container is root of the device.
    #[error("config.json asks for the capability {0}, which apps are not given")]
    Capability(String),
    /// A kernel setting, which with the host's network is the device's.
    #[error("config.json sets the kernel parameter {0}: apps may not")]
    Sysctl(String),
    /// A seccomp filter that asks a process of the host.
    #[error("config.json gives seccomp a listener outside the container: remove listenerPath")]
    SeccompListener,
}

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

/// Parses a published configuration and builds the one to run.
pub(super) fn adapt(json: &[u8], place: &Place) -> Result<Spec, Refusal> {
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
    let linux = adapt_linux(asked, &place.cgroup)?;
    let mounts = mounts::adapt(given.mounts().as_deref().unwrap_or_default(), place)?;

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
    Ok(spec)
}

fn check_root(root: &Root) -> Result<(), Refusal> {
    if root.path() == Path::new("rootfs") || root.path() == Path::new("./rootfs") {
        return Ok(());
    }
    let value = root.path().display().to_string();
    Err(Refusal::Value { field: "root.path", value, must: "\"rootfs\"" })
}

fn adapt_linux(asked: &Linux, cgroup: &Path) -> Result<Linux, Refusal> {
    if let Some(device) = asked.devices().iter().flatten().next() {
        return Err(Refusal::Device(device.path().display().to_string()));
    }
    if let Some(name) = asked.sysctl().iter().flatten().map(|(name, _)| name).min() {
        return Err(Refusal::Sysctl(name.clone()));
    }
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(asked.namespaces().as_deref().unwrap_or_default())?))
        .set_resources(Some(resources(asked.resources().as_ref())?))
        .set_cgroups_path(Some(cgroup.to_owned()))
        .set_seccomp(seccomp(asked.seccomp().as_ref())?)
        .set_masked_paths(Some(union(&MASKED, asked.masked_paths())))
        .set_readonly_paths(Some(union(&READ_ONLY, asked.readonly_paths())))
        .set_devices(None)
        .set_rootfs_propagation(None);
    Ok(linux)
}

/// Its own pid, ipc and mount namespaces always; network, uts and cgroup as it likes.
fn namespaces(asked: &[LinuxNamespace]) -> Result<Vec<LinuxNamespace>, Refusal> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    for namespace in asked {
        let kind = namespace.typ();
        if let Some(path) = namespace.path() {
            return Err(Refusal::ForeignNamespace { kind, path: path.clone() });
        }
        if ![Cgroup, Ipc, Mount, Network, Pid, Uts].contains(&kind) {
            return Err(Refusal::Namespace(kind));
        }
    }
    for own in [Pid, Ipc, Mount] {
        if !asked.iter().any(|n| n.typ() == own) {
            return Err(Refusal::HostNamespace(own));
        }
    }
    Ok(asked.to_vec())
}

/// No devices but runc's own harmless ones; limits only where the configuration asks for them.
fn resources(asked: Option<&LinuxResources>) -> Result<LinuxResources, Refusal> {
    let mut none = LinuxDeviceCgroup::default();
    none.set_allow(false).set_access(Some("rwm".to_owned()));
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(vec![none]));
    if let Some(asked) = asked {
        if let Some(rule) = asked.devices().iter().flatten().find(|rule| rule.allow()) {
            let number = |n: Option<i64>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
            return Err(Refusal::Device(format!("{}:{}", number(rule.major()), number(rule.minor()))));
        }
        resources.set_memory(*asked.memory()).set_cpu(asked.cpu().clone()).set_pids(*asked.pids());
    }
    Ok(resources)
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
