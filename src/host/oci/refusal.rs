//! Why an app is not run, and what the device's owner would write to have it run.

use fullmetal_proto::AppName;
use fullmetal_proto::ostree;
use oci_spec::runtime::LinuxNamespaceType;
use std::fmt;
use std::path::PathBuf;

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
    #[error("config.json leaves the app in the host's {} namespace: list it in linux.namespaces{allow}", written(*kind))]
    HostNamespace {
        /// Which kind.
        kind: LinuxNamespaceType,
        /// What would allow it; [`Allow::Nothing`] for the mounts.
        allow: Allow,
    },
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
    /// A file or directory of the host would be visible.
    #[error("config.json binds {} of the host: the app's own data is bound at /data by itself{allow}", path.display())]
    Bind {
        /// Of the host.
        path: PathBuf,
        /// What would allow it.
        allow: Allow,
    },
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
    /// A device that apps are never given, or a rule that would open devices which nobody granted.
    #[error(
        "config.json asks for the device {0}: apps are given character devices by grants, and none that is the memory of the device"
    )]
    Device(String),
    /// A device that the policy does not allow this app.
    #[error("it asks for {what}, which the policy of this device does not allow{allow}")]
    Grant {
        /// The grant, and whence it follows.
        what: String,
        /// What would allow it.
        allow: Allow,
    },
    /// A device that is granted by its name and is not there.
    #[error("it needs /dev/{name} ({grant}), and this device has no such character device now: connect it")]
    NoDevice {
        /// Below /dev.
        name: String,
        /// The grant that asks for it.
        grant: ostree::Grant,
    },
    /// More than the policy gives.
    #[error("it asks for {asked} of {what}, and the policy of this device gives at most {most}{allow}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much.
        asked: String,
        /// The bound.
        most: String,
        /// What would allow it.
        allow: Allow,
    },
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

impl Refusal {
    /// Whether a fresh checkout might be another; not so where the policy, or a device that is not there, is in the way.
    pub fn may_be_damage(&self) -> bool {
        use Refusal::{Bind, Grant, HostNamespace, Limit, NoDevice};
        !matches!(self, Bind { .. } | Grant { .. } | HostNamespace { .. } | Limit { .. } | NoDevice { .. })
    }
}

/// A kind of namespace as a configuration writes it.
fn written(kind: LinuxNamespaceType) -> String {
    match kind {
        LinuxNamespaceType::Mount => "mount".to_owned(),
        LinuxNamespaceType::Network => "network".to_owned(),
        kind => kind.to_string(),
    }
}

/// The line of policy that would allow what was refused; the end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// No policy does.
    Nothing,
    /// This line does.
    Line(String),
}

impl Allow {
    /// `key` of `app`, with `value` as TOML writes it.
    pub(super) fn key(app: &AppName, key: &str, value: &str) -> Self {
        // A dot in a name would be one between names.
        let name = if app.as_str().contains('.') { format!("\"{app}\"") } else { app.to_string() };
        Allow::Line(format!("policy.app.{name}.{key} = {value}"))
    }

    /// `key` of `app` with what is in its list already and one more.
    pub(super) fn one_more<T: fmt::Display>(app: &AppName, key: &str, there: &[T], more: &str) -> Self {
        let all: Vec<String> = there.iter().map(T::to_string).chain([more.to_owned()]).collect();
        Allow::key(app, key, &format!("{all:?}"))
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allow::Nothing => Ok(()),
            Allow::Line(line) => write!(f, "; to allow it, /etc/fullmetal/fullmetal.d/policy.toml must say: {line}"),
        }
    }
}
