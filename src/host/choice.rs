//! Which host a device has: decided here, and nowhere else.

use super::supervisor::poll;
use super::{AppHost, HostError, RuncError, SupervisorHost, SupervisorOptions, SystemdHost, SystemdOptions};
use crate::config::{HostKind, Settings};
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long systemd may take to say what it does.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The longest of its words.
const ANSWER_LEN_MAX: u64 = 64;

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

    /// Whether the device is on its way to a reboot or to off; `None` when systemd does not say. Without a bus, which may
    /// be gone already; systemd has a few seconds to answer.
    pub fn is_going_down(&self) -> Option<bool> {
        match self {
            Hosts::Supervisor(_) => Some(false),
            Hosts::Systemd(_) => match said(Command::new("systemctl").arg("is-system-running"), ANSWER_MAX)?.trim() {
                "stopping" => Some(true),
                "" | "unknown" | "offline" => None,
                _ => Some(false),
            },
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

/// The first line or so that a command prints, if it ends in time.
fn said(command: &mut Command, limit: Duration) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let ended = poll(limit, || child.try_wait().map_err(HostError::io("waiting for", Path::new("systemctl"))));
    if !matches!(ended, Ok(Some(_))) {
        child.kill().and_then(|()| child.wait()).ok();
        return None;
    }
    let mut text = String::new();
    child.stdout?.take(ANSWER_LEN_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn who_does_not_answer_in_time_says_nothing() {
        let sh = |script: &str, limit| said(Command::new("sh").args(["-c", script]), limit);
        assert_eq!(sh("echo stopping; exit 1", Duration::from_secs(20)).as_deref(), Some("stopping\n"));
        let began = Instant::now();
        assert_eq!(sh("echo running; exec sleep 1000", Duration::from_millis(100)), None);
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
