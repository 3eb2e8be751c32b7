//! The start of an app's unit, and who sees to it from when on.

use super::early::Early;
use super::{Bus, SystemdHost, UnitState, limit};
use crate::host::state::State;
use crate::host::unit::unit_name;
use crate::host::{App, HostError, Phase, UnitOptions};
use fullmetal_proto::AppName;
use fullmetal_proto::wire::report::ExitStatus;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long the runtime may take to make a container.
const CONTAINER_MAX: Duration = Duration::from_secs(15);
/// How often the container is looked for: it comes within a few of these.
const CONTAINER_LOOK: Duration = Duration::from_millis(20);

impl SystemdHost {
    pub(super) fn record(&self, app: &App, generation: u64) -> Result<(), HostError> {
        let mut state = State::new(app, generation, 0);
        state.enter(Phase::Starting);
        state.write(&self.layout(&app.name).state())
    }

    /// To systemd an app that does not say when it is ready has started with its runtime, whose container comes later: of
    /// that nobody tells, so the runtime's record is looked for. Of its end systemd tells.
    pub(super) fn await_container(&self, bus: &mut Bus, name: &AppName) -> Result<(), HostError> {
        let (end, unit) = (Instant::now() + CONTAINER_MAX, unit_name(name));
        let mut changed = true;
        while !self.has_container(name) && Instant::now() < end {
            let runs = |unit: UnitState| (unit.text("ActiveState"), unit.text("SubState")) == ("active", "running");
            if changed && !runs(bus.unit(&unit)?) {
                break;
            }
            changed = bus.changed(&unit, CONTAINER_LOOK)?;
        }
        Ok(())
    }

    /// From here on systemd sees to the app, whatever becomes of its start: see [`ended`].
    pub(super) fn hand_over(&self, name: &AppName) {
        let file = self.layout(name).state();
        let done = State::read(&file).and_then(|state| match state {
            Some(state) if state.phase == Phase::Starting => State { phase: Phase::Running, ..state }.write(&file),
            _ => Ok(()),
        });
        if let Err(error) = done {
            warn!(app = %name, %error, "who stops it by hand now will not be told from a start that was cut off");
        }
    }

    /// Starts it, or waits for the start that is under way: systemd has one job for both.
    pub(super) fn launch(&self, bus: &mut Bus, app: &App, options: &UnitOptions) -> Result<(), HostError> {
        let unit = unit_name(&app.name);
        let limit = limit::of_job(bus, &self.files, &app.name)? + self.options.margin;
        let mut early = Early::new(self.layout(&app.name).pid_file());
        let look = || {
            if options.notify {
                early.look()
            }
        };
        let job = bus.start(&unit)?;
        self.hand_over(&app.name);
        let end = job.end(limit, |_| {}, look)?;
        if end.result == "done" {
            return self.await_container(bus, &app.name);
        }
        let state = bus.unit(&unit)?;
        let (result, exit) = (state.text("Result"), early.exit.or(end.exit).or(state.exit()));
        let ended = match exit {
            Some(ExitStatus::Code(code)) => format!(", exit status {code}"),
            Some(ExitStatus::Signal(signal)) => format!(", ended by signal {signal}"),
            None => String::new(),
        };
        let last = self.lines(&app.name, Phase::Exited).pop().map(|line| format!(": {line}")).unwrap_or_default();
        let why = format!("systemd ended its job with \"{}\" (result \"{result}\"{ended}){last}", end.result);
        Err(HostError::NotStarted { name: app.name.clone(), why })
    }
}
