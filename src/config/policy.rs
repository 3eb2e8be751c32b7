//! `[policy]`: what apps are allowed on this device, whatever they ask for. The file must be root's.
//!
//! Keys of `[policy]` hold for every app; a key of `[policy.app.NAME]` holds for that app in its place.

use super::fragment::Fragment;
use super::{ConfigError, Paths};
use fullmetal_proto::AppName;
use fullmetal_proto::ostree::asks::{self, Grant};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// The policy for every app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    default: AppPolicy,
    apps: BTreeMap<AppName, AppPolicy>,
}

/// What one app is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppPolicy {
    /// Whose network it is on.
    pub network: Network,
    /// Namespaces of the host that it may stay in.
    pub namespaces: Vec<HostNamespace>,
    /// Devices that it may ask for.
    pub grants: Vec<Grant>,
    /// Paths of the host that it may bind.
    pub binds: Vec<Bind>,
    /// The most memory in bytes; also the limit of an app that asks for none.
    pub memory_max: Option<u64>,
    /// The most CPU time in thousandths of one CPU, likewise.
    pub cpu_max: Option<u32>,
    /// The most processes and threads, likewise.
    pub pids_max: Option<u32>,
}

/// Whose network an app is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The device's, unless its own configuration asks for a network namespace.
    #[default]
    Host,
    /// Its own loopback and nothing else.
    None,
}

/// A namespace of the host that an app may share. Not that of mounts: runc would run it in the device's own root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostNamespace {
    /// It sees and may signal all processes of the device that are its user's.
    Pid,
    /// System V IPC and POSIX message queues.
    Ipc,
}

impl Display for HostNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostNamespace::Pid => "pid",
            HostNamespace::Ipc => "ipc",
        })
    }
}

/// A path of the host: `/run/x` read-only, `/run/x:rw` writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute, without `..`.
    pub path: PathBuf,
    /// Whether the app may write to it.
    pub writable: bool,
}

impl Policy {
    /// The policy below `paths.root()`; the strict default where there is no configuration.
    ///
    /// # Errors
    /// When the configuration cannot be read or is not valid, or the policy is not root's alone.
    pub fn load(paths: &Paths) -> Result<Self, ConfigError> {
        let merged = match Fragment::load_all(paths) {
            Ok(merged) => merged.policy.unwrap_or_default(),
            Err(ConfigError::Absent { .. }) => PolicyFragment::default(),
            Err(error) => return Err(error),
        };
        let mut default = AppPolicy::default();
        merged.all().apply(&mut default);
        let of = |(name, rules): (AppName, Rules)| {
            let mut policy = default.clone();
            rules.apply(&mut policy);
            (name, policy)
        };
        let apps = merged.app.into_iter().map(of).collect();
        Ok(Policy { default, apps })
    }

    /// What `app` is allowed.
    pub fn of(&self, app: &AppName) -> &AppPolicy {
        self.apps.get(app).unwrap_or(&self.default)
    }
}

/// A text that is parsed while the file is read, so that a mistake is told with its line.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String", bound = "T: FromStr, T::Err: Display")]
struct Text<T>(T);

impl<T: FromStr<Err: Display>> TryFrom<String> for Text<T> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Text).map_err(|e: T::Err| e.to_string())
    }
}

#[derive(Clone, Debug)]
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = asks::parse_bytes(text).filter(|bytes| asks::MEMORY.contains(bytes));
        bytes.map(Bytes).ok_or_else(|| format!("{text:?} is no size such as \"64M\", from 4M to 1024G"))
    }
}

#[derive(Clone, Debug)]
struct Cpus(u32);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cpus = asks::parse_cpu(text).filter(|cpus| asks::CPU.contains(cpus));
        cpus.map(Cpus).ok_or_else(|| format!("{text:?} is no number of CPUs such as \"0.5\", from 0.01 to 1024"))
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
struct Pids(u32);

