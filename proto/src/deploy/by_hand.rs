//! The previous version of one app comes back because local root says so: a deployment without an action.
//!
//! It begins where everything is there already, with the checkout, and is journalled, watched and undone as any other.
//! No action ends with it, so its end is told in an inventory: what is in force then, and why. Until its switch is
//! journalled it is not owed to anybody, and a crash forgets it.

use super::os::NewOs;
use super::outbox::Cause;
use super::outbox::OUTBOX_MAX;
use super::record::{Deployment, Installed, NewPart, Wish};
use super::staging::millis;
use super::{Deploy, DeployError, Event, Now, PROBATION_MAX, State};
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;
use crate::{AppName, Digest, Timestamp};
use std::time::Duration;

/// The version to come back, as its signed commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// The app.
    pub name: AppName,
    /// The commit that was looked at: the app's previous one.
    pub commit: Digest,
    /// Its place in the order of releases; a foreign commit has none.
    pub release: Option<u64>,
    /// How long it is watched; the device's own setting when absent.
    pub probation: Option<Duration>,
    /// It has a health check.
    pub health: bool,
}

/// Why an app does not go back; everything stands as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoComeback {
    /// A deployment is under way, which may bring this app.
    #[error("action {action} is under way; see `fullmetal status`, and try again when it has ended")]
    UnderWay {
        /// Whose.
        action: u64,
    },
    /// Something that was done by hand is under way.
    #[error("a roll back by hand is under way; see `fullmetal status`, and try again when it has ended")]
    ByHand,
    /// Between two deployments things are put away.
    #[error("the last deployment is being put away; try again in a moment")]
    PuttingAway,
    /// The spool takes no reports.
    #[error("reports wait for the spool: see `fullmetal status` why it takes none (disk full?)")]
    SpoolStuck,
    /// There is no such app.
    #[error("no app {name} is installed here; see `fullmetal app list`")]
    Unknown {
        /// What was asked for.
        name: AppName,
    },
    /// There is no operating system to go back to.
    #[error("no operating system was deployed here before the one that runs: deploy one")]
    NoOs,
    /// There is only one version, or it is another than the caller looked at.
    #[error("there is no version of {name} before {current}: deploy one")]
    NoPrevious {
        /// The app.
        name: AppName,
        /// The version in force.
        current: String,
    },
    /// What is in force forbids it.
    #[error(
        "{name} {version} is release {release}, below {floor}, the lowest that may follow what was proven here: \
         publish it again with a higher release and deploy that"
    )]
    BelowFloor {
        /// The app.
        name: AppName,
        /// The version before.
        version: String,
        /// Its release.
        release: u64,
        /// The lowest that may be installed.
        floor: u64,
    },
    /// The journal has no room for it.
    #[error("{0}")]
    Journal(String),
}

