//! Faults that tests inject, and the record of what was asked, apart from what the server serves.

use super::model::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests that are remembered; older ones are forgotten.
const SEEN_MAX: usize = 100_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// This status instead of an answer.
    Status(u16),
    /// No answer, ever.
    Hang,
    /// The connection is reset before anything was done.
    Reset,
    /// The request takes effect, then the connection is reset.
    LoseAnswer,
    /// A 200 whose body is no JSON, nor even text.
    Garbage,
    /// A 200 whose body is JSON of more than a megabyte.
    Megabyte,
    /// The answer that another device with something to do would get.
    OtherAction,
    /// The answer comes this many milliseconds late.
    Late(u64),
}

/// When it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only for requests of this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only for requests whose path contains this.
    #[serde(default)]
    pub path: String,
    /// Only that many times, then never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Rule {
    /// A fault for every request whose path contains `path`.
    pub fn new(fault: Fault, path: &str) -> Self {
        Rule { fault, method: None, path: path.into(), times: None }
    }

    /// Only that many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only for this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.into());
        self
    }
}

/// A request that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Milliseconds since 1970, by the server's clock.
    pub at: Millis,
    /// `GET` and so on.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The status that went back; none when nothing did.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<Rule>,
    seen: VecDeque<Seen>,
    terminal: BTreeMap<u64, u32>,
}

/// Faults to come, and what was asked so far.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

impl Faults {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this goes wrong. The first rule that fits a request decides.
    pub fn add(&self, rule: Rule) {
        self.inner().rules.push(rule);
    }

    /// From now on nothing goes wrong; requests that hang go on hanging.
    pub fn clear(&self) {
        self.inner().rules.clear();
    }

    /// Rules that still wait for requests.
    pub fn rules(&self) -> Vec<Rule> {
        self.inner().rules.clone()
    }

    /// Requests so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.inner().seen.iter().cloned().collect()
    }

    /// How many feedbacks that end this action were accepted.
    pub fn terminal_feedbacks(&self, action: u64) -> u32 {
        self.inner().terminal.get(&action).copied().unwrap_or(0)
    }

    /// The same for all actions that have any.
    pub fn all_terminal_feedbacks(&self) -> BTreeMap<u64, u32> {
        self.inner().terminal.clone()
    }

    /// The fault that a request meets.
    pub(super) fn meets(&self, method: &str, path: &str) -> Option<Fault> {
        let rules = &mut self.inner().rules;
        let fits = |r: &Rule| r.method.as_deref().is_none_or(|m| m == method) && path.contains(&r.path);
        let at = rules.iter().position(fits)?;
        let fault = rules[at].fault;
        if let Some(times) = &mut rules[at].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(at);
            }
        }
        Some(fault)
    }

    pub(super) fn saw(&self, seen: Seen) {
        let mut inner = self.inner();
        if inner.seen.len() >= SEEN_MAX {
            inner.seen.pop_front();
        }
        inner.seen.push_back(seen);
    }

    pub(super) fn ended(&self, action: u64) {
        *self.inner().terminal.entry(action).or_default() += 1;
    }
}
