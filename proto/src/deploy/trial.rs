//! An operating system on trial: armed, booted, proven, or back.
//!
//! The boot loader may act at any moment by itself, so that nothing here assumes what the record says of the past: after each
//! start the device is looked at, and what runs decides. Apps change only while the new operating system runs.

use super::outbox::Cause;
use super::outbox::OUTBOX_MAX;
use super::record::{App, Phase, System};
use super::{
    AppEvent, Deploy, DeployError, Effect, Entry, Event, Installed, NOBODY, NewOs, Now, OsStep, OsView, RESTARTS_MAX,
    REVERT_TRIES_MAX, Retry, State, Ticket,
};
use crate::wire::announcement::Mode;
use crate::wire::bundle::StartOptions;
use crate::wire::report::ReportState;
use crate::{DeploymentId, Digest, Timestamp};
use std::time::Duration;

/// How long a reboot that was asked for may take before it is asked for again.
pub const REBOOT_MAX: Duration = Duration::from_secs(300);

/// Which operating system of a trial runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Runs {
    #[default]
    Old,
    New,
    /// Neither of the two.
    Other,
}

impl Deploy {
    /// The operating system of the deployment under way.
    pub(super) fn new_os(&self) -> Option<&NewOs> {
        self.record.deployment.as_ref()?.os.as_ref()
    }

    /// Why nothing is deployed: what runs was neither deployed here nor accepted.
    pub fn unknown_os(&self) -> Option<String> {
        let (system, booted) = (self.record.os.as_ref()?, self.seen.as_ref()?.booted);
        let known = &system.app.current;
        (booted.commit != known.commit).then(|| {
            format!(
                "the operating system that runs (commit {}) is not {} {}, the last one proven here: boot that again, or say \
                 `fullmetal accept-os` to go on from what runs",
                booted.commit, system.name, known.version
            )
        })
    }

    /// What runs is in force from now on.
    pub(super) fn accept_os(&mut self, now: Now) {
        if self.unknown_os().is_none() || self.is_on_trial() {
            return;
        }
        let Some((system, seen)) = self.record.os.as_mut().zip(self.seen.as_ref()) else { return };
        system.app.current = came_with_the_device(seen);
        self.queue.change();
        self.inventory(now);
    }

    /// Journals the trial if the deployment has an operating system; only then the boot loader is touched.
    pub(super) fn begin_trial(&mut self, now: Now) -> Result<(), DeployError> {
        let boot = self.seen.as_ref().map(|seen| seen.boot.clone());
        if let Some(os) = self.record.deployment.as_mut().and_then(|d| d.os.as_mut()) {
            os.boot = boot;
        }
        self.set_phase(Phase::Arming);
        self.milestone(ReportState::Switching, now);
        self.go(Event::TrialBegun)
    }

    /// The step of the state.
    pub(super) fn os_step(&self) -> Option<OsStep> {
        let os = self.new_os()?;
        let (old, new) = (os.old, os.new?);
        match self.state {
            State::Looking => Some(OsStep::Look),
            State::Arming => Some(OsStep::Arm { old, new }),
            State::Clearing => Some(OsStep::Clear(new)),
            State::GivingUp => Some(OsStep::GiveUp { old, new }),
            State::Cleaning => Some(OsStep::Clean { old, new }),
            _ => None,
        }
    }

    /// A step is done, or the agent has looked by itself.
    pub(super) fn os_done(
        &mut self,
        ticket: Ticket,
        view: Option<OsView>,
        log: &[String],
        now: Now,
    ) -> Result<(), DeployError> {
        self.seen.clone_from(&view);
        if ticket == NOBODY {
            self.looked_at(view.as_ref(), now);
            return Ok(());
        }
        match self.state {
            State::Looking => self.looked(view, log, now),
            State::Arming => self.go(Event::Armed),
            State::Clearing => {
                self.record.keep();
                self.end(Event::Cleared, ReportState::Succeeded, Cause::default(), now)
            }
            State::GivingUp => self.go(Event::GaveUp),
            State::Cleaning => self.cleaned(now),
            _ => Ok(()),
        }
    }

