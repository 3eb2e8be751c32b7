//! How rollouts move on, group by group.

use super::{Hawkbit, Millis, Result, Rollout, SERVER, Status, Wish};
use std::collections::BTreeMap;

/// Whose name the scheduler's changes carry.
const SCHEDULER: &str = "system";

impl Hawkbit {
    /// One round of the scheduler over all rollouts.
    pub(super) fn run_rollouts(&mut self, now: Millis) {
        for id in self.rollouts.keys().copied().collect::<Vec<_>>() {
            // A target or set that is gone meanwhile stops its own action only.
            while let Ok(true) = self.run_rollout(id, now) {}
        }
    }

    /// One step of one rollout; true if another may follow at once.
    fn run_rollout(&mut self, id: u64, now: Millis) -> Result<bool> {
        let rollout = self.rollout(id)?;
        match rollout.status {
            "creating" => {
                self.mark(id, "ready", now);
                self.mark_groups(id, |status| (status == "creating").then_some("ready"), now);
                Ok(true)
            }
            "ready" if rollout.start_at.is_some_and(|at| at <= now) => {
                self.mark(id, "starting", now);
                Ok(true)
            }
            "starting" => {
                self.schedule(id, now)?;
                self.mark(id, "running", now);
                Ok(true)
            }
            "running" => self.run_groups(id, now),
            _ => Ok(false),
        }
    }

    fn mark(&mut self, id: u64, status: &'static str, now: Millis) {
        if let Some(rollout) = self.rollouts.get_mut(&id) {
            rollout.status = status;
            rollout.stamp.touch(SCHEDULER, now);
        }
    }

    fn mark_groups(&mut self, id: u64, f: impl Fn(&str) -> Option<&'static str>, now: Millis) {
        for group in self.rollouts.get_mut(&id).into_iter().flat_map(|r| &mut r.groups) {
            if let Some(status) = f(group.status) {
                group.status = status;
                group.stamp.touch(SCHEDULER, now);
            }
        }
    }

    fn mark_group(&mut self, id: u64, at: usize, status: &'static str, now: Millis) {
        if let Some(group) = self.rollouts.get_mut(&id).and_then(|r| r.groups.get_mut(at)) {
            group.status = status;
            group.stamp.touch(SCHEDULER, now);
        }
    }

    /// Every target gets an action that waits for its group.
    fn schedule(&mut self, id: u64, now: Millis) -> Result<()> {
        let rollout = self.rollout(id)?;
        let (set, by) = (rollout.set, rollout.stamp.created_by.clone());
        let wishes: Vec<Wish> = rollout.groups.iter().flat_map(|g| g.targets.iter()).map(|t| rollout.wish(t)).collect();
        for wish in wishes {
            let action = self.new_action(&wish, set, Status::Scheduled, &by, now);
            self.change(action, |a| a.rollout = Some(id))?;
        }
        self.mark_groups(id, |status| (status == "ready").then_some("scheduled"), now);
        Ok(())
    }

    fn run_groups(&mut self, id: u64, now: Millis) -> Result<bool> {
        let rollout = self.rollout(id)?;
        if let Some(at) = rollout.groups.iter().position(|g| g.status == "running") {
            return self.judge_group(id, at, now);
        }
        match rollout.groups.iter().position(|g| g.status == "scheduled") {
            Some(at) => {
                self.start_group(id, at, now)?;
                Ok(true)
            }
            None => {
                let over = rollout.groups.iter().all(|g| self.group_counts(rollout, g).all_ended());
                if over {
                    self.mark(id, "finished", now);
                }
                Ok(false)
            }
        }
    }

    /// Looks how the running group does: pause, go on, or wait.
    fn judge_group(&mut self, id: u64, at: usize, now: Millis) -> Result<bool> {
        let rollout = self.rollout(id)?;
        let group = &rollout.groups[at];
        let counts = self.group_counts(rollout, group);
        let reached = |count: usize, percent: u8| count * 100 >= usize::from(percent) * counts.total();
        if counts.error > 0 && group.error.is_some_and(|percent| reached(counts.error, percent)) {
            self.mark_group(id, at, "error", now);
            self.mark(id, "paused", now);
            return Ok(false);
        }
        let success = group.success;
        if counts.all_ended() {
            self.mark_group(id, at, "finished", now);
            return Ok(true);
        }
        let following = rollout.groups.iter().position(|g| g.status == "scheduled");
        if let Some(following) = following.filter(|_| reached(counts.finished, success)) {
            self.start_group(id, following, now)?;
        }
        Ok(false)
    }

