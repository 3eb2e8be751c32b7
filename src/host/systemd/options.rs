//! What [`SystemdHost`](super::SystemdHost) is told of its device.

use crate::host::runc::{self, RuncError};
use crate::host::runc_version;
use fullmetal_proto::DeviceId;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How apps are run.
#[derive(Clone, Debug)]
pub struct SystemdOptions {
    /// All paths hang off this directory; `/` but in tests.
    pub root: PathBuf,
    /// The device, part of every container's id.
    pub device: DeviceId,
    /// The container runtime: an absolute path.
    pub runc: PathBuf,
    /// How long an app may take to end after SIGTERM.
    pub grace: Duration,
    /// What systemd may take beyond what units allow.
    pub margin: Duration,
}

impl SystemdOptions {
    /// Whether this device runs systemd: `sd_booted(3)`.
    pub fn is_booted() -> bool {
        fs::symlink_metadata("/run/systemd/system").is_ok_and(|m| m.is_dir())
    }

    /// runc from the usual directories, 10 seconds to end, 15 for systemd.
    pub fn new(root: &Path, device: &DeviceId) -> Self {
        let runc = runc::find("runc");
        let (grace, margin) = (Duration::from_secs(10), Duration::from_secs(15));
        SystemdOptions { root: root.to_owned(), device: device.clone(), runc, grace, margin }
    }

    /// Whether the container runtime is there and can be run; a warning where its version has holes that are known.
    ///
    /// # Errors
    /// What is wrong with it, and what to install.
    pub fn check_runtime(&self) -> Result<Option<String>, RuncError> {
        runc::check(&self.runc).map(|said| runc_version::warning(&said))
    }
}
