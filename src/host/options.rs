//! What a version says about other apps and about time, apart from what runs in its container.

use super::{HostError, asked};
use crate::config::Paths;
use crate::untrusted;
use fullmetal_proto::deploy::{FOREIGN_UNIT_LEN_MAX, ForeignUnit};
use fullmetal_proto::ostree::Asks;
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

/// The units of the system that an app may wait for.
pub(super) const TARGETS: [&str; 4] =
    ["network.target", "network-online.target", "time-sync.target", "remote-fs.target"];

/// How a version is started, besides its [`App`](super::App): what its commit says, else what the unit says that it brings
/// along from FullMetalUpdate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitOptions {
    /// Apps that are started before it and stopped after it, if they are there.
    pub after: BTreeSet<AppName>,
    /// Apps without which it cannot run: started before it, and it is stopped when they are.
    pub requires: BTreeSet<AppName>,
    /// Apps that are started before it, but that it can do without.
    pub wants: BTreeSet<AppName>,
    /// Units of the system that it waits for.
    pub targets: BTreeSet<String>,
    /// It tells when it is ready (`sd_notify(3)`).
    pub notify: bool,
    /// How long it may take to start.
    pub start_timeout: Option<Duration>,
    /// How long it may take to end; the device's own setting when absent.
    pub stop_timeout: Option<Duration>,
    /// The pause before it is started again.
    pub restart_pause: Option<Duration>,
}

impl UnitOptions {
    /// Those of a checked-out version. Names that are of no app here count for nothing, but those that a commit requires:
    /// without them it must not start. They are never names of the system's own units, for an app cannot have those.
    ///
    /// # Errors
    /// When its `systemd.service` is there and cannot be understood.
    pub fn read(paths: &Paths, name: &AppName, commit: &Digest) -> Result<Self, HostError> {
        let unit = foreign_unit(paths, name, commit)?.unwrap_or_default();
        // Who makes the container says that an object is missing.
        let asks = asked::by_commit(paths, commit).unwrap_or_default();
        let is_app = |app: &AppName| app != name && paths.app_dir(app).is_dir();
        Ok(UnitOptions::from_foreign(unit, is_app).overruled(asks, is_app))
    }

    fn overruled(mut self, asks: Asks, is_app: impl Fn(&AppName) -> bool) -> Self {
        let ours = |names: Vec<AppName>| names.into_iter().filter(|name| is_app(name)).collect();
        if !asks.after.is_empty() {
            self.after = ours(asks.after);
        }
        if !asks.wants.is_empty() {
            self.wants = ours(asks.wants);
        }
        if !asks.requires.is_empty() {
            self.requires = asks.requires.into_iter().collect();
        }
        self.notify |= asks.notify;
        let start_timeout = asks.start_timeout.map(|secs| Duration::from_secs(secs.into()));
        self.start_timeout = start_timeout.or(self.start_timeout);
        self
    }

    fn from_foreign(unit: ForeignUnit, is_app: impl Fn(&AppName) -> bool) -> Self {
        let apps = |units: &[String]| -> BTreeSet<AppName> {
            let names = units.iter().filter_map(|unit| unit.strip_suffix(".service")?.parse().ok());
            names.filter(|name| is_app(name)).collect()
        };
        let targets = unit.after.iter().filter(|unit| TARGETS.contains(&unit.as_str()));
        UnitOptions {
            after: apps(&unit.after),
            requires: apps(&unit.requires),
            wants: apps(&unit.wants),
            targets: targets.cloned().collect(),
            notify: unit.notify,
            start_timeout: unit.start_timeout,
            stop_timeout: unit.stop_timeout,
            restart_pause: unit.restart_pause,
        }
    }

    /// All apps that come before it.
    pub fn needs(&self) -> BTreeSet<AppName> {
        [&self.after, &self.requires, &self.wants].into_iter().flatten().cloned().collect()
    }
}