    /// While nothing is on trial: a counter that was left behind would boot something else one day.
    fn looked_at(&mut self, view: Option<&OsView>, now: Now) {
        let Some(view) = view.filter(|_| !self.state.is_of_trial() && !self.is_on_trial()) else { return };
        if view.counted.is_some() && view.entries.first() == Some(&view.booted) {
            self.queue.emit(Effect::Os { ticket: NOBODY, step: OsStep::Clear(view.booted) });
        }
        if let Some(reason) = self.unknown_os().filter(|_| self.record.outbox.len() < OUTBOX_MAX) {
            self.post(None, ReportState::Inventory, Cause::new(&reason), now);
        }
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.record.deployment.as_ref().is_some_and(|d| d.os.is_some() && d.phase != Phase::Staging)
    }

    /// After a start in the midst of a trial.
    fn looked(&mut self, view: Option<OsView>, log: &[String], now: Now) -> Result<(), DeployError> {
        let Some((os, phase)) = self.record.deployment.as_ref().and_then(|d| Some((d.os.clone()?, d.phase.clone())))
        else {
            return Ok(());
        };
        let booted = view.as_ref().map(|view| view.booted);
        self.runs = match booted {
            Some(booted) if Some(booted) == os.new => Runs::New,
            Some(booted) if booted == os.old => Runs::Old,
            _ => Runs::Other,
        };
        match (phase, self.runs) {
            (Phase::RollingBack { .. }, _) => self.go(Event::FoundRollBack),
            (_, Runs::Other) => self.falls_back(&came_up_on(booted), log),
            (Phase::Arming, Runs::New) => self.comes_up(now),
            (Phase::Arming, _) => match view {
                Some(view) => self.did_not_boot(&os, &view, log),
                None => Ok(()),
            },
            (Phase::Proven, Runs::New) => self.go(Event::FoundProven),
            (Phase::Proven, _) => self.falls_back(&self.given_up("after it was proven"), log),
            (_, Runs::New) => {
                let found = self.interrupted();
                self.go(found)
            }
            (_, Runs::Old) => self.falls_back(&self.given_up("during its probation"), log),
        }
    }

    /// The new operating system runs for the first time.
    fn comes_up(&mut self, now: Now) -> Result<(), DeployError> {
        self.set_phase(Phase::Switching { restarts: 0 });
        self.remark(ReportState::Switching, "the new operating system runs", now);
        self.go(Event::FoundSwitch)
    }

    /// The old operating system runs although a trial was journalled.
    fn did_not_boot(&mut self, os: &NewOs, view: &OsView, log: &[String]) -> Result<(), DeployError> {
        let same_boot = os.boot.as_ref() == Some(&view.boot);
        if same_boot {
            return self.go(Event::FoundArming);
        }
        if view.entries.first() == os.new.as_ref() {
            let left = view.counted.as_ref().map_or(0, |counted| counted.tries_left);
            let why = match view.entry {
                Some(Entry::First) => "although it says that it booted it",
                _ if left > 0 => "which could not load it",
                _ => "since it did not come up",
            };
            return self.falls_back(&self.given_up(why), log);
        }
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        if deployment.cuts < RESTARTS_MAX {
            return self.go(Event::FoundCut);
        }
        let reason = format!("the device went down {} times while this was put on trial", RESTARTS_MAX + 1);
        self.falls_back(&reason, &[])
    }

    fn given_up(&self, why: &str) -> String {
        let part = self.new_os().map(|os| format!("{} {}", os.part.name, os.part.installed.version));
        format!("{} was rolled back by the boot loader, {why}", part.unwrap_or_default())
    }

    fn falls_back(&mut self, reason: &str, log: &[String]) -> Result<(), DeployError> {
        self.set_phase(Phase::RollingBack { cause: Cause::new(reason).with_log(log) });
        self.go(Event::FoundRollBack)
    }

    /// The old apps are in place: what becomes of the operating system.
    pub(super) fn apps_are_back(&mut self, without: Event, now: Now, cause: Cause) -> Result<(), DeployError> {
        match self.new_os().map(|_| self.runs) {
            None | Some(Runs::Other) => self.end(without, ReportState::Failed, cause, now),
            Some(runs) => {
                if self.cause() != cause {
                    self.set_phase(Phase::RollingBack { cause });
                }
                self.go(if runs == Runs::New { Event::LeavesTrial } else { Event::IsBack })
            }
        }
    }

