//! [`AppHost`] for devices with systemd: an app is a unit, which outlives the agent and starts without it.
//!
//! What a version needs to start lies beside its checkout in `/var`: the ready unit file and the OCI bundle. The unit
//! in `/run` is a copy, made at each start and by `fullmetal-boot`. A record of our own keeps what systemd forgets of
//! a unit that is stopped.

mod away;
mod bus;
mod early;
mod ended;
mod journal;
mod launch;
mod limit;
mod logind;
mod options;
mod transient;
mod unit_state;

pub use bus::BusError;
pub use journal::last_boot;
pub use logind::{ShutdownInhibitor, reboot, shutdown_inhibitors};
pub use options::SystemdOptions;
pub use transient::{Once, Ran, run_once};

use super::runc::Runc;
use super::shares::Shares;
use super::state::State;
use super::supervise::kill_if_deaf;
use super::unit::{self, Unit, unit_name};
use super::unit_files::{self, UnitFiles};
use super::{App, AppHost, AppStatus, Health, HostError, Layout, Phase, Started, UnitOptions};
use super::{bundle, generation, health};
use crate::config::Paths;
use crate::durable::{self, Existing};
use bus::Bus;
use ended::{ended, is_done};
use fullmetal_proto::wire::report::{ExitStatus, LOG_LINES_MAX};
use fullmetal_proto::{AppName, Timestamp};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tracing::{info, warn};
use unit_state::UnitState;

/// How long the last lines of an app that ended are waited for: the journal is a process of its own.
const LAST_WORDS_MS_MAX: u64 = 500;
/// Said of an app that systemd ended for it.
const OUT_OF_MEMORY: &str = "fullmetal: ended because it took more memory than there was for it (oom-kill)";

/// What systemd calls the state of any unit: `active`, `failed` …; of one that it does not know, `inactive`.
///
/// # Errors
/// When systemd cannot be asked.
pub fn active_state(unit: &str) -> Result<String, BusError> {
    Ok(Bus::connect()?.unit(unit)?.text("ActiveState").to_owned())
}

/// Runs each app as a unit of systemd.
pub struct SystemdHost {
    options: SystemdOptions,
    paths: Paths,
    files: UnitFiles,
    /// Open while changes are waited for.
    listening: Option<Bus>,
}

impl SystemdHost {
    /// Starts nothing.
    pub fn new(options: SystemdOptions) -> Self {
        let paths = Paths::new(options.root.clone());
        SystemdHost { files: UnitFiles::new(&paths), paths, options, listening: None }
    }

    fn layout(&self, name: &AppName) -> Layout {
        Layout::systemd(&self.options.root, &self.options.device, name)
    }

    /// The unit of an app must be ours alone: one of the system's own with its name is not shadowed.
    fn check_name(&self, bus: &Bus, name: &AppName) -> Result<(), HostError> {
        let unit = bus.unit(&unit_name(name))?;
        let fragment = unit.text("FragmentPath");
        let ours = fragment.is_empty() || Path::new(fragment) == self.files.path(name);
        match self.files.namesake(name) {
            Some(path) => Err(HostError::Taken { name: name.clone(), path }),
            None if !ours => Err(HostError::Taken { name: name.clone(), path: fragment.into() }),
            // Read from `/run`, but not written by us.
            None if !fragment.is_empty() && self.files.path(name).exists() && self.files.marked(name)?.is_none() => {
                Err(HostError::Taken { name: name.clone(), path: fragment.into() })
            }
            None => Ok(()),
        }
    }

    /// Writes unit and bundle beside the checkout, durably; gives the unit.
    ///
    /// The policy and the numbers of granted device nodes are those of now. The agent calls this before each start of
    /// its own. At boot, and when systemd starts the app again, what was stored last holds, so that an app starts without
    /// the agent: a policy changed since counts from the agent's next start of the app on.
    fn store(&self, app: &App) -> Result<(String, UnitOptions), HostError> {
        let layout = self.layout(&app.name);
        let (json, adapted) = bundle::adapted(&layout, app)?;
        let shares = Shares::of(&adapted.spec);
        let options = UnitOptions::read(&self.paths, &app.name, &app.commit)?;
        let runc = &self.options.runc;
        let grace = self.options.grace;
        let text = Unit { layout: &layout, app, options: &options, shares, runc, grace }.text();
        let dir = unit::bundle(&layout, &app.commit);
        let file = unit::stored(&self.paths.app_dir(&app.name), &app.commit);
        durable::make_dir(&dir, 0o755)?;
        for (path, bytes, mode) in [(dir.join("config.json"), &json[..], 0o600), (file, text.as_bytes(), 0o644)] {
            if fs::read(&path).ok().as_deref() != Some(bytes) {
                durable::write(&path, bytes, mode, Existing::Replaced)?;
            }
        }
        for lack in adapted.lacks {
            warn!(app = %app.name, "{lack}");
        }
        Ok((text, options))
    }

