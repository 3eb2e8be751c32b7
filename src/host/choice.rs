//! Which host a device has: decided here, and nowhere else.

use super::{AppHost, RuncError, SupervisorHost, SupervisorOptions, SystemdHost, SystemdOptions};
use crate::config::{HostKind, Settings};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes hosts of one device: several threads and programs look at the same apps.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// A small process of our own for each app.
    Supervisor(SupervisorOptions),
    /// A unit of systemd for each app.
    Systemd(SystemdOptions),
}

impl Hosts {
    /// What the configuration says; without a word, systemd where it runs and the device is this machine itself.
    ///
    /// # Errors
    /// When this program cannot find itself.
    pub fn of(settings: &Settings) -> io::Result<Self> {
        let (root, device, grace) = (settings.paths.root(), &settings.device.id, settings.agent.stop_timeout);
        let systemd = match settings.agent.host {
            HostKind::Auto => SystemdOptions::is_booted() && root == Path::new("/"),
            HostKind::Systemd => true,
            HostKind::Supervisor => false,
        };
        if systemd {
            return Ok(Hosts::Systemd(SystemdOptions { grace, ..SystemdOptions::new(root, device) }));
        }
        Ok(Hosts::Supervisor(SupervisorOptions { grace, ..SupervisorOptions::new(root, device)? }))
    }

    /// One more.
    pub fn open(&self) -> Box<dyn AppHost> {
        match self {
            Hosts::Supervisor(options) => Box::new(SupervisorHost::new(options.clone())),
            Hosts::Systemd(options) => Box::new(SystemdHost::new(options.clone())),
        }
    }

    /// Whether the device is on its way to a reboot or to off: what apps do then says nothing of them. Without a bus, which
    /// may be gone already.
    pub fn is_going_down(&self) -> bool {
        let asked = || Command::new("systemctl").arg("is-system-running").stdin(Stdio::null()).output();
        match self {
            Hosts::Supervisor(_) => false,
            Hosts::Systemd(_) => asked().is_ok_and(|said| said.stdout.starts_with(b"stopping")),
        }
    }

    /// Whether the container runtime is there and can be run; a warning where its version has holes that are known.
    ///
    /// # Errors
    /// What is wrong with it, and what to install.
    pub fn check_runtime(&self) -> Result<Option<String>, RuncError> {
        match self {
            Hosts::Supervisor(options) => options.check_runtime(),
            Hosts::Systemd(options) => options.check_runtime(),
        }
    }
}
