//! From the journalled switch to its proof, or back.

use super::input::AppEvent;
use super::outbox::Cause;
use super::probation::Judgement;
use super::record::{App, Phase};
use super::staging::probation;
use super::trial::Runs;
use super::{Deploy, DeployError, Event, Move, Now, REVERT_TRIES_MAX, State};
use crate::wire::report::ReportState;
use crate::{AppName, Digest};

impl Deploy {
    /// The app whose probation waits since it cannot be asked how it is, and why.
    pub fn unasked(&self) -> Option<(&AppName, &str)> {
        let mut watched = self.record.watched().filter(|_| self.state == State::Proving);
        watched.find_map(|part| Some((&part.name, self.watch.unasked(&part.name)?)))
    }

    /// Journals the switch if nothing holds it back; only then it is asked for.
    pub(super) fn begin(&mut self, now: Now) -> Result<(), DeployError> {
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        let (wish, by_hand) = (deployment.wish.clone(), deployment.by_hand);
        if !by_hand && self.hindrance(&wish, now).is_some() {
            return Ok(());
        }
        if self.new_os().is_some() {
            return self.begin_trial(now);
        }
        self.set_phase(Phase::Switching { restarts: 0 });
        self.milestone(ReportState::Switching, now);
        self.go(Event::Begun)
    }

    /// The new versions are in place: the probation counts from now.
    pub(super) fn switched(&mut self, now: Now) -> Result<(), DeployError> {
        self.go(Event::Switched)?;
        let phase = self.record.deployment.as_ref().map(|d| &d.phase);
        if matches!(phase, Some(Phase::Switching { .. })) {
            self.set_phase(Phase::Proving { restarts: 0 });
        }
        self.watch.begin(now.steady, probation(&self.record));
        self.milestone(ReportState::Proving, now);
        Ok(())
    }

    /// Notes what one of the new apps does, or that a lost one is back; anything else is nobody's business.
    pub(super) fn app(&mut self, name: &AppName, commit: Digest, event: AppEvent, now: Now) {
        if !self.state.is_after_switch() && event == AppEvent::Running {
            self.is_back(name, commit, now);
        }
        let watched = self.record.watched().any(|p| p.name == *name && p.installed.commit == commit);
        if watched && matches!(self.state, State::Switching | State::Proving) {
            self.watch.note(name, event, now.steady);
        }
    }

    fn is_back(&mut self, name: &AppName, commit: Digest, now: Now) {
        let lost = |app: &&mut App| app.lost && app.current.commit == commit;
        let Some(app) = self.record.apps.get_mut(name).filter(lost) else { return };
        app.lost = false;
        self.queue.change();
        self.inventory(now);
    }

    /// Keeps what is proven, rolls back what is not.
    pub(super) fn conclude(&mut self, now: Now) -> Result<(), DeployError> {
        let os = self.new_os().map(|os| &os.part);
        match self.watch.judge(self.record.watched(), os, now.steady) {
            Judgement::Open | Judgement::Well => {
                self.watch.wait_on(now.steady);
                Ok(())
            }
            Judgement::Broken(cause) => self.roll_back(cause),
            Judgement::Settled => {
                let leaves = self.record.moves().into_iter().filter(|m| m.new.is_none());
                self.left = leaves.filter_map(|m| Some(m.old?.commit)).collect();
                if self.new_os().is_some() {
                    self.set_phase(Phase::Proven);
                    return self.go(Event::TrialProven);
                }
                self.record.keep();
                self.end(Event::Proven, ReportState::Succeeded, Cause::default(), now)
            }
        }
    }

    /// Journals that the old versions come back, and why.
    pub(super) fn roll_back(&mut self, cause: Cause) -> Result<(), DeployError> {
        self.state.on(Event::Broken)?;
        self.set_phase(Phase::RollingBack { cause });
        self.go(Event::Broken)
    }

    /// The old versions are in place.
    pub(super) fn reverted(&mut self, now: Now) -> Result<(), DeployError> {
        self.note_lost(&[]);
        self.apps_are_back(Event::Reverted, now, self.cause())
    }

    /// Some old versions are not in place: again later, but not for ever. Then they count as lost until the next
    /// deployment puts something in their place, and the device goes on with what it has.
    pub(super) fn not_reverted(&mut self, apps: Vec<AppName>, reason: &str, now: Now) -> Result<(), DeployError> {
        self.state.on(Event::GivenUp)?;
        let failures = self.try_again_later(now);
        if failures == 1 {
            self.remark(ReportState::Proving, &format!("rolling back, does not succeed yet: {reason}"), now);
        }
        if failures < REVERT_TRIES_MAX {
            return Ok(());
        }
        let cause = self.cause();
        if self.runs == Runs::New && self.new_os().is_some() {
            // On the operating system before they may come back.
            return self.apps_are_back(Event::GivenUp, now, cause);
        }
        self.note_lost(&apps);
        let why = Cause::new(&format!("{}; and was not rolled back, tried {failures} times: {reason}", cause.reason));
        self.apps_are_back(Event::GivenUp, now, Cause { reason: why.reason, ..cause })
    }

    /// Of all that the roll back under way touched, only `apps` are not in place.
    fn note_lost(&mut self, apps: &[AppName]) {
        for Move { name, .. } in self.record.moves() {
            if let Some(app) = self.record.apps.get_mut(&name) {
                app.lost = apps.contains(&name);
            }
        }
    }

    /// Why the roll back under way began.
    pub(super) fn cause(&self) -> Cause {
        match self.record.deployment.as_ref().map(|d| &d.phase) {
            Some(Phase::RollingBack { cause }) => cause.clone(),
            _ => Cause::default(),
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(deployment) = &mut self.record.deployment {
            deployment.phase = phase;
            self.queue.change();
        }
    }
}
