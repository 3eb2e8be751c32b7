//! Runs applications as containers that outlive the agent.
//!
//! [`AppHost`] is the port; [`SupervisorHost`] runs each app under a small process of its own (the hidden command
//! `fullmetal supervise`, body [`supervise::run`]) for devices without systemd, [`MemoryHost`] is its twin for tests
//! of what drives it. A supervisor and its app never notice that the agent died, and a new agent adopts them.

pub(crate) mod asked;
mod bundle;
#[cfg(feature = "store")]
mod choice;
mod generation;
mod health;
mod layout;
mod lock;
mod memory;
mod oci;
mod options;
mod runc;
mod runc_version;
#[cfg_attr(not(feature = "store"), allow(dead_code, reason = "units are for devices, and those have the store"))]
mod shares;
mod state;
pub mod supervise;
mod supervisor;
#[cfg(feature = "store")]
mod systemd;
mod tail;
#[cfg_attr(not(feature = "store"), allow(dead_code, reason = "units are for devices, and those have the store"))]
mod unit;
#[cfg_attr(not(feature = "store"), allow(dead_code, reason = "units are for devices, and those have the store"))]
mod unit_files;

#[cfg(feature = "store")]
pub use choice::Hosts;
pub use layout::Layout;
pub use memory::{Behaviour, MemoryHost};
pub use oci::{Allow, CONFIG_LEN_MAX, Refusal};
pub use options::{UnitOptions, foreign_unit};
pub use runc::RuncError;
pub use supervisor::{SupervisorHost, SupervisorOptions};
#[cfg(feature = "store")]
pub use systemd::{
    BusError, Once, Ran, ShutdownInhibitor, SystemdHost, SystemdOptions, active_state, last_boot, reboot, run_once,
    shutdown_inhibitors,
};
pub use unit::{APPS_TARGET, Marked, marked, stored, unit_name};
pub use unit_files::UnitFiles;

use crate::config::ConfigError;
#[cfg(feature = "store")]
use crate::config::Paths;
#[cfg(feature = "store")]
use crate::current;
use crate::durable::DurableError;
use fullmetal_proto::deploy::{ForeignUnitError, Installed};
use fullmetal_proto::wire::report::ExitStatus;
use fullmetal_proto::{AppName, Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs the apps of one device.
///
/// Calls block for as long as the act takes; an agent with an event loop makes them on a thread for blocking work.
/// An app is known from its first `start` until the device reboots, whatever becomes of the agent.
pub trait AppHost: Send {
    /// Sees to it that `app` runs from its checkout.
    ///
    /// Running it already, or having finished a job of the same commit, is [`Started::Adopted`] and touches nothing.
    /// Else whatever an earlier run left behind is removed first. The app may still be starting when this returns.
    ///
    /// # Errors
    /// [`HostError::Occupied`] when another commit of it runs (stop it first), [`HostError::Refused`] when its
    /// configuration breaks the policy.
    fn start(&mut self, app: &App) -> Result<Started, HostError>;

    /// Waits for an app that somebody else began to start, such as systemd at boot, as [`AppHost::start`] waits for one
    /// that it starts. Where nothing is waited for at a start, there is nothing to wait for here.
    ///
    /// # Errors
    /// When it does not come up.
    fn settle(&mut self, app: &App) -> Result<(), HostError> {
        let _ = app;
        Ok(())
    }

    /// Sees to it that no process of the app is left; its last status stays readable. An unknown app is stopped.
    ///
    /// # Errors
    /// [`HostError::Unstoppable`] when something of it could not be ended.
    fn stop(&mut self, name: &AppName) -> Result<(), HostError>;

    /// How the app is; `None` when it was never started since the device booted.
    ///
    /// # Errors
    /// When the record of it cannot be read.
    fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError>;

    /// Runs `argv` inside the app's container, with its user and limits, and ends it after `limit`.
    ///
    /// # Errors
    /// When the command could not be tried at all, which says nothing about the app.
    fn health(&self, name: &AppName, argv: &[String], limit: Duration) -> Result<Health, HostError>;

    /// The apps that are not stopped, sorted: what to adopt, or to stop because nobody wants it.
    ///
    /// # Errors
    /// When the records cannot be read.
    fn list(&self) -> Result<Vec<AppName>, HostError>;

    /// The apps of which anything is left, sorted: also what is stopped and was not removed.
    ///
    /// # Errors
    /// See [`AppHost::list`].
    fn traces(&self) -> Result<Vec<AppName>, HostError> {
        self.list()
    }

    /// Has the system know the version in force of an app that is not started, so that a person who starts it gets this
    /// one. Nothing that runs is touched.
    ///
    /// # Errors
    /// When it cannot be told.
    fn place(&mut self, app: &App) -> Result<(), HostError> {
        let _ = app;
        Ok(())
    }

    /// Sees to it that a later `start` of this version needs nothing but what is on the disk, durably. Nothing that
    /// runs is touched.
    ///
    /// # Errors
    /// Why it could never be started here.
    fn prepare(&mut self, app: &App) -> Result<(), HostError> {
        let _ = app;
        Ok(())
    }

    /// Stops the app and leaves nothing of it: as if it had never been started.
    ///
    /// # Errors
    /// See [`AppHost::stop`].
    fn remove(&mut self, name: &AppName) -> Result<(), HostError> {
        self.stop(name)
    }

    /// Returns when the app's status may be another than at the last call, after `limit` at the latest.
    fn wait_for_change(&mut self, name: &AppName, limit: Duration) {
        let _ = name;
        std::thread::sleep(limit.min(LOOK));
    }
}

/// How often an app's record is read by who waits for a change of it and is not told.
const LOOK: Duration = Duration::from_millis(100);

/// What is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its name on the device.
    pub name: AppName,
    /// The commit that is checked out.
    pub commit: Digest,
    /// Exit 0 is its success and its end; otherwise it is started again whenever it exits.
    pub job: bool,
}

