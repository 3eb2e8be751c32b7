//! Assigning a distribution set to targets.

use super::action::{Action, Kind, Status};
use super::{Hawkbit, Millis, Refusal, Result, SERVER, Stamp, Window, next};

/// One target of an assignment and how it is to be treated.
#[derive(Debug, Clone)]
pub struct Wish {
    pub target: String,
    pub kind: Kind,
    pub window: Option<Window>,
    /// Whether somebody has to agree, where the tenant asks for that at all.
    pub confirm: bool,
}

/// What came of an assignment.
#[derive(Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Targets that had the set already.
    pub already: usize,
    /// The new actions.
    pub actions: Vec<u64>,
}

impl Hawkbit {
    /// Assigns a set; targets that nobody knows are passed over.
    pub fn assign(&mut self, set: u64, wishes: Vec<Wish>, by: &str, now: Millis) -> Result<Assigned> {
        self.check_assignable(set)?;
        for window in wishes.iter().filter_map(|w| w.window.as_ref()) {
            if window.is_over(now) {
                return Err(Refusal::schedule("The given maintenance schedule has no window any more"));
            }
        }
        let mut assigned = Assigned { already: 0, actions: vec![] };
        for wish in wishes {
            match self.targets.get(&wish.target) {
                None => continue,
                Some(target) if target.assigned == Some(set) => assigned.already += 1,
                Some(_) => {
                    self.give_way(&wish.target, by, now)?;
                    assigned.actions.push(self.start_action(wish, set, by, now)?);
                }
            }
        }
        if !assigned.actions.is_empty() {
            self.catalog.lock(set, by, now);
        }
        Ok(assigned)
    }

    /// Refuses a set that is deleted or lacks modules.
    pub(super) fn check_assignable(&self, set: u64) -> Result<()> {
        let there = self.catalog.set(set)?;
        if there.deleted {
            return Err(Refusal::no_such("DistributionSet", set));
        }
        if self.catalog.is_complete(there) { Ok(()) } else { Err(Refusal::incomplete(&there.kind, set)) }
    }

    /// Older actions of the target end, or are asked to.
    pub(super) fn give_way(&mut self, target: &str, by: &str, now: Millis) -> Result<()> {
        let closes = self.settings.closes_obsolete();
        let older = self.actions.values().filter(|a| a.active && a.target == target && a.status != Status::Canceling);
        for id in older.map(|a| a.id).collect::<Vec<_>>() {
            let (status, words) = if closes {
                (Status::Canceled, "close obsolete action due to new update")
            } else {
                (Status::Canceling, "cancel obsolete action due to new update")
            };
            self.change(id, |a| {
                a.status = status;
                a.active = !closes;
                a.stamp.touch(by, now);
            })?;
            self.note(id, status, vec![format!("{SERVER}{words}")], (now, now), None);
        }
        Ok(())
    }

    /// A new action without a history.
    pub(super) fn new_action(&mut self, wish: &Wish, set: u64, status: Status, by: &str, now: Millis) -> u64 {
        let id = next(&mut self.ids.action);
        let action = Action {
            id,
            revision: 1,
            target: wish.target.clone(),
            set,
            kind: wish.kind,
            window: wish.window.clone(),
            active: status != Status::Scheduled && status != Status::Finished,
            status,
            last_code: None,
            stamp: Stamp::new(by, now),
            history: vec![],
            rollout: None,
        };
        self.actions.insert(id, action);
        id
    }

    fn start_action(&mut self, wish: Wish, set: u64, by: &str, now: Millis) -> Result<u64> {
        let (status, more) = self.first_status(&wish.target, wish.confirm)?;
        let id = self.new_action(&wish, set, status, by, now);
        let mut messages = vec![format!("Assignment initiated by user '{by}'")];
        messages.extend(more);
        self.note(id, status, messages, (now, now), None);
        self.mark_assigned(&wish.target, set)?;
        Ok(id)
    }

    /// How an action for the target begins, and what its history says about that.
    pub(super) fn first_status(&self, target: &str, confirm: bool) -> Result<(Status, Option<String>)> {
        if !(confirm && self.settings.confirmation()) {
            return Ok((Status::Running, None));
        }
        Ok(match &self.target(target)?.auto_confirm {
            Some(consent) => (Status::Running, Some(consent.sentence())),
            None => {
                let words = "Waiting for the confirmation by the device before processing with the deployment";
                (Status::WaitForConfirmation, Some(words.into()))
            }
        })
    }

    pub(super) fn mark_assigned(&mut self, target: &str, set: u64) -> Result<()> {
        let target = self.target_mut(target)?;
        target.assigned = Some(set);
        target.update_status = "pending";
        Ok(())
    }

    /// A device, or somebody for it, reports a set that it got on another way. True if that is news.
    pub fn assign_offline(&mut self, target: &str, set: u64, by: &str, now: Millis) -> Result<bool> {
        if self.target(target)?.assigned == Some(set) {
            return Ok(false);
        }
        self.give_way(target, by, now)?;
        let wish = Wish { target: target.into(), kind: Kind::Forced, window: None, confirm: false };
        let id = self.new_action(&wish, set, Status::Finished, by, now);
        let words = format!("Action finished due to offline assignment by '{by}'");
        self.note(id, Status::Finished, vec![words], (now, now), None);
        self.catalog.lock(set, by, now);
        let target = self.target_mut(target)?;
        target.assigned = Some(set);
        target.installed = Some(set);
        target.installed_at = Some(now);
        target.update_status = "in_sync";
        Ok(true)
    }

    /// The action that brought what a device has now.
    pub fn installed_action(&self, target: &str) -> Option<&Action> {
        let set = self.targets.get(target)?.installed?;
        let brought = |a: &&Action| a.target == target && a.set == set && a.status == Status::Finished && !a.active;
        self.actions.values().rev().find(brought)
    }

    /// Turns a soft action into a forced one.
    pub fn force(&mut self, target: &str, action: u64, by: &str, now: Millis) -> Result<()> {
        if !self.action_of(target, action)?.active {
            return Ok(());
        }
        self.change(action, |a| {
            if matches!(a.kind, Kind::Soft | Kind::TimeForced(_)) {
                a.kind = Kind::Forced;
                a.stamp.touch(by, now);
            }
        })
    }
}
