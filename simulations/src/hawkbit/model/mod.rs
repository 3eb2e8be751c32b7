//! What a Hawkbit server knows and how it decides, without network, clock or thread: every call brings the time.
//!
//! The rules are those of Hawkbit 1.0.4, tenant `DEFAULT`, as recorded in `tests/hawkbit/recording-1.0.4.jsonl`.

mod action;
mod assign;
mod cancel;
mod catalog;
mod confirm;
mod feedback;
mod java;
mod query;
mod refusal;
mod rollout;
mod rollout_run;
mod settings;
mod target;
mod window;

pub use action::{Action, Entry, Kind, Status};
pub use assign::{Assigned, Wish};
pub use catalog::{Catalog, Meta, Module, ModuleId, ModuleType, NewModule, NewSet, NewSetType, Set, SetType};
pub use feedback::{Confirmation, Feedback};
pub use query::Query;
pub use refusal::{Refusal, Result};
pub use rollout::{Group, Rollout};
pub use rollout_run::Counts as RolloutCounts;
pub use settings::{Settings, clock};
pub use target::{AttributeMode, AutoConfirm, NewTarget, Target};
pub use window::{Window, Written as WrittenWindow, moved as moved_schedule};

use std::collections::BTreeMap;

/// Milliseconds since 1970.
pub type Millis = u64;

/// Statuses that one action may have; terminal ones are taken beyond it.
pub const STATUSES_MAX: usize = 1_000;
/// Messages that one status may have.
pub const MESSAGES_MAX: usize = 50;
/// What stands before every message that the server itself writes.
pub const SERVER: &str = "Update Server: ";

/// Who made and who last changed something, and when.
#[derive(Debug, Clone)]
pub struct Stamp {
    pub created_by: String,
    pub created_at: Millis,
    pub modified_by: String,
    pub modified_at: Millis,
}

impl Stamp {
    pub fn new(by: &str, now: Millis) -> Self {
        Stamp { created_by: by.into(), created_at: now, modified_by: by.into(), modified_at: now }
    }

    pub fn touch(&mut self, by: &str, now: Millis) {
        self.modified_by = by.into();
        self.modified_at = now;
    }
}

/// Ids that were given out last.
#[derive(Debug, Default, Clone)]
struct Ids {
    target: u64,
    action: u64,
    entry: u64,
    rollout: u64,
    group: u64,
}

fn next(counter: &mut u64) -> u64 {
    *counter += 1;
    *counter
}

/// The whole state of one server.
#[derive(Debug, Default, Clone)]
pub struct Hawkbit {
    pub settings: Settings,
    pub catalog: Catalog,
    targets: BTreeMap<String, Target>,
    actions: BTreeMap<u64, Action>,
    rollouts: BTreeMap<u64, Rollout>,
    ids: Ids,
}

impl Hawkbit {
    /// Does what a real server's scheduler does now and then: rollouts move on.
    pub fn tick(&mut self, now: Millis) {
        self.run_rollouts(now);
    }

    /// All targets, by id.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// One target.
    pub fn target(&self, id: &str) -> Result<&Target> {
        self.targets.get(id).ok_or_else(|| Refusal::no_such("Target", id))
    }

    fn target_mut(&mut self, id: &str) -> Result<&mut Target> {
        self.targets.get_mut(id).ok_or_else(|| Refusal::no_such("Target", id))
    }

    /// All actions, oldest first.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    /// One action of one target.
    pub fn action_of(&self, target: &str, id: u64) -> Result<&Action> {
        self.target(target)?;
        let action = self.action(id)?;
        if action.target == target { Ok(action) } else { Err(Refusal::not_of(id, target)) }
    }

    /// One action.
    pub fn action(&self, id: u64) -> Result<&Action> {
        self.actions.get(&id).ok_or_else(|| Refusal::no_such("Action", id))
    }

    /// The action that a device is to deal with first.
    pub fn active_action(&self, target: &str) -> Option<&Action> {
        self.actions.values().find(|a| a.active && a.target == target)
    }

    /// Changes an action; its revision, part of the links that devices get, rises when anything they see changed.
    fn change(&mut self, id: u64, f: impl FnOnce(&mut Action)) -> Result<()> {
        let action = self.actions.get_mut(&id).ok_or_else(|| Refusal::no_such("Action", id))?;
        let before = action.visible();
        f(action);
        if action.visible() != before {
            action.revision += 1;
        }
        Ok(())
    }

    /// Adds to the history of an action. No message counts as one that is null.
    fn note(&mut self, action: u64, status: Status, messages: Vec<String>, at: (Millis, Millis), code: Option<i64>) {
        let id = next(&mut self.ids.entry);
        let (timestamp, reported_at) = at;
        if let Some(action) = self.actions.get_mut(&action) {
            let messages = messages.iter().flat_map(|m| action::pieces(m)).collect();
            action.history.push(Entry { id, status, messages, reported_at, timestamp, code });
        }
    }

    /// Removes a target and everything that was asked of it.
    pub fn delete_target(&mut self, id: &str) -> Result<()> {
        self.target(id)?;
        self.targets.remove(id);
        self.actions.retain(|_, a| a.target != id);
        Ok(())
    }
}