    /// Nothing of the trial is left in the boot loader.
    fn cleaned(&mut self, now: Now) -> Result<(), DeployError> {
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        if deployment.phase != Phase::Arming {
            return self.end(Event::Cleared, ReportState::Failed, self.cause(), now);
        }
        // What was staged went with the boot.
        deployment.cuts += 1;
        self.set_phase(Phase::Staging);
        self.go(Event::TakenBack)
    }

    /// A step did not succeed.
    pub(super) fn os_failed(&mut self, retry: bool, reason: &str, now: Now) -> Result<(), DeployError> {
        if self.state == State::Arming && !retry {
            self.runs = Runs::Old;
            self.set_phase(Phase::RollingBack { cause: Cause::new(reason) });
            return self.go(Event::Broken);
        }
        let failures = self.try_again_later(now);
        if failures == 1 {
            self.remark(ReportState::Switching, &format!("does not succeed yet: {reason}"), now);
        }
        match self.state {
            // Its tries are counted down by each boot.
            State::GivingUp if failures >= REVERT_TRIES_MAX => self.go(Event::GaveUp),
            State::Cleaning if failures >= REVERT_TRIES_MAX && self.phase_is_back() => {
                let cause = self.cause();
                let why = format!("{}; and the boot loader could not be set right: {reason}", cause.reason);
                self.end(Event::GivenUp, ReportState::Failed, Cause { reason: Cause::new(&why).reason, ..cause }, now)
            }
            _ => Ok(()),
        }
    }

    fn phase_is_back(&self) -> bool {
        matches!(self.record.deployment.as_ref().map(|d| &d.phase), Some(Phase::RollingBack { .. }))
    }

    /// Asks for the reboot, again and again, unless root's lock holds it, or whoever inhibits it while the mode lets them.
    pub(super) fn go_down(&mut self, now: Now) {
        let Some(deployment) = &self.record.deployment else { return };
        let idle = deployment.wish.mode == Mode::WhenIdle;
        let held = !deployment.by_hand && (self.local.locked || idle && self.local.inhibited);
        if held || self.retry.and_then(|r| r.at).is_some_and(|at| now.steady < at) {
            return;
        }
        self.ticket = Ticket(self.ticket.0 + 1);
        let failures = self.retry.map_or(0, |r| r.failures);
        self.retry = Some(Retry { at: Some(now.steady.after(REBOOT_MAX)), failures });
        self.queue.emit(Effect::Reboot { ticket: self.ticket, force: !idle });
    }

    /// Notes how the operating system on trial is.
    pub(super) fn os_event(&mut self, event: AppEvent, now: Timestamp) {
        if self.new_os().is_some() && matches!(self.state, State::Switching | State::Proving) {
            self.watch.note_os(event, now);
        }
    }

    /// Why an operating system cannot be put on trial on what was seen.
    pub(super) fn os_objection(&self, view: Option<&OsView>, name: &str) -> Option<String> {
        let Some(view) = view else {
            return Some(format!("{name} is an operating system, and that of this device is no deployment of OSTree"));
        };
        if let Some(obstacle) = &view.obstacle {
            return Some(format!("{name} cannot be put on trial here: {obstacle}"));
        }
        let first = view.entries.first()?;
        (*first != view.booted).then(|| {
            format!(
                "{name} cannot be put on trial: the next boot is of {first}, not of what runs, {}; see `fullmetal status`",
                view.booted
            )
        })
    }

    /// What runs is in force from the first judgement on, under the name that the bundle has for it.
    pub(super) fn adopt_os(&mut self, view: &OsView, part: &super::NewPart) {
        if self.record.os.is_some() {
            return;
        }
        let commit = view.booted.commit;
        let current = match part.installed.commit == commit {
            true => part.installed.clone(),
            false => came_with_the_device(view),
        };
        let app = App { current, previous: None, floor: 0, lost: false };
        self.record.os = Some(System { name: part.name.clone(), app });
    }
}

fn came_up_on(booted: Option<DeploymentId>) -> String {
    match booted {
        Some(booted) => {
            format!("the device came up on {booted}, which is neither the old nor the new operating system")
        }
        None => "the device came up on an operating system that OSTree did not deploy".into(),
    }
}

/// Its frames are nowhere.
fn came_with_the_device(seen: &OsView) -> Installed {
    let (commit, version) = (seen.booted.commit, seen.version.clone());
    Installed { commit, version, manifest: Digest::default(), start: StartOptions::default(), unsigned: false }
}
