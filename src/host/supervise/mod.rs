//! The supervising process of one app: `fullmetal supervise`.
//!
//! It has a session of its own, keeps nothing of the agent's, and is the subreaper of what runc starts, so that the
//! app's main process is its child: it learns the true exit status, and signals cannot reach a stranger. It ends on
//! SIGTERM, which takes the app down first, and when a job is done; otherwise it lives until it is killed.

mod process;
mod recorder;

#[cfg(feature = "store")]
pub(super) use process::kill_if_deaf;
pub(super) use process::read_pid;

use super::generation;
use super::lock::Lock;
use super::runc::Runc;
use super::state::State;
use super::tail::Tail;
use super::{App, HostError, Layout, Phase, bundle};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::report::ExitStatus;
use process::{heeds_term, reap};
use recorder::{Recorder, read_some};
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, chdir, getpid, kill_process, set_child_subreaper, setsid, umask};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

/// The pause before the first restart; it doubles with each exit in a row.
const RESTART_MS_MIN: u64 = 1_000;
/// The longest pause before a restart.
const RESTART_MS_MAX: u64 = 30_000;
/// An app that ran this long begins again with the shortest pause.
const STEADY_MS: u64 = 30_000;

/// What the supervisor is told on its command line.
#[derive(Clone, Debug)]
pub struct SuperviseArgs {
    /// All paths hang off this directory; absolute.
    pub root: PathBuf,
    /// The device that the app runs on.
    pub device: DeviceId,
    /// What to run.
    pub app: App,
    /// The number of this start.
    pub generation: u64,
    /// How long the app may take to end after SIGTERM before it is killed.
    pub grace: Duration,
    /// The container runtime: a path, or a name that is looked for in the usual directories.
    pub runc: PathBuf,
}

