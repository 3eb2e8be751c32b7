//! How the operating system on trial is, judged again and again on a thread of its own.
//!
//! A round asks, in this order, and ends with the first that is not well: are the units of `[os] units` active, is the peer
//! reached, and does each program in `/etc/fullmetal/health.d` end with 0. A round that is well proves only what was so since it
//! began: its time is told with it. What systemd cannot be asked is no answer.

mod programs;
mod run;
#[cfg(test)]
mod tests;

use crate::config::{OsSettings, Settings};
use crate::host::active_state;
use crate::status::ask_peer;
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::AppEvent;
use programs::programs;
use run::run;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use tracing::warn;

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(2);
/// The same after a round that took longer than that: checks are not to load the device.
const PAUSE_AFTER_LONG: Duration = Duration::from_secs(5);

/// What is asked of the device.
pub trait Device: Send {
    /// What systemd calls the state of a unit: `active`, `failed`, `inactive` …
    ///
    /// # Errors
    /// Why systemd cannot be asked.
    fn state(&self, unit: &str) -> Result<String, String>;

    /// Whether the agent is connected to its peer, and that to somebody where there must be one.
    ///
    /// # Errors
    /// What is missing, in one line.
    fn reached(&self, neighbour: bool) -> Result<(), String>;

    /// Runs a program for at most `limit`.
    ///
    /// # Errors
    /// Why it could not be run.
    fn run(&self, program: &Path, limit: Duration) -> Result<Ran, String>;
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It ended with 0.
    Well,
    /// It ended otherwise.
    Failed {
        /// Its exit status.
        status: i32,
        /// The last line that it said.
        said: String,
    },
    /// It was ended because it took too long.
    TooLong {
        /// The last line that it said.
        said: String,
    },
}

/// The device itself.
pub struct Real {
    /// Whether the agent is connected to its peer.
    pub is_connected: Box<dyn Fn() -> bool + Send>,
    /// The peer's socket.
    pub peer: PathBuf,
    /// Where what is run leaves its exit status: seen by agent and systemd alike.
    pub run_dir: PathBuf,
}

impl Device for Real {
    fn state(&self, unit: &str) -> Result<String, String> {
        active_state(unit).map_err(|e| e.to_string())
    }

    fn reached(&self, neighbour: bool) -> Result<(), String> {
        if !(self.is_connected)() {
            return Err("the peer does not answer: see `journalctl -u fullmetal-peer`".into());
        }
        if neighbour {
            let report = ask_peer(&self.peer).map_err(|e| format!("the peer does not say whom it knows: {e:#}"))?;
            if report.neighbours.is_empty() {
                return Err("the peer is connected to no other device".into());
            }
        }
        Ok(())
    }

    fn run(&self, program: &Path, limit: Duration) -> Result<Ran, String> {
        run(program, limit, &self.run_dir)
    }
}

/// What must be well.
pub struct Checks {
    device: Box<dyn Device>,
    settings: OsSettings,
    root: PathBuf,
    dir: PathBuf,
}

/// What a round found.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Ill(String),
    /// The peer or a neighbour is away, which after a good round may be their own restart.
    Away(String),
    Unknown(String),
}

impl Checks {
    /// Those of this device; `is_connected` says whether the agent is to its peer.
    pub fn of(settings: &Settings, is_connected: Box<dyn Fn() -> bool + Send>) -> Self {
        let paths = &settings.paths;
        let device = Real { is_connected, peer: paths.peer_socket(), run_dir: paths.run_dir() };
        Checks::with(Box::new(device), settings)
    }

    /// The same of another device.
    pub fn with(device: Box<dyn Device>, settings: &Settings) -> Self {
        let (root, dir) = (settings.paths.root().to_owned(), settings.paths.health_dir());
        Checks { device, settings: settings.os.clone(), root, dir }
    }

    fn round(&self) -> Verdict {
        for unit in &self.settings.units {
            match self.device.state(unit) {
                Ok(state) if state == "active" => {}
                Ok(state) => return Verdict::Ill(format!("{unit} is {state}: see `systemctl status {unit}`")),
                Err(why) => return Verdict::Unknown(why),
            }
        }
        if let Err(what) = self.device.reached(self.settings.neighbour) {
            return Verdict::Away(what);
        }
        let programs = match programs(&self.dir, &self.root) {
            Ok(programs) => programs,
            Err(why) => return Verdict::Ill(why),
        };
        programs.iter().map(|program| self.check(program)).find(|v| *v != Verdict::Well).unwrap_or(Verdict::Well)
    }

    fn check(&self, program: &Path) -> Verdict {
        let (name, limit) = (program.display(), self.settings.check_timeout);
        match self.device.run(program, limit) {
            Ok(Ran::Well) => Verdict::Well,
            Ok(Ran::Failed { status, said }) => Verdict::Ill(with(format!("{name} ended with {status}"), &said)),
            Ok(Ran::TooLong { said }) => {
                Verdict::Ill(with(format!("{name} took longer than {} s", limit.as_secs()), &said))
            }
            Err(why) => Verdict::Unknown(format!("{name} was not run: {why}")),
        }
    }
}

fn with(what: String, said: &str) -> String {
    if said.is_empty() { what } else { format!("{what}: {said}") }
}

/// The judging thread; it ends when this is dropped, and tells nothing from then on.
pub struct OsHealth {
    _alive: Sender<()>,
}

impl OsHealth {
    /// Begins at once; `started` is where the agent's steady clock begins.
    pub fn start(checks: Checks, started: Instant, tell: impl Fn(AppEvent) + Send + 'static) -> Self {
        let (alive, ended) = channel();
        std::thread::spawn(move || judge(&checks, started, &ended, &tell));
        OsHealth { _alive: alive }
    }
}

fn judge(checks: &Checks, started: Instant, ended: &Receiver<()>, tell: &dyn Fn(AppEvent)) {
    let (mut unasked, mut was_well): (Option<String>, bool) = (None, false);
    loop {
        let began = Instant::now();
        let verdict = checks.round();
        if ended.try_recv() == Err(TryRecvError::Disconnected) {
            return;
        }
        was_well |= verdict == Verdict::Well;
        let verdict = match verdict {
            Verdict::Away(what) if was_well => Verdict::Unknown(what),
            Verdict::Away(what) => Verdict::Ill(what),
            verdict => verdict,
        };
        let answered = !matches!(verdict, Verdict::Unknown(_));
        match verdict {
            Verdict::Well => tell(AppEvent::Healthy { began: Timestamp::ZERO.after(began - started) }),
            Verdict::Ill(reason) | Verdict::Away(reason) => tell(AppEvent::Unhealthy { reason }),
            Verdict::Unknown(reason) if unasked.as_ref() == Some(&reason) => {}
            Verdict::Unknown(reason) => {
                warn!(error = reason, "how the operating system is cannot be asked");
                unasked = Some(reason.clone());
                tell(AppEvent::Unasked { reason });
            }
        }
        if answered && unasked.take().is_some() {
            tell(AppEvent::Asked);
        }
        let pause = if began.elapsed() > PAUSE { PAUSE_AFTER_LONG } else { PAUSE };
        if ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}