    /// How the app is, without its last lines.
    fn look(&self, unit: &UnitState, name: &AppName) -> Result<Option<AppStatus>, HostError> {
        let state = State::read(&self.layout(name).state())?;
        let Some(marked) = self.files.marked(name)? else { return Ok(None) };
        let mut status = AppStatus {
            phase: Phase::Stopped,
            commit: marked.commit,
            job: marked.job,
            generation: state.as_ref().map_or(0, |s| s.generation),
            since: Timestamp::from_millis(unit.number("StateChangeTimestamp") / 1000),
            restarts: u32::try_from(unit.number("NRestarts")).unwrap_or(u32::MAX),
            last_exit: unit.exit(),
            log: Vec::new(),
        };
        status.phase = match (unit.text("ActiveState"), unit.text("SubState")) {
            ("active" | "reloading", "exited") => Phase::Exited,
            ("active" | "reloading", _) if self.has_container(name) => Phase::Running,
            ("active" | "reloading", _) => Phase::Starting,
            ("activating", "auto-restart") => Phase::Exited,
            ("activating", _) => Phase::Starting,
            ("deactivating", _) => Phase::Stopping,
            // Given up. All other failures are restarted, unless somebody stopped the app and it did not end well.
            ("failed", _) if ["start-limit-hit", "resources"].contains(&unit.text("Result")) => Phase::Lost,
            // Never started since the device booted.
            _ if unit.number("InactiveEnterTimestamp") == 0 && state.is_none() => return Ok(None),
            _ => {
                let left_ms = unit.number("InactiveEnterTimestamp") / 1000;
                return Ok(Some(ended(status, state, left_ms)));
            }
        };
        Ok(Some(status))
    }

    /// runc has made the container and not yet removed it.
    fn has_container(&self, name: &AppName) -> bool {
        let layout = self.layout(name);
        layout.runc_root().join(layout.container()).join("state.json").exists()
    }

    fn lines(&self, name: &AppName, phase: Phase) -> Vec<String> {
        let since = State::read(&self.layout(name).state()).ok().flatten().map_or(0, |s| s.since_ms);
        let unit = unit_name(name);
        let mut waited = 0;
        loop {
            let lines = journal::last_lines(&unit, since);
            if !lines.is_empty() || phase != Phase::Exited || waited >= LAST_WORDS_MS_MAX {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(50));
            waited += 50;
        }
    }

    /// Ends the unit and waits; gives how its main process ended, if systemd said so.
    fn end(&self, bus: &mut Bus, name: &AppName) -> Result<Option<ExitStatus>, HostError> {
        let unit = unit_name(name);
        let limit = limit::of_job(bus, &self.files, name)? + self.options.margin;
        let Some(job) = bus.stop(&unit)? else { return Ok(None) };
        // What does not listen to SIGTERM is not waited for, once it is its turn: apps that require it stop before it.
        let hear = |changes: &UnitState| {
            if changes.text("ActiveState") == "deactivating" && self.has_container(name) {
                kill_if_deaf(&self.layout(name).pid_file());
            }
        };
        let end = job.end(limit, hear, || {})?;
        let state = bus.unit(&unit)?;
        if !matches!(state.text("ActiveState"), "inactive" | "failed") {
            let why = format!("systemd ended its job with \"{}\" and says it is {}", end.result, state.state());
            return Err(HostError::Unstoppable { name: name.clone(), why });
        }
        Ok(end.exit)
    }
}

impl AppHost for SystemdHost {
    fn prepare(&mut self, app: &App) -> Result<(), HostError> {
        self.check_name(&Bus::connect()?, &app.name)?;
        self.store(app).map(drop)
    }

    fn start(&mut self, app: &App) -> Result<Started, HostError> {
        let mut bus = Bus::connect()?;
        self.check_name(&bus, &app.name)?;
        if let Some(status) = self.look(&bus.unit(&unit_name(&app.name))?, &app.name)? {
            if status.is_alive() && status.commit == app.commit {
                self.hand_over(&app.name);
                return Ok(Started::Adopted);
            }
            if status.is_alive() && !is_done(&status) {
                let (name, running, wanted) = (app.name.clone(), status.commit, app.commit);
                return Err(HostError::Occupied { name, running, wanted });
            }
            self.end(&mut bus, &app.name)?;
        }
        let (text, options) = self.store(app)?;
        let layout = self.layout(&app.name);
        let run = layout.run();
        fs::create_dir_all(&run).map_err(HostError::io("making", &run))?;
        let generation = generation::next(&layout)?;
        self.record(app, generation)?;
        let wanted = super::starts_at_boot(&self.paths, &app.name);
        if self.files.place_unit(&app.name, &text, wanted)? {
            bus.reload()?;
        }
        bus.reset_failed(&unit_name(&app.name))?;
        // That of the run before may name anybody by now.
        fs::remove_file(layout.pid_file()).ok();
        self.launch(&mut bus, app, &options)?;
        info!(app = %app.name, commit = %app.commit.short(), generation, "app started");
        Ok(Started::New)
    }

    fn settle(&mut self, app: &App) -> Result<(), HostError> {
        let mut bus = Bus::connect()?;
        let unit = bus.unit(&unit_name(&app.name))?;
        if unit.text("ActiveState") != "activating" || unit.text("SubState") == "auto-restart" {
            return self.await_container(&mut bus, &app.name);
        }
        self.launch(&mut bus, app, &UnitOptions::read(&self.paths, &app.name, &app.commit)?)
    }

