//! [`AppHost`] for devices without systemd: one detached supervisor per app.

use super::lock::Lock;
use super::runc::{POLL_MS, Runc};
use super::state::State;
use super::{App, AppHost, AppStatus, Health, HostError, Layout, Phase, RuncError, Started};
use super::{bundle, generation, health, runc, runc_version, unit_files};
use fullmetal_proto::{AppName, DeviceId};
use rustix::process::{Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// A supervisor has its lock and its first record by then.
const START_MS_MAX: u64 = 10_000;
/// What a supervisor may take beyond the app's grace to end; then it is killed.
const STOP_MS_MAX: u64 = 15_000;

/// How apps are run.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// All paths hang off this directory.
    pub root: PathBuf,
    /// The device, part of every container's id and cgroup.
    pub device: DeviceId,
    /// The `fullmetal` program.
    pub program: PathBuf,
    /// The container runtime: a path, or a name that is looked for in the usual directories.
    pub runc: PathBuf,
    /// How long an app may take to end after SIGTERM.
    pub grace: Duration,
}

impl SupervisorOptions {
    /// The running program, runc from the usual directories, 10 seconds to end.
    ///
    /// # Errors
    /// When the path of the running program or of the current directory is not to be had.
    pub fn new(root: &Path, device: &DeviceId) -> io::Result<Self> {
        Ok(SupervisorOptions {
            root: std::path::absolute(root)?,
            device: device.clone(),
            program: std::env::current_exe()?,
            runc: "runc".into(),
            grace: Duration::from_secs(10),
        })
    }

    /// Whether the container runtime is there and can be run; a warning where its version has holes that are known.
    ///
    /// # Errors
    /// What is wrong with it, and what to install.
    pub fn check_runtime(&self) -> Result<Option<String>, RuncError> {
        runc::check(&self.runc).map(|said| runc_version::warning(&said))
    }
}

/// Runs each app under a `fullmetal supervise` of its own.
#[derive(Debug)]
pub struct SupervisorHost {
    options: SupervisorOptions,
    /// Supervisors that this process started, so that none stays a zombie.
    children: Vec<Child>,
}

impl SupervisorHost {
    /// Starts nothing: what runs from before is found by `list` and adopted by `start`.
    pub fn new(options: SupervisorOptions) -> Self {
        SupervisorHost { options, children: Vec::new() }
    }

    fn layout(&self, name: &AppName) -> Layout {
        Layout::new(&self.options.root, &self.options.device, name)
    }

    fn runc(&self, layout: &Layout) -> Runc {
        Runc::new(&self.options.runc, layout)
    }

    /// The record of the supervisor that lives, once it has written one and unless it is about to end.
    fn supervised(&self, layout: &Layout) -> Result<Option<State>, HostError> {
        let limit = self.options.grace + Duration::from_millis(STOP_MS_MAX);
        let found = poll(limit, || {
            let Some(pid) = Lock::holder(&layout.lock())? else { return Ok(Some(None)) };
            let own = |s: &State| s.supervisor == pid.as_raw_nonzero().get();
            let state = State::read(&layout.state())?.filter(own);
            let ending = |s: &State| s.done() || matches!(s.phase, Phase::Stopping | Phase::Stopped);
            Ok(state.filter(|s| !ending(s)).map(Some))
        });
        found?.ok_or_else(|| self.not_up(layout, "one holds the lock but records nothing".to_owned()))
    }

    /// Whether the supervisor that was spawned is the one; not so when another came first.
    fn launch(&mut self, layout: &Layout, app: &App, generation: u64) -> Result<bool, HostError> {
        let log = layout.supervisor_log();
        let log = File::create(&log).map_err(HostError::io("making", &log))?;
        let mut command = Command::new(&self.options.program);
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.arg("supervise").arg("--root").arg(&self.options.root).arg("--runc").arg(&self.options.runc);
        command.arg("--device").arg(self.options.device.as_str()).arg("--name").arg(app.name.as_str());
        command.arg("--commit").arg(app.commit.to_string()).arg("--generation").arg(generation.to_string());
        command.arg("--grace-ms").arg(self.options.grace.as_millis().to_string());
        if app.job {
            command.arg("--job");
        }
        let mut child = command.spawn().map_err(HostError::io("running", &self.options.program))?;
        let up = self.wait_for(layout, &mut child);
        self.children.push(child);
        up
    }

    fn wait_for(&self, layout: &Layout, child: &mut Child) -> Result<bool, HostError> {
        let up = poll(Duration::from_millis(START_MS_MAX), || {
            let ended = child.try_wait().map_err(HostError::io("waiting for", &self.options.program))?;
            let own = |s: State| i64::from(s.supervisor) == i64::from(child.id());
            match (State::read(&layout.state())?.is_some_and(own), ended) {
                (true, _) => Ok(Some(true)),
                (false, Some(_)) if Lock::holder(&layout.lock())?.is_some() => Ok(Some(false)),
                (false, Some(status)) => Err(self.not_up(layout, format!("it ended with {status}"))),
                (false, None) => Ok(None),
            }
        })?;
        if let Some(up) = up {
            return Ok(up);
        }
        child.kill().map_err(HostError::io("ending", &self.options.program))?;
        Err(self.not_up(layout, format!("no record of it within {} s", START_MS_MAX / 1000)))
    }