/// Runs the app until it is told to stop or, for a job, until it is done. Call it outside of any async runtime.
///
/// # Errors
/// When it cannot begin to supervise. Once it has, an app that cannot be started is recorded and tried again.
pub fn run(args: SuperviseArgs) -> Result<(), HostError> {
    // Fails only where it leads a session already.
    setsid().ok();
    umask(Mode::from_raw_mode(0o022));
    chdir("/").map_err(|e| HostError::io("entering", Path::new("/"))(e.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(HostError::io("making an event loop for", &args.root))?;
    runtime.block_on(supervise(args))
}

async fn supervise(args: SuperviseArgs) -> Result<(), HostError> {
    let layout = Layout::new(&args.root, &args.device, &args.app.name);
    let run = layout.run();
    // Before the lock: who finds it held may signal.
    let term = signal(SignalKind::terminate()).map_err(HostError::io("heeding SIGTERM for", &run))?;
    let child = signal(SignalKind::child()).map_err(HostError::io("heeding SIGCHLD for", &run))?;
    std::fs::create_dir_all(&run).map_err(HostError::io("making", &run))?;
    let Some(_lock) = Lock::take(&layout.lock())? else {
        return Err(HostError::io("locking", &layout.lock())(io::Error::other("another supervisor runs this app")));
    };
    if generation::read(&layout)? != args.generation {
        return Err(HostError::io("reading", &layout.generation())(io::Error::other("this start was called off")));
    }
    set_child_subreaper(Some(getpid())).map_err(|e| HostError::io("adopting the processes of", &run)(e.into()))?;

    let mut state = State::new(&args.app, args.generation, getpid().as_raw_nonzero().get());
    state.enter(Phase::Starting);
    state.write(&layout.state())?;
    let runc = Runc::new(&args.runc, &layout);
    let (tail, grace) = (Tail::default(), args.grace);
    let recorder = Recorder { path: layout.state(), state, tail, due: None };
    Supervisor { layout, app: args.app, grace, runc, recorder, term, child }.serve().await
}

/// What became of one run of the app.
enum Outcome {
    /// It is to be started again.
    Exited { steady: bool },
    /// Nothing of it is left and nothing is to be done.
    Over,
}

/// Why watching the app ended.
enum Event {
    Ended(ExitStatus),
    Told,
    Overdue,
}

/// The app while it runs.
struct Running {
    pid: Pid,
    output: Option<pipe::Receiver>,
    since: Instant,
}

struct Supervisor {
    layout: Layout,
    app: App,
    grace: Duration,
    runc: Runc,
    recorder: Recorder,
    term: Signals,
    child: Signals,
}

impl Supervisor {
    async fn serve(mut self) -> Result<(), HostError> {
        let mut exits = 0;
        while let Outcome::Exited { steady } = self.once().await? {
            exits = if steady { 0 } else { exits };
            tokio::select! {
                () = sleep(pause(exits)) => {}
                _ = self.term.recv() => {
                    self.recorder.enter(Phase::Stopped);
                    return Ok(());
                }
            }
            exits += 1;
            self.recorder.state.restarts += 1;
        }
        Ok(())
    }

    async fn once(&mut self) -> Result<Outcome, HostError> {
        self.recorder.enter(Phase::Starting);
        let mut running = match self.begin().await {
            Ok(running) => running,
            Err(error) => {
                self.recorder.say(&format!("not started: {error}"));
                self.recorder.state.last_exit = None;
                self.recorder.enter(Phase::Exited);
                return Ok(Outcome::Exited { steady: false });
            }
        };
        self.recorder.enter(Phase::Running);
        let Event::Ended(exit) = self.watch(&mut running, None, true).await? else {
            self.stop(running).await?;
            return Ok(Outcome::Over);
        };
        let steady = running.since.elapsed() >= Duration::from_millis(STEADY_MS);
        self.clear_away(running, exit).await;
        self.recorder.enter(Phase::Exited);
        Ok(if self.recorder.state.done() { Outcome::Over } else { Outcome::Exited { steady } })
    }

    /// Makes the container anew, whatever was there before.
    async fn begin(&mut self) -> Result<Running, HostError> {
        self.runc.delete()?;
        for lack in bundle::prepare(&self.layout, &self.app)? {
            warn!(app = %self.app.name, "{lack}");
            self.recorder.say(&lack);
        }
        let pid_file = self.layout.pid_file();
        let piped = HostError::io("making a pipe for", &pid_file);
        let (reader, out) = io::pipe().map_err(piped)?;
        let err = out.try_clone().map_err(HostError::io("making a pipe for", &pid_file))?;
        let mut output = pipe::Receiver::from_owned_fd(reader.into())
            .map(Some)
            .map_err(HostError::io("making a pipe for", &pid_file))?;
        let child = self.runc.run(&self.layout.bundle(), &pid_file, out, err)?;
        if let Err(error) = self.runc.finish(child, "run") {
            self.recorder.last_words(&mut output).await;
            return Err(error.into());
        }
        Ok(Running { pid: read_pid(&pid_file)?, output, since: Instant::now() })
    }

    /// Records what the app says until it ends, SIGTERM comes (if `heed`), or it is `until`.
    async fn watch(&mut self, app: &mut Running, until: Option<Instant>, heed: bool) -> Result<Event, HostError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(exit) = reap(app.pid).map_err(HostError::io("waiting for", &self.layout.pid_file()))? {
                return Ok(Event::Ended(exit));
            }
            let wake = [until, self.recorder.due].into_iter().flatten().min();
            tokio::select! {
                _ = self.child.recv() => {}
                _ = self.term.recv(), if heed => return Ok(Event::Told),
                read = read_some(&mut app.output, &mut buffer) => match read {
                    0 => app.output = None,
                    count => self.recorder.heard(&buffer[..count]),
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if until.is_some_and(|u| u <= Instant::now()) {
                        return Ok(Event::Overdue);
                    }
                    self.recorder.record();
                }
            }
        }
    }

    async fn stop(&mut self, mut app: Running) -> Result<(), HostError> {
        self.recorder.enter(Phase::Stopping);
        let mut event = Event::Overdue;
        if heeds_term(app.pid) {
            kill_process(app.pid, Signal::TERM).ok();
            event = self.watch(&mut app, Some(Instant::now() + self.grace), false).await?;
            if !matches!(event, Event::Ended(_)) {
                self.recorder.say("did not end by SIGTERM, so it was killed");
            }
        }
        if !matches!(event, Event::Ended(_)) {
            kill_process(app.pid, Signal::KILL).ok();
            event = self.watch(&mut app, None, false).await?;
        }
        if let Event::Ended(exit) = event {
            self.clear_away(app, exit).await;
        }
        self.recorder.enter(Phase::Stopped);
        Ok(())
    }

    async fn clear_away(&mut self, mut app: Running, exit: ExitStatus) {
        self.recorder.last_words(&mut app.output).await;
        self.recorder.state.last_exit = Some(exit);
        if let Err(error) = self.runc.delete() {
            warn!(app = %self.app.name, %error, "container left behind");
            self.recorder.say(&error.to_string());
        }
    }
}

/// The pause after the given number of restarts in a row.
fn pause(exits: u32) -> Duration {
    let doubled = RESTART_MS_MIN.checked_shl(exits).filter(|ms| *ms < RESTART_MS_MAX && exits < 16);
    Duration::from_millis(doubled.unwrap_or(RESTART_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_one_second_to_thirty() {
        let secs: Vec<u64> = (0..8).map(|n| pause(n).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pause(u32::MAX).as_secs(), 30);
    }
}
