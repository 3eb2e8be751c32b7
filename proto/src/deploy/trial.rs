//! An operating system on trial: armed, booted, proven, or back.
//!
//! The boot loader may act at any moment by itself, so that nothing here assumes what the record says of the past: after each
//! start the device is looked at, and what runs decides. Apps change only while the new operating system runs.

use super::outbox::Cause;
use super::record::Phase;
use super::{
    AppEvent, Deploy, DeployError, Effect, Entry, Event, LastBoot, NOBODY, NewOs, Now, OsStep, OsView, RESTARTS_MAX,
    REVERT_TRIES_MAX, Retry, State, Ticket,
};
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;
use crate::{DeploymentId, Timestamp};
use std::time::Duration;

/// How long a reboot that was asked for may take before it is asked for again.
pub const REBOOT_MAX: Duration = Duration::from_secs(300);

/// How long a disk may take no record before an operating system on trial is given up.
pub const UNWRITTEN_MAX: Duration = Duration::from_secs(600);
/// The same where the boot loader has no more tries of it. After a reboot for that reason the one before did not come up, and
/// another reboot hardly has it do so; after two that hung it would.
const GIVEN_UP_MAX: Duration = Duration::from_secs(3600);
/// How often a step is tried that may succeed later, which is for about half an hour.
const PASSING_TRIES_MAX: u32 = 12;
/// How often a device that is rebooted to leave an operating system that failed may come up on it again, besides twice.
const BACKS_MAX: u8 = 3;

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
        last_boot: Option<LastBoot>,
        now: Now,
    ) -> Result<(), DeployError> {
        if self.seen.is_none() {
            self.was_given_up = view.as_ref().is_some_and(is_given_up);
        }
        self.seen.clone_from(&view);
        if ticket == NOBODY {
            self.looked_at(view.as_ref(), now);
            return Ok(());
        }
        match self.state {
            State::Looking => {
                // Of one that did not come so far, the journal's last boot is that in which it was armed.
                let armed_in = self.new_os().and_then(|os| os.boot.clone());
                let last = last_boot.filter(|last| Some(&last.boot) != armed_in.as_ref());
                self.looked(view, last.as_ref(), now)
            }
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

    pub(super) fn is_on_trial(&self) -> bool {
        self.record.deployment.as_ref().is_some_and(|d| d.os.is_some() && d.phase != Phase::Staging)
    }

    /// After a start in the midst of a trial.
    fn looked(&mut self, view: Option<OsView>, last: Option<&LastBoot>, now: Now) -> Result<(), DeployError> {
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
        let obstacle = view.as_ref().and_then(|view| view.obstacle.clone());
        match (phase, self.runs) {
            (Phase::RollingBack { cause }, Runs::New) => self.is_not_back(cause),
            (Phase::RollingBack { .. }, _) => self.go(Event::FoundRollBack),
            (Phase::Arming | Phase::Switching { .. } | Phase::Proving { .. }, Runs::New) if obstacle.is_some() => {
                let why = format!("its boot loader is out of its reach: {}", obstacle.unwrap_or_default());
                self.falls_back(&why, None)
            }
            (_, Runs::Other) => self.falls_back(&came_up_on(booted), last),
            (Phase::Arming, Runs::New) => self.comes_up(now),
            (Phase::Arming, _) => match view {
                Some(view) => self.did_not_boot(&os, &view, last),
                None => Ok(()),
            },
            (Phase::Proven, Runs::New) => self.go(Event::FoundProven),
            (Phase::Proven, _) => self.falls_back(&self.given_up("after it was proven"), last),
            (_, Runs::New) => {
                let found = self.interrupted();
                self.go(found)
            }
            (_, Runs::Old) => self.falls_back(&self.given_up("during its probation"), last),
        }
    }

    /// It was to leave, and runs: in the same boot, or again. The one before may be what does not boot.
    fn is_not_back(&mut self, cause: Cause) -> Result<(), DeployError> {
        let boot = self.seen.as_ref().map(|seen| seen.boot.clone());
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        // The first boot that is noted may be the one in which it failed, and counts for none.
        let came_again = deployment.leaves.is_some() && deployment.leaves != boot;
        deployment.backs = deployment.backs.saturating_add(came_again.into());
        deployment.leaves = boot;
        self.queue.change();
        if deployment.backs > BACKS_MAX {
            self.runs = Runs::Other;
            if came_again {
                let why = format!("{}; and reboot after reboot the version before does not come up", cause.reason);
                self.set_phase(Phase::RollingBack { cause: Cause { reason: Cause::new(&why).reason, ..cause } });
            }
        }
        self.go(Event::FoundRollBack)
    }

    /// The new operating system runs for the first time.
    fn comes_up(&mut self, now: Now) -> Result<(), DeployError> {
        self.set_phase(Phase::Switching { restarts: 0 });
        self.remark(ReportState::Switching, "the new operating system runs", now);
        self.go(Event::FoundSwitch)
    }

    /// The old operating system runs although a trial was journalled.
    fn did_not_boot(&mut self, os: &NewOs, view: &OsView, last: Option<&LastBoot>) -> Result<(), DeployError> {
        let same_boot = os.boot.as_ref() == Some(&view.boot);
        if same_boot {
            return self.go(Event::FoundArming);
        }
        // Where the loader had another first entry, the power went before it could see this one.
        if view.entries.first() == os.new.as_ref() && view.entry != Some(Entry::First) {
            let left = view.counted.as_ref().map_or(0, |counted| counted.tries_left);
            let why = if left > 0 { "which could not load it" } else { "since it did not come up" };
            return self.falls_back(&self.given_up(why), last);
        }
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        if deployment.cuts < RESTARTS_MAX {
            return self.go(Event::FoundCut);
        }
        let reason = format!("the device went down {} times while this was put on trial", RESTARTS_MAX + 1);
        self.falls_back(&reason, None)
    }

    fn given_up(&self, why: &str) -> String {
        let part = self.new_os().map(|os| format!("{} {}", os.part.name, os.part.installed.version));
        format!("{} was rolled back by the boot loader, {why}", part.unwrap_or_default())
    }

    /// `last` is the newest boot before this one that said something.
    fn falls_back(&mut self, reason: &str, last: Option<&LastBoot>) -> Result<(), DeployError> {
        let cause = match last {
            Some(last) => Cause::new(&format!("{reason}; its last boot was {}", last.boot.0)).with_log(&last.lines),
            None => Cause::new(reason),
        };
        self.set_phase(Phase::RollingBack { cause });
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
        if deployment.withdrawn {
            return self.end(Event::Cleared, ReportState::Withdrawn, Cause::default(), now);
        }
        if deployment.phase != Phase::Arming {
            return self.end(Event::Cleared, ReportState::Failed, self.cause(), now);
        }
        // It has no bundle to begin anew with, or nobody wishes it any more.
        if deployment.by_hand || deployment.too_late {
            let cause = Cause::new("the device went down while it was put on trial, before it could boot");
            return self.end(Event::Cleared, ReportState::Failed, cause, now);
        }
        // What was staged went with the boot.
        deployment.cuts += 1;
        self.set_phase(Phase::Staging);
        self.go(Event::TakenBack)
    }

    /// A step did not succeed: again later, but not for ever.
    pub(super) fn os_failed(&mut self, retry: bool, reason: &str, now: Now) -> Result<(), DeployError> {
        if self.state == State::Rebooting {
            self.reboots = false;
        }
        let failures = self.try_again_later(now);
        if failures == 1 {
            self.remark(ReportState::Switching, &format!("does not succeed yet: {reason}"), now);
        }
        let lasting = if self.state == State::Arming { 1 } else { REVERT_TRIES_MAX };
        if failures < if retry { PASSING_TRIES_MAX } else { lasting } {
            return Ok(());
        }
        match self.state {
            State::Arming => {
                self.runs = Runs::Old;
                self.set_phase(Phase::RollingBack { cause: Cause::new(reason) });
                self.go(Event::Broken)
            }
            State::Looking => {
                self.runs = Runs::Other;
                self.falls_back(&format!("which operating system runs could not be found out: {reason}"), None)
            }
            State::Clearing => {
                let why = format!("all is well, but it could not be made to boot for good: {reason}");
                self.set_phase(Phase::RollingBack { cause: Cause::new(&why) });
                self.go(Event::Broken)
            }
            // Its tries are counted down by each boot.
            State::GivingUp => self.go(Event::GaveUp),
            State::Cleaning => {
                let cause = if self.phase_is_back() { self.cause() } else { Cause::new("it was not put on trial") };
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
        let (wish, by_hand) = (&deployment.wish, deployment.by_hand);
        let idle = wish.mode != Mode::Now;
        // Into the trial only while it might begin; back from it also when the time for that is over.
        let held = match deployment.phase {
            Phase::Arming => self.hindrance(wish, now).is_some(),
            _ => self.local.locked || idle && self.local.inhibited,
        };
        let failures = self.retry.map_or(0, |r| r.failures);
        if held && !by_hand {
            // Whatever ends that is an input.
            self.retry = Some(Retry { at: None, failures });
            return;
        }
        if self.retry.and_then(|r| r.at).is_some_and(|at| now.steady < at) {
            return;
        }
        self.ticket = Ticket(self.ticket.0 + 1);
        self.retry = Some(Retry { at: Some(now.steady.after(REBOOT_MAX)), failures });
        self.reboots = true;
        // The record that it relies on was durable before what came before it.
        self.queue.emit_first(Effect::Reboot { ticket: self.ticket, force: !idle || by_hand });
    }

    /// The gateway no longer wishes it, and the reboot into the trial is held back: what was armed is taken back. Whether it
    /// could be.
    pub(super) fn takes_trial_back(&mut self) -> Result<bool, DeployError> {
        let armed = self.record.deployment.as_ref().is_some_and(|d| d.phase == Phase::Arming);
        if self.state != State::Rebooting || !armed || self.reboots {
            return Ok(false);
        }
        if let Some(deployment) = &mut self.record.deployment {
            deployment.withdrawn = true;
        }
        self.set_phase(Phase::RollingBack { cause: Cause::new("withdrawn before its trial") });
        self.runs = Runs::Old;
        self.go(Event::Withdrawn)?;
        Ok(true)
    }

    /// The new operating system runs, and for so long the disk has taken no record that nothing is decided any more: back to
    /// the one before, which is right whatever the record on the disk says.
    pub(super) fn leave_full_disk(&mut self, now: Now) {
        let (Some(since), Some(os)) = (self.unwritten_since, self.new_os()) else { return };
        let proven = self.record.deployment.as_ref().is_some_and(|d| d.phase == Phase::Proven);
        let Some(new) = os.new.filter(|_| self.is_on_trial() && self.runs == Runs::New && !proven) else { return };
        if since.after(self.unwritten_max()) > now.steady {
            return;
        }
        let old = os.old;
        self.unwritten_since = Some(now.steady);
        if self.local.locked {
            return;
        }
        self.queue.emit_first(Effect::Os { ticket: NOBODY, step: OsStep::GiveUp { old, new } });
        self.queue.emit_first(Effect::Reboot { ticket: NOBODY, force: true });
    }

    /// When that is due.
    pub(super) fn full_disk_wakeup(&self) -> Option<Timestamp> {
        self.unwritten_since
            .filter(|_| self.is_on_trial() && self.runs == Runs::New)
            .map(|since| since.after(self.unwritten_max()))
    }

    fn unwritten_max(&self) -> Duration {
        if self.was_given_up { GIVEN_UP_MAX } else { UNWRITTEN_MAX }
    }

    /// Notes how the operating system on trial is.
    pub(super) fn os_event(&mut self, event: AppEvent, now: Timestamp) {
        if self.new_os().is_some() && matches!(self.state, State::Switching | State::Proving) {
            self.watch.note_os(event, now);
        }
    }
}

/// What runs has no more tries.
fn is_given_up(view: &OsView) -> bool {
    view.counted.as_ref().is_some_and(|counted| counted.trial == Some(view.booted) && counted.tries_left == 0)
}

fn came_up_on(booted: Option<DeploymentId>) -> String {
    match booted {
        Some(booted) => {
            format!("the device came up on {booted}, which is neither the old nor the new operating system")
        }
        None => "the device came up on an operating system that OSTree did not deploy".into(),
    }
}
