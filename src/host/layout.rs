//! Where an app's files lie on a device, and what its container is called.

use super::HostError;
use crate::config::{ConfigError, Paths, Policy};
use fullmetal_proto::{AppName, DeviceId, Digest};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The paths of one app of one device below `--root`.
///
/// Container id, runc's state root and the cgroup carry the device id: containers of one id share a cgroup even
/// under different runc roots. Below systemd the cgroup is the unit's, which the kernel's one device has for itself. `+` is
/// in neither kind of name, so that no two pairs meet in one id.
#[derive(Clone, Debug)]
pub struct Layout {
    paths: Paths,
    device: DeviceId,
    name: AppName,
    /// systemd makes the cgroup above the container's.
    in_unit: bool,
}

impl Layout {
    /// `root` is absolute.
    pub fn new(root: &Path, device: &DeviceId, name: &AppName) -> Self {
        Layout { paths: Paths::new(root), device: device.clone(), name: name.clone(), in_unit: false }
    }

    /// The same for an app that is a unit of systemd.
    pub fn systemd(root: &Path, device: &DeviceId, name: &AppName) -> Self {
        Layout { in_unit: true, ..Layout::new(root, device, name) }
    }

    /// The directory of all apps' runs.
    pub fn runs(root: &Path) -> PathBuf {
        Paths::new(root).run_dir().join("apps")
    }

    /// The apps that have a run directory, whatever their state, sorted.
    pub(super) fn with_runs(root: &Path) -> Result<Vec<AppName>, HostError> {
        let runs = Layout::runs(root);
        let entries = match fs::read_dir(&runs) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(HostError::io("reading", &runs)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(HostError::io("reading", &runs))?;
            names.extend(entry.file_name().to_str().and_then(|name| name.parse::<AppName>().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// The app.
    pub fn name(&self) -> &AppName {
        &self.name
    }

    /// Where the agent checked the commit out: `config.json` and `rootfs/`.
    pub fn checkout(&self, commit: &Digest) -> PathBuf {
        self.paths.checkout(&self.name, commit)
    }

    /// Where everything of the device lies.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// What apps are allowed, as it is written now: a change of it counts from an app's next start on.
    ///
    /// # Errors
    /// See [`Policy::load`].
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        Policy::load(&self.paths)
    }

    /// What the app sees as `/data`.
    pub fn data(&self) -> PathBuf {
        self.paths.data_dir(&self.name)
    }

    /// The path of [`Layout::data`] as a `config.json` names it, whatever `--root` is.
    pub fn data_by_default(&self) -> PathBuf {
        Paths::new("/").data_dir(&self.name)
    }

    /// What belongs to the run of the app; gone after a reboot.
    pub fn run(&self) -> PathBuf {
        self.paths.app_run_dir(&self.name)
    }

    /// Locked by the supervisor for its life.
    pub fn lock(&self) -> PathBuf {
        self.run().join("lock")
    }

    /// The number of the newest start or stop.
    pub fn generation(&self) -> PathBuf {
        self.run().join("generation")
    }

    /// The supervisor's record.
    pub fn state(&self) -> PathBuf {
        self.run().join("state.json")
    }

    /// What the supervisor itself had to say.
    pub fn supervisor_log(&self) -> PathBuf {
        self.run().join("supervisor.log")
    }

    /// The OCI bundle: the checked `config.json`.
    pub fn bundle(&self) -> PathBuf {
        self.run().join("bundle")
    }

    /// Where runc writes the id of the container's main process.
    pub fn pid_file(&self) -> PathBuf {
        self.run().join("container.pid")
    }

    /// runc's state root (`runc --root`).
    pub fn runc_root(&self) -> PathBuf {
        self.paths.run_dir().join("runc").join(self.device.as_str())
    }

    /// The container's id.
    pub fn container(&self) -> String {
        format!("fm-{}+{}", self.device, self.name)
    }

    /// The container's cgroup in every hierarchy.
    pub fn cgroup(&self) -> PathBuf {
        if self.in_unit {
            return PathBuf::from(format!("/system.slice/{}.service/ctr", self.name));
        }
        Path::new("/").join(self.container())
    }

    /// Where runc itself stays in the second version of control groups, below the unit's.
    pub fn runc_cgroup(&self) -> PathBuf {
        self.cgroup().with_file_name("runc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_apps_whose_names_join_alike_have_different_containers() {
        let of = |d: &str, a: &str| Layout::new(Path::new("/"), &d.parse().unwrap(), &a.parse().unwrap()).container();
        assert_ne!(of("a-b", "c"), of("a", "b-c"));
        assert_eq!(of("press-7", "web"), "fm-press-7+web");
    }
}