impl TryFrom<u32> for Pids {
    type Error = String;

    fn try_from(n: u32) -> Result<Self, String> {
        let bad = || format!("{n} is not within {} and {}", asks::PIDS.start(), asks::PIDS.end());
        asks::PIDS.contains(&n).then_some(Pids(n)).ok_or_else(bad)
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, writable) = match text.rsplit_once(':') {
            Some((path, "rw")) => (path, true),
            Some((path, "ro")) => (path, false),
            _ => (text, false),
        };
        let plain = Path::new(path).components().skip(1).all(|c| matches!(c, Component::Normal(_)));
        if !path.starts_with('/') || path == "/" || !plain || path.contains(':') {
            return Err(format!("{text:?} is no absolute path such as \"/run/x\" or \"/run/x:rw\""));
        }
        Ok(Bind { path: path.into(), writable })
    }
}

impl Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path.display(), if self.writable { ":rw" } else { "" })
    }
}

macro_rules! rules {
    ($($key:ident: $type:ty),* $(,)?) => {
        /// The keys of one app.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Rules {
            $($key: Option<$type>,)*
        }

        /// `[policy]` and the apps' own sections. `deny_unknown_fields` excludes `flatten`.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct PolicyFragment {
            $($key: Option<$type>,)*
            app: BTreeMap<AppName, Rules>,
        }

        impl Rules {
            fn overlay(&mut self, later: Rules) {
                $(if later.$key.is_some() { self.$key = later.$key; })*
            }
        }

        impl PolicyFragment {
            pub(super) fn overlay(&mut self, later: PolicyFragment) {
                $(if later.$key.is_some() { self.$key = later.$key; })*
                for (name, rules) in later.app {
                    self.app.entry(name).or_default().overlay(rules);
                }
            }

            fn all(&self) -> Rules {
                Rules { $($key: self.$key.clone(),)* }
            }
        }
    };
}

rules! {
    network: Network,
    namespaces: Vec<HostNamespace>,
    grants: Vec<Text<Grant>>,
    binds: Vec<Text<Bind>>,
    memory_max: Text<Bytes>,
    cpu_max: Text<Cpus>,
    pids_max: Pids,
}

impl Rules {
    fn apply(self, policy: &mut AppPolicy) {
        fn set<T>(to: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *to = value;
            }
        }
        fn list<T>(texts: Option<Vec<Text<T>>>) -> Option<Vec<T>> {
            texts.map(|texts| texts.into_iter().map(|text| text.0).collect())
        }
        set(&mut policy.network, self.network);
        set(&mut policy.namespaces, self.namespaces);
        set(&mut policy.grants, list(self.grants));
        set(&mut policy.binds, list(self.binds));
        set(&mut policy.memory_max, self.memory_max.map(|text| Some(text.0.0)));
        set(&mut policy.cpu_max, self.cpu_max.map(|text| Some(text.0.0)));
        set(&mut policy.pids_max, self.pids_max.map(|pids| Some(pids.0)));
    }
}

/// A policy counts only where nobody but root (or who runs this program) may write it or put another in its place.
pub(super) fn check_owner(path: &Path, file: &File) -> Result<(), ConfigError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigError::Read { path, source }
    };
    let dir = path.parent().unwrap_or(Path::new("/"));
    let found = [(path, file.metadata().map_err(unread(path))?), (dir, std::fs::metadata(dir).map_err(unread(dir))?)];
    let own = rustix::process::geteuid().as_raw();
    for (at, meta) in found {
        let fix = at.display();
        let problem = if ![0, own].contains(&meta.uid()) {
            format!("{fix} belongs to user {}; run `chown root {fix}`", meta.uid())
        } else if meta.mode() & 0o022 != 0 {
            format!("{fix} may be written by others (mode {:04o}); run `chmod go-w {fix}`", meta.mode() & 0o7777)
        } else {
            continue;
        };
        return Err(ConfigError::Owner { path: path.to_owned(), problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