    fn stop(&mut self, name: &AppName) -> Result<(), HostError> {
        let Some(marked) = self.files.marked(name)? else { return Ok(()) };
        let (mut bus, layout) = (Bus::connect()?, self.layout(name));
        let unit = unit_name(name);
        let Some(before) = self.look(&bus.unit(&unit)?, name)? else { return Ok(()) };
        let exit = self.end(&mut bus, name)?;
        bus.reset_failed(&unit)?;
        if before.phase == Phase::Stopped {
            return Ok(());
        }
        let app = App { name: name.clone(), commit: marked.commit, job: marked.job };
        let mut state = State::new(&app, before.generation, 0);
        (state.restarts, state.last_exit) = (before.restarts, exit.or(before.last_exit));
        state.log = self.lines(name, Phase::Stopped);
        state.enter(Phase::Stopped);
        fs::create_dir_all(layout.run()).map_err(HostError::io("making", &layout.run()))?;
        state.write(&layout.state())
    }

    fn remove(&mut self, name: &AppName) -> Result<(), HostError> {
        self.stop(name)?;
        let layout = self.layout(name);
        let (removed, mut bus) = (self.files.remove_unit(name)?, Bus::connect()?);
        // It knows the unit still where an earlier removal was cut before it was told.
        if removed || Path::new(bus.unit(&unit_name(name))?.text("FragmentPath")) == self.files.path(name) {
            bus.reset_failed(&unit_name(name))?;
            bus.reload()?;
        }
        // What wants it, or a job of the boot, may have started it before systemd was told.
        if !matches!(bus.unit(&unit_name(name))?.text("ActiveState"), "" | "inactive" | "failed") {
            self.end(&mut bus, name)?;
        }
        unit_files::remove_cgroups(&layout);
        unit_files::remove_tree(&layout.run()).map_err(HostError::io("removing", &layout.run()))
    }

    fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError> {
        if self.files.marked(name)?.is_none() {
            return Ok(None);
        }
        let unit = Bus::connect()?.unit(&unit_name(name))?;
        let Some(mut status) = self.look(&unit, name)? else { return Ok(None) };
        if status.phase != Phase::Stopped {
            status.log = self.lines(name, status.phase);
            if unit.text("Result") == "oom-kill" {
                let over = (status.log.len() + 1).saturating_sub(LOG_LINES_MAX);
                status.log.drain(..over);
                status.log.push(OUT_OF_MEMORY.to_owned());
            }
        }
        Ok(Some(status))
    }

    fn health(&self, name: &AppName, argv: &[String], limit: Duration) -> Result<Health, HostError> {
        let unit = Bus::connect()?.unit(&unit_name(name))?;
        if self.look(&unit, name)?.is_none_or(|s| s.phase != Phase::Running) {
            return Ok(Health::NotRunning);
        }
        let layout = self.layout(name);
        let run = layout.run();
        let pid_file = tempfile::Builder::new().prefix("health-").suffix(".pid").tempfile_in(&run);
        let pid_file = pid_file.map_err(HostError::io("making a file in", &run))?;
        let answer = pid_file.path().with_extension("answer");
        // What is slow to begin has its time from then on.
        let runc = Runc::new(&self.options.runc, &layout).through_systemd(limit + self.options.margin, answer);
        health::ask(&runc, argv, pid_file.path(), limit)
    }

    fn list(&self) -> Result<Vec<AppName>, HostError> {
        let names = self.files.all()?;
        if names.is_empty() {
            return Ok(names);
        }
        let bus = Bus::connect()?;
        let mut there = Vec::new();
        for name in names {
            let status = self.look(&bus.unit(&unit_name(&name))?, &name)?;
            if status.is_some_and(|s| !matches!(s.phase, Phase::Stopped | Phase::Halted)) {
                there.push(name);
            }
        }
        Ok(there)
    }

    fn traces(&self) -> Result<Vec<AppName>, HostError> {
        let mut names = [self.files.all()?, Layout::with_runs(&self.options.root)?].concat();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn place(&mut self, app: &App) -> Result<(), HostError> {
        let path = unit::stored(&self.paths.app_dir(&app.name), &app.commit);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // The policy refuses it: its start will tell.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(HostError::io("reading", &path)(e)),
        };
        if self.files.place_unit(&app.name, &text, super::starts_at_boot(&self.paths, &app.name))? {
            Bus::connect()?.reload()?;
        }
        Ok(())
    }

    fn wait_for_change(&mut self, name: &AppName, limit: Duration) {
        let bus = self.listening.take().map_or_else(Bus::connect, Ok);
        let changed = bus.and_then(|mut bus| bus.changed(&unit_name(name), limit).map(|_| bus));
        match changed {
            Ok(bus) => self.listening = Some(bus),
            Err(error) => {
                warn!(%error, app = %name, "systemd is listened to again");
                std::thread::sleep(limit.min(Duration::from_secs(1)));
            }
        }
    }
}