    /// Begins the next group though the one before has not done well enough yet.
    pub fn trigger_next_group(&mut self, id: u64, now: Millis) -> Result<()> {
        let rollout = self.rollout(id)?;
        let following = rollout.groups.iter().position(|g| g.status == "scheduled");
        match following.filter(|_| rollout.status == "running") {
            Some(at) => self.start_group(id, at, now),
            None => Err(super::Refusal::rollout_state("Rollout has no group that can be started")),
        }
    }

    fn start_group(&mut self, id: u64, at: usize, now: Millis) -> Result<()> {
        let rollout = self.rollout(id)?;
        let (set, confirm, by) = (rollout.set, rollout.confirm, rollout.stamp.created_by.clone());
        let members = rollout.groups[at].targets.clone();
        self.mark_group(id, at, "running", now);
        let waiting = self
            .actions
            .values()
            .filter(|a| a.rollout == Some(id) && a.status == Status::Scheduled && members.contains(&a.target));
        for (action, target) in waiting.map(|a| (a.id, a.target.clone())).collect::<Vec<_>>() {
            if self.target(&target)?.assigned == Some(set) {
                let words = "Distribution Set is already assigned. Skipping this action.";
                self.note(action, Status::Finished, vec![format!("{SERVER}{words}")], (now, now), None);
                self.change(action, |a| a.status = Status::Finished)?;
                continue;
            }
            self.give_way(&target, &by, now)?;
            let (status, more) = self.first_status(&target, confirm)?;
            let mut messages = vec![format!("Assignment initiated by user '{by}'")];
            messages.extend(more);
            self.note(action, status, messages, (now, now), None);
            self.change(action, |a| {
                a.status = status;
                a.active = true;
            })?;
            self.mark_assigned(&target, set)?;
        }
        Ok(())
    }

    /// How the targets of a rollout, or of one group of it, do.
    pub fn rollout_counts(&self, rollout: &Rollout) -> Counts {
        let mut counts = Counts::default();
        for group in &rollout.groups {
            counts.add(&self.group_counts(rollout, group));
        }
        counts
    }

    /// How the targets of one group do.
    pub fn group_counts(&self, rollout: &Rollout, group: &super::Group) -> Counts {
        let actions = self.actions.values().filter(|a| a.rollout == Some(rollout.id));
        let actions: BTreeMap<&str, &super::Action> = actions.map(|a| (a.target.as_str(), a)).collect();
        let mut counts = Counts::default();
        for target in &group.targets {
            let count = match actions.get(target.as_str()).map(|a| (a.status, a.active)) {
                // The target was deleted; nobody waits for it.
                None if rollout.has_begun() => &mut counts.cancelled,
                None => &mut counts.not_started,
                Some((Status::Scheduled, _)) => &mut counts.scheduled,
                Some((Status::Error, _)) => &mut counts.error,
                Some((Status::Canceled, false)) => &mut counts.cancelled,
                Some((_, false)) => &mut counts.finished,
                Some((_, true)) => &mut counts.running,
            };
            *count += 1;
        }
        counts
    }
}

impl Rollout {
    fn has_begun(&self) -> bool {
        matches!(self.status, "running" | "paused" | "finished")
    }

    fn wish(&self, target: &str) -> Wish {
        Wish { target: target.into(), kind: self.kind, window: None, confirm: self.confirm }
    }
}

/// Targets by how far they are.
#[derive(Debug, Default)]
pub struct Counts {
    pub not_started: usize,
    pub scheduled: usize,
    pub running: usize,
    pub finished: usize,
    pub error: usize,
    pub cancelled: usize,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.not_started += other.not_started;
        self.scheduled += other.scheduled;
        self.running += other.running;
        self.finished += other.finished;
        self.error += other.error;
        self.cancelled += other.cancelled;
    }

    /// All targets.
    pub fn total(&self) -> usize {
        self.not_started + self.scheduled + self.running + self.finished + self.error + self.cancelled
    }

    fn all_ended(&self) -> bool {
        self.finished + self.error + self.cancelled == self.total()
    }
}
