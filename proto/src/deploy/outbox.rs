//! Reports: each gets its counter in the record before it is given out.

use super::record::Wish;
use super::staging::millis;
use super::{Deploy, DeployError, Effect, Event, Now, State};
use crate::wire::report::{ExitStatus, LOG_LINE_LEN_MAX, LOG_LINES_MAX, REASON_LEN_MAX, ReportState};
use crate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// Reports without an end are left out while so many wait for the spool.
pub(super) const OUTBOX_MAX: usize = 6;
/// New announcements wait while so many terminal reports wait for the spool.
pub(super) const UNSPOOLED_ENDS_MAX: usize = 8;
/// How many ended actions are remembered.
const ENDED_MAX: usize = 16;
/// The longest log of a report in bytes, so that the record stays within its limit.
const LOG_LEN_MAX: usize = 3 << 10;
/// The longest reason of a report that is not the last of its action.
const REMARK_LEN_MAX: usize = 200;

/// Why something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// In one line, for the operator.
    pub reason: String,
    /// How the app's main process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// Its last lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// A report with its counter: given out again until the spool has it, always with the same content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Never used for another report of this device.
    #[serde(rename = "n")]
    pub counter: u64,
    /// The action; 0 with [`ReportState::Inventory`].
    #[serde(rename = "a")]
    pub action: u64,
    /// The bundle; absent with [`ReportState::Inventory`].
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// How far it is.
    #[serde(rename = "s")]
    pub state: ReportState,
    /// Why; an empty one says nothing.
    #[serde(rename = "c")]
    pub cause: Cause,
    /// Piece bytes from neighbours for this action.
    #[serde(rename = "p", default)]
    pub bytes_from_peers: u64,
    /// Piece bytes from central for this action.
    #[serde(rename = "o", default)]
    pub bytes_from_central: u64,
    /// Piece bytes that the fetch under way takes in all; 0: not said.
    #[serde(rename = "w", default, skip_serializing_if = "is_zero")]
    pub bytes_total: u64,
    /// Milliseconds since the action was first seen.
    #[serde(rename = "e", default)]
    pub elapsed_ms: u64,
    /// When it was made, by the trusted clock.
    #[serde(rename = "t")]
    pub at: Timestamp,
}

/// An action that has its terminal report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The action.
    #[serde(rename = "a")]
    pub action: u64,
    /// How it ended.
    #[serde(rename = "s")]
    pub state: ReportState,
}

impl Deploy {
    /// Reports a milestone of the deployment under way, once.
    pub(super) fn milestone(&mut self, state: ReportState, now: Now) {
        self.milestone_with(state, "", now);
    }

    /// The same with what is to be said of it.
    pub(super) fn milestone_with(&mut self, state: ReportState, remark: &str, now: Now) {
        let Some(deployment) = &mut self.record.deployment else { return };
        if deployment.reported.is_none_or(|reported| reported < state) {
            deployment.reported = Some(state);
            self.remark(state, remark, now);
        }
    }

    /// Reports something that is not the end; left out when the spool is behind.
    pub(super) fn remark(&mut self, state: ReportState, reason: &str, now: Now) {
        if self.record.outbox.len() >= OUTBOX_MAX {
            return;
        }
        let Some(deployment) = self.record.deployment.as_ref().filter(|d| !d.by_hand) else { return };
        let wish = deployment.wish.clone();
        let cause = Cause { reason: cut(reason, REMARK_LEN_MAX), ..Cause::default() };
        self.post(Some(&wish), state, cause, now);
    }

    /// Reports what is in force, about no action.
    pub(super) fn inventory(&mut self, now: Now) {
        let waits = self.record.outbox.iter().any(|o| o.state == ReportState::Inventory);
        if !waits && self.record.outbox.len() < OUTBOX_MAX {
            self.post(None, ReportState::Inventory, Cause::default(), now);
        }
    }

    /// Reports the end of an action and remembers that it has one. Does not touch the deployment.
    pub(super) fn report_end(&mut self, wish: &Wish, state: ReportState, cause: Cause, now: Now) {
        self.post(Some(wish), state, cause, now);
        let ended = &mut self.record.ended;
        ended.push(Ended { action: wish.action, state });
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        ended.drain(..surplus);
    }

    /// Gives out again what may not have reached the spool before a crash.
    pub(super) fn give_out_again(&mut self) {
        let parts = self.record.parts();
        for report in &self.record.outbox {
            self.queue.emit(Effect::Report { report: Box::new(report.clone()), parts: parts.clone() });
        }
    }

    /// A report is safe.
    pub(super) fn spooled(&mut self, counter: u64, now: Now) -> Result<(), DeployError> {
        let Some(index) = self.record.outbox.iter().position(|o| o.counter == counter) else { return Ok(()) };
        let report = self.record.outbox.remove(index);
        self.unwritten = false;
        if report.state.is_terminal() {
            self.queue.change();
        }
        if self.record.has_unspooled_end() {
            return Ok(());
        }
        if self.state == State::Reporting {
            self.go(Event::Spooled)?;
        }
        match self.deferred.take() {
            Some(announced) => self.announced(announced, now),
            None => Ok(()),
        }
    }

    pub(super) fn post(&mut self, wish: Option<&Wish>, state: ReportState, cause: Cause, now: Now) {
        let own = |w: &Wish| self.record.deployment.as_ref().filter(|d| d.wish.action == w.action);
        let deployment = wish.and_then(own);
        let seen = wish.map_or(now.trusted, |w| w.seen);
        let report = Outgoing {
            counter: self.record.next_counter,
            action: wish.map_or(0, |w| w.action),
            bundle: wish.map(|w| w.bundle),
            state,
            cause,
            bytes_from_peers: deployment.map_or(0, |d| d.bytes_from_peers),
            bytes_from_central: deployment.map_or(0, |d| d.bytes_from_central),
            bytes_total: if state == ReportState::Fetching { self.total } else { 0 },
            elapsed_ms: millis(now.trusted.since(seen)),
            at: now.trusted,
        };
        self.record.next_counter += 1;
        self.record.outbox.push(report.clone());
        self.queue.change();
        self.queue.emit(Effect::Report { report: Box::new(report), parts: self.record.parts() });
    }
}

impl Cause {
    /// A reason alone, cut to what a report may hold.
    pub(super) fn new(reason: &str) -> Self {
        Cause { reason: cut(reason, REASON_LEN_MAX), ..Cause::default() }
    }

    /// Keeps the last lines of `log`, as many as a report and the record may hold.
    pub(super) fn with_log(mut self, log: &[String]) -> Self {
        let mut room = LOG_LEN_MAX;
        let mut lines = Vec::new();
        for line in log.iter().rev().take(LOG_LINES_MAX) {
            let line = cut(line, LOG_LINE_LEN_MAX);
            match room.checked_sub(line.len() + 3) {
                Some(left) => room = left,
                None => break,
            }
            lines.push(line);
        }
        lines.reverse();
        self.log = lines;
        self
    }
}

/// The longest beginning of `text` that has at most `max` bytes and whole characters.
pub(super) fn cut(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|i| text.is_char_boundary(*i));
    text[..end.unwrap_or(0)].to_owned()
}

/// serde hands over a reference.
fn is_zero(n: &u64) -> bool {
    *n == 0
}