    fn not_up(&self, layout: &Layout, why: String) -> HostError {
        HostError::Supervisor { name: layout.name().clone(), why, log: layout.supervisor_log() }
    }

    /// Ends the supervisor, which ends the app first; one that does not is killed.
    fn end_supervisor(&self, layout: &Layout) -> Result<(), HostError> {
        let patience = self.options.grace + Duration::from_millis(STOP_MS_MAX);
        for (signal, limit) in [(Signal::TERM, patience), (Signal::KILL, Duration::from_secs(2))] {
            let Some(pid) = Lock::holder(&layout.lock())? else { return Ok(()) };
            kill_process(pid, signal).ok();
            let gone = || Ok((Lock::holder(&layout.lock())? != Some(pid)).then_some(()));
            if poll(limit, gone)?.is_some() {
                return Ok(());
            }
            warn!(app = %layout.name(), pid = pid.as_raw_nonzero(), ?signal, "supervisor did not end");
        }
        Err(HostError::Unstoppable { name: layout.name().clone(), why: "its supervisor does not end".to_owned() })
    }

    fn reap(&mut self) {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl AppHost for SupervisorHost {
    /// Each start makes its bundle anew; what would keep it from starting is told now.
    fn prepare(&mut self, app: &App) -> Result<(), HostError> {
        bundle::check(&self.layout(&app.name), app).map(drop)
    }

    fn start(&mut self, app: &App) -> Result<Started, HostError> {
        self.reap();
        let layout = self.layout(&app.name);
        if let Some(state) = self.supervised(&layout)? {
            return adopt(app, &state);
        }
        if State::read(&layout.state())?.is_some_and(|s| s.done() && s.commit == app.commit) {
            return Ok(Started::Adopted);
        }
        bundle::check(&layout, app)?;
        let run = layout.run();
        fs::create_dir_all(&run).map_err(HostError::io("making", &run))?;
        let generation = generation::next(&layout)?;
        if self.launch(&layout, app, generation)? {
            info!(app = %app.name, commit = %app.commit.short(), generation, "app started");
            return Ok(Started::New);
        }
        match self.supervised(&layout)? {
            Some(state) => adopt(app, &state),
            None => Err(self.not_up(&layout, "another was in its way and ended".to_owned())),
        }
    }

    fn stop(&mut self, name: &AppName) -> Result<(), HostError> {
        let layout = self.layout(name);
        if layout.run().exists() {
            generation::next(&layout)?;
        }
        self.end_supervisor(&layout)?;
        self.reap();
        let left = |e: RuncError| HostError::Unstoppable { name: name.clone(), why: e.to_string() };
        self.runc(&layout).delete().map_err(left)?;
        match State::read(&layout.state())? {
            Some(mut state) if state.phase != Phase::Stopped => {
                state.enter(Phase::Stopped);
                state.write(&layout.state())
            }
            _ => Ok(()),
        }
    }

    fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError> {
        let layout = self.layout(name);
        // In this order: a supervisor that ends in between has written its last record.
        let supervised = Lock::holder(&layout.lock())?.is_some();
        Ok(State::read(&layout.state())?.map(|s| s.status(supervised)))
    }

    fn health(&self, name: &AppName, argv: &[String], limit: Duration) -> Result<Health, HostError> {
        if self.status(name)?.is_none_or(|s| s.phase != Phase::Running) {
            return Ok(Health::NotRunning);
        }
        let layout = self.layout(name);
        let run = layout.run();
        // Of its own: a check that is slow to end may overlap with the first one of the next watch.
        let pid_file = tempfile::Builder::new().prefix("health-").suffix(".pid").tempfile_in(&run);
        let pid_file = pid_file.map_err(HostError::io("making a file in", &run))?;
        health::ask(&self.runc(&layout), argv, pid_file.path(), limit)
    }

    fn list(&self) -> Result<Vec<AppName>, HostError> {
        let mut names = Vec::new();
        for name in self.traces()? {
            if self.status(&name)?.is_some_and(|s| s.phase != Phase::Stopped) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn traces(&self) -> Result<Vec<AppName>, HostError> {
        Layout::with_runs(&self.options.root)
    }

    fn remove(&mut self, name: &AppName) -> Result<(), HostError> {
        self.stop(name)?;
        let run = self.layout(name).run();
        unit_files::remove_tree(&run).map_err(HostError::io("removing", &run))
    }
}

fn adopt(app: &App, state: &State) -> Result<Started, HostError> {
    if state.commit == app.commit {
        return Ok(Started::Adopted);
    }
    Err(HostError::Occupied { name: app.name.clone(), running: state.commit, wanted: app.commit })
}

/// Asks again and again until there is an answer; `None` when there is none in time.
pub(super) fn poll<T>(
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, HostError>,
) -> Result<Option<T>, HostError> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = ask()?;
        if answer.is_some() || Instant::now() > deadline {
            return Ok(answer);
        }
        thread::sleep(Duration::from_millis(POLL_MS));
    }
}
