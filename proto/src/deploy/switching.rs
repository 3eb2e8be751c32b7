//! From the journalled switch to its proof, or back.

use super::input::AppEvent;
use super::probation::Judgement;
use super::record::{Cause, Phase};
use super::staging::probation;
use super::{Deploy, DeployError, Event, Now, State};
use crate::wire::report::ReportState;
use crate::{AppName, Digest};

impl Deploy {
    /// Journals the switch if nothing holds it back; only then it is asked for.
    pub(super) fn begin(&mut self, now: Now) -> Result<(), DeployError> {
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        let wish = deployment.wish.clone();
        if self.hindrance(&wish, now).is_some() {
            return Ok(());
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

    /// Notes what one of the new apps does; anything else is not this deployment's business.
    pub(super) fn app(&mut self, name: &AppName, commit: Digest, event: AppEvent) {
        let watched = self.record.watched().any(|p| p.name == *name && p.installed.commit == commit);
        if watched && matches!(self.state, State::Switching | State::Proving) {
            self.watch.note(name, event);
        }
    }

    /// Keeps what is proven, rolls back what is not.
    pub(super) fn conclude(&mut self, now: Now) -> Result<(), DeployError> {
        match self.watch.judge(self.record.watched(), now.steady) {
            Judgement::Open | Judgement::Well => Ok(()),
            Judgement::Broken(cause) => self.roll_back(cause),
            Judgement::Settled => {
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
        let phase = self.record.deployment.as_mut().map(|d| &mut d.phase);
        let cause = match phase {
            Some(Phase::RollingBack { cause }) => cause.clone(),
            _ => Cause::default(),
        };
        self.end(Event::Reverted, ReportState::Failed, cause, now)
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(deployment) = &mut self.record.deployment {
            deployment.phase = phase;
            self.queue.change();
        }
    }
}