impl Deploy {
    /// Whether it may begin now.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn may_come_back(&self, comeback: &Comeback) -> Result<(), NoComeback> {
        self.part(comeback).map(|_| ())
    }

    /// Begins it.
    pub(super) fn comes_back(&mut self, comeback: &Comeback, now: Now) -> Result<(), DeployError> {
        let part = self.part(comeback)?;
        self.by_hand(vec![part], None, comeback.probation.unwrap_or(self.policy.probation), now)
    }

    fn by_hand(
        &mut self,
        parts: Vec<NewPart>,
        os: Option<NewOs>,
        probation: Duration,
        now: Now,
    ) -> Result<(), DeployError> {
        let before = self.record.clone();
        let wish = Wish {
            action: 0,
            bundle: Digest::default(),
            mode: Mode::Now,
            valid_until: None,
            expires: Timestamp::MAX,
            seen: now.trusted,
        };
        let probation_ms = millis(probation.min(PROBATION_MAX));
        self.record.deployment = Some(Deployment { parts, os, probation_ms, by_hand: true, ..Deployment::of(wish) });
        if let Some(reason) = self.overflow() {
            self.record = before;
            return Err(NoComeback::Journal(reason).into());
        }
        (self.total, self.quarters) = (0, 0);
        self.queue.change();
        self.go(Event::ByHand)
    }

    /// The operating system that would come back: the one before, or the last one that was proven here when something else
    /// runs.
    ///
    /// # Errors
    /// Why none can, and what to do.
    pub fn os_to_come_back(&self) -> Result<&Installed, NoComeback> {
        self.may_begin_by_hand()?;
        let system = self.record.os.as_ref().ok_or(NoComeback::NoOs)?;
        let previous =
            if self.unknown_os().is_some() { Some(&system.app.current) } else { system.app.previous.as_ref() };
        let current = || system.app.current.version.clone();
        previous.ok_or_else(|| NoComeback::NoPrevious { name: system.name.clone(), current: current() })
    }

    /// Whether it may begin now; `release` is what its commit says.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn may_os_come_back(&self, release: Option<u64>) -> Result<(), NoComeback> {
        self.old_os(release).map(drop)
    }

    /// Begins it.
    pub(super) fn os_comes_back(&mut self, release: Option<u64>, now: Now) -> Result<(), DeployError> {
        let os = self.old_os(release)?;
        self.by_hand(Vec::new(), Some(os), self.policy.probation, now)
    }

    fn old_os(&self, release: Option<u64>) -> Result<NewOs, NoComeback> {
        let installed = self.os_to_come_back()?.clone();
        let (Some(system), Some(seen)) = (&self.record.os, &self.seen) else { return Err(NoComeback::NoOs) };
        let (name, floor) = (system.name.clone(), system.app.floor);
        if let Some(release) = release.filter(|release| *release < floor) {
            return Err(NoComeback::BelowFloor { name, version: installed.version, release, floor });
        }
        let part = NewPart { name, installed, floor: 0, health: true, notify: false, may_stay: false };
        Ok(NewOs { part, old: seen.booted, new: None, boot: None })
    }

    fn may_begin_by_hand(&self) -> Result<(), NoComeback> {
        match &self.record.deployment {
            Some(deployment) if deployment.by_hand => return Err(NoComeback::ByHand),
            Some(deployment) => return Err(NoComeback::UnderWay { action: deployment.wish.action }),
            None if self.state != State::Idle => return Err(NoComeback::PuttingAway),
            None => {}
        }
        if self.record.outbox.len() >= OUTBOX_MAX {
            return Err(NoComeback::SpoolStuck);
        }
        Ok(())
    }

    fn part(&self, comeback: &Comeback) -> Result<NewPart, NoComeback> {
        let Comeback { name, commit, release, health, .. } = comeback;
        self.may_begin_by_hand()?;
        let app = self.record.apps.get(name).ok_or_else(|| NoComeback::Unknown { name: name.clone() })?;
        let Some(previous) = app.previous.as_ref().filter(|p| p.commit == *commit) else {
            return Err(NoComeback::NoPrevious { name: name.clone(), current: app.current.version.clone() });
        };
        match release.filter(|release| *release < app.floor) {
            Some(release) => Err(NoComeback::BelowFloor {
                name: name.clone(),
                version: previous.version.clone(),
                release,
                floor: app.floor,
            }),
            None => Ok(NewPart {
                name: name.clone(),
                installed: previous.clone(),
                floor: 0,
                health: *health,
                notify: false,
                may_stay: false,
            }),
        }
    }

    /// Tells the end of what was done by hand, together with what is in force by then.
    pub(super) fn report_by_hand(&mut self, state: ReportState, cause: Cause, now: Now) {
        let deployment = self.record.deployment.as_ref();
        let part = deployment.and_then(|d| d.os.as_ref().map(|os| &os.part).or(d.parts.first()));
        let what = part.map(|p| format!("{} {}", p.name, p.installed.version)).unwrap_or_default();
        let reason = match state {
            ReportState::Succeeded => format!("rolled back by hand: {what} is in force again"),
            _ => format!("a roll back by hand to {what} failed: {}", cause.reason),
        };
        let cause = Cause { reason: Cause::new(&reason).reason, ..cause };
        self.post(None, ReportState::Inventory, cause, now);
    }
}