/// The `systemd.service` of a checked-out version, if it has one.
///
/// # Errors
/// When it cannot be read or understood.
pub fn foreign_unit(paths: &Paths, name: &AppName, commit: &Digest) -> Result<Option<ForeignUnit>, HostError> {
    let path = paths.checkout(name, commit).join("systemd.service");
    let text = match untrusted::read(&path, FOREIGN_UNIT_LEN_MAX as u64) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HostError::io("reading", &path)(error)),
    };
    let unit = ForeignUnit::parse(&text).map_err(|source| HostError::Unit { name: name.clone(), source })?;
    Ok(Some(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_apps_of_ours_and_well_known_targets_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, web, commit) = (Paths::new(dir.path()), "web".parse().unwrap(), Digest::of(b"1"));
        assert_eq!(UnitOptions::read(&paths, &web, &commit).unwrap(), UnitOptions::default());
        let checkout = paths.checkout(&web, &commit);
        for app in ["db", "log"] {
            fs::create_dir_all(paths.app_dir(&app.parse().unwrap())).unwrap();
        }
        fs::create_dir_all(&checkout).unwrap();
        let text = "[Unit]\nAfter=network.target sshd.service multi-user.target db.service web.service\n\
                    Requires=db.service weston.service\nWants=log.service\n[Service]\nType=notify\nTimeoutSec=7\n";
        fs::write(checkout.join("systemd.service"), text).unwrap();
        let options = UnitOptions::read(&paths, &web, &commit).unwrap();
        let db = BTreeSet::from(["db".parse().unwrap()]);
        assert_eq!((&options.after, &options.requires), (&db, &db));
        assert_eq!(options.targets, BTreeSet::from(["network.target".to_owned()]));
        assert_eq!(options.needs().len(), 2);
        assert!(options.notify && options.start_timeout == Some(Duration::from_secs(7)));
    }

    #[cfg(feature = "store")]
    #[test]
    fn the_commits_word_counts_before_the_units() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, web) = (Paths::new(dir.path()), "web".parse().unwrap());
        let asks = "'fullmetal.after': <['db', 'sshd']>, 'fullmetal.requires': <['gone']>, \
                    'fullmetal.start-timeout': <uint32 9>, 'fullmetal.notify': <true>";
        let [commit, silent] = [asks, ""].map(|metadata| crate::installed_commit::tests::committed(&paths, metadata));
        for app in ["db", "log"] {
            fs::create_dir_all(paths.app_dir(&app.parse().unwrap())).unwrap();
        }
        let unit = "[Unit]\nAfter=log.service\nRequires=db.service\nWants=log.service\n[Service]\nTimeoutSec=7\n";
        for commit in [commit, silent] {
            fs::create_dir_all(paths.checkout(&web, &commit)).unwrap();
            fs::write(paths.checkout(&web, &commit).join("systemd.service"), unit).unwrap();
        }
        let set = |name: &str| BTreeSet::from([name.parse().unwrap()]);
        let options = UnitOptions::read(&paths, &web, &commit).unwrap();
        assert_eq!(
            (&options.after, &options.requires, &options.wants),
            (&set("db"), &set("gone"), &set("log")),
            "what is no app is waited for by nobody, but required all the same"
        );
        let seconds = |n| Some(Duration::from_secs(n));
        assert!(options.notify && (options.start_timeout, options.stop_timeout) == (seconds(9), seconds(7)));
        let options = UnitOptions::read(&paths, &web, &silent).unwrap();
        assert_eq!((&options.after, &options.requires), (&set("log"), &set("db")));
        assert!(!options.notify && options.start_timeout == seconds(7));
    }

    #[test]
    fn a_unit_file_that_is_none_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, web, commit) = (Paths::new(dir.path()), "web".parse().unwrap(), Digest::of(b"1"));
        let path = paths.checkout(&web, &commit).join("systemd.service");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "[Service]\nRestartSec=soon\n").unwrap();
        let text = UnitOptions::read(&paths, &web, &commit).unwrap_err().to_string();
        assert_eq!(text, "web is not started: systemd.service: line 2: \"soon\" is not a time span");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(UnitOptions::read(&paths, &web, &commit).is_err());
    }
}