impl App {
    /// A version of an app as it is installed, or is to be.
    pub fn of(name: &AppName, version: &Installed) -> Self {
        App { name: name.clone(), commit: version.commit, job: version.start.job }
    }
}

/// What [`AppHost::start`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was started now.
    New,
    /// It runs already, or is a job that has done its work: nothing was touched.
    Adopted,
}

/// What an app is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its container is being made.
    Starting,
    /// Its main process runs.
    Running,
    /// It exited: a job that is done, else it is started again after a pause.
    Exited,
    /// It was told to end and has not yet.
    Stopping,
    /// It was stopped and nothing of it is left.
    Stopped,
    /// Somebody else than us stopped it, such as `systemctl stop`: it stays so until the device boots or a deployment
    /// of it comes.
    Halted,
    /// Its supervisor was killed; or systemd has given it up; its processes may still be there. `start` clears them away and starts it anew.
    Lost,
}

/// How an app is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppStatus {
    /// What it is doing.
    pub phase: Phase,
    /// The commit it was started from.
    pub commit: Digest,
    /// Whether it was started as a job.
    pub job: bool,
    /// Rises with every start since the device booted; an adopted app keeps its number.
    pub generation: u64,
    /// When it came into this phase, by the device's clock.
    pub since: Timestamp,
    /// How often it exited and was started again in this generation.
    pub restarts: u32,
    /// How it last ended in this generation; `None` also when its container could not be made (the log says why).
    pub last_exit: Option<ExitStatus>,
    /// Its last lines on standard output and error, at most 20 of at most 512 bytes, without control characters.
    pub log: Vec<String>,
}

impl AppStatus {
    /// Whether it runs, or will again without anybody's doing.
    pub fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Lost | Phase::Stopped | Phase::Halted)
    }
}

/// What a health command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It exited with 0.
    Healthy,
    /// It ended otherwise.
    Unhealthy {
        /// How it ended.
        exit: ExitStatus,
        /// Its last lines.
        output: Vec<String>,
    },
    /// It ran out of time and was killed.
    TimedOut {
        /// Its last lines.
        output: Vec<String>,
    },
    /// The app was not running, so nothing was tried.
    NotRunning,
}

/// Why an app could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Another commit of the app runs.
    #[error("{name} runs commit {running}, not {wanted}: stop it first")]
    Occupied {
        /// The app.
        name: AppName,
        /// What runs.
        running: Digest,
        /// What was asked for.
        wanted: Digest,
    },
    /// Its configuration breaks the policy for apps.
    #[error("{name} is not started: {source}")]
    Refused {
        /// The app.
        name: AppName,
        /// What is wrong with it.
        source: Refusal,
    },
    /// What apps are allowed is not known.
    #[error("{name} is not started: {source}")]
    Policy {
        /// The app.
        name: AppName,
        /// What is wrong with the configuration.
        source: ConfigError,
    },
    /// A file or directory of the run could not be used.
    #[error("{act} {}: {source}", path.display())]
    Io {
        /// What was tried, such as "writing".
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The supervising process did not come up.
    #[error("the supervisor of {name} did not come up: {why}; its own words are in {}", log.display())]
    Supervisor {
        /// The app.
        name: AppName,
        /// What happened instead.
        why: String,
        /// Where its standard error went.
        log: PathBuf,
    },
    /// Something of the app is still there.
    #[error("{name} could not be stopped: {why}")]
    Unstoppable {
        /// The app.
        name: AppName,
        /// What is left.
        why: String,
    },
    /// The container runtime failed.
    #[error(transparent)]
    Runc(#[from] RuncError),
    /// The unit file that it brings along cannot be understood.
    #[error("{name} is not started: {source}")]
    Unit {
        /// The app.
        name: AppName,
        /// What is wrong with it.
        source: ForeignUnitError,
    },
    /// The device has something else of that name.
    #[error("{name} cannot be an app here: {} is a unit of this device; publish it under another name", path.display())]
    Taken {
        /// The app.
        name: AppName,
        /// The unit file that is there.
        path: PathBuf,
    },
    /// It did not come up.
    #[error("{name} did not start: {why}; see `journalctl -u {name}`")]
    NotStarted {
        /// The app.
        name: AppName,
        /// What systemd says.
        why: String,
    },
    /// A health command was not run to its end, and not for want of health.
    #[error("the health command gave no answer: {why}; see `systemctl status`")]
    Unanswered {
        /// What is known of why.
        why: String,
    },
    /// A file that a start needs could not be written for good.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// systemd could not be asked.
    #[cfg(feature = "store")]
    #[error(transparent)]
    Bus(#[from] BusError),
}

#[cfg(feature = "store")]
/// Whether the start options of the version in force say so, and nobody has stopped it by hand.
fn starts_at_boot(paths: &Paths, name: &AppName) -> bool {
    let starts = current::get(&paths.app_dir(name)).is_some_and(|(_, start)| start.autostart);
    starts && !paths.stopped(name).exists()
}

impl HostError {
    /// For `map_err`: names what was tried with `path`.
    fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
        move |source| HostError::Io { act, path: path.to_owned(), source }
    }
}
