//! What is known of one device between two requests.

use super::io::{Effect, Open, Order, Reply};
use crate::dispatch;
use crate::wire::Report;
use crate::{DeviceId, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How soon after the end of an action the server is asked for the next.
const AFTER_END: Duration = Duration::from_secs(1);
/// How long all waits when it is not sure that the server said what was heard.
const DOUBT_WAIT: Duration = Duration::from_secs(10);
/// How long a final word waits that the server has no room for.
const QUOTA_WAIT: Duration = Duration::from_secs(600);

/// What is under way.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A question.
    Question,
    /// The word of the first report.
    Report {
        /// No later word about its action follows.
        last: bool,
        /// It answers a cancel.
        cancel: bool,
    },
    /// The word that an action cannot be done.
    Refusal(u64),
    /// The reason why an action waits.
    Waiting(u64, String),
    /// The answer to a cancel.
    Cancel,
    /// The answer to the confirmation of this action.
    Confirmation(u64),
    /// Attributes.
    Attributes(BTreeMap<String, String>),
}

/// A deployment as it was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) action: u64,
    pub(super) order: Result<Box<Order>, String>,
    /// For how long an open window is believed.
    pub(super) valid_for: Option<Duration>,
}

impl Reading {
    /// Nothing is to be announced yet.
    pub(super) fn is_on_hold(&self) -> bool {
        self.order.as_ref().is_ok_and(|o| o.hold.is_some())
    }
}

#[derive(Debug)]
pub(super) struct Device {
    pub(super) heard: Option<Timestamp>,
    pub(super) poll_at: Timestamp,
    /// Something could not be asked or told; nothing is before this.
    pub(super) wait_until: Option<Timestamp>,
    pub(super) asked: Option<Asked>,
    /// Under which time it stands in the list of those that have something to do by themselves.
    pub(super) wakeup: Option<Timestamp>,
    /// At the last poll; `None` before the first.
    pub(super) open: Option<Open>,
    /// The server's mark of what an open deployment says.
    pub(super) revision: Option<i64>,
    /// The server was polled since the first report of the queue came.
    pub(super) fresh: bool,
    /// The open deployment has to be read.
    pub(super) stale: bool,
    /// The deployment that was read last.
    pub(super) read: Option<Reading>,
    /// The cancel and what it stops.
    pub(super) cancel: Option<(u64, u64)>,
    /// The local operator's word on an action.
    pub(super) confirm: Option<(u64, bool)>,
    /// Action whose confirmation or denial the server has.
    pub(super) confirmed: Option<u64>,
    /// Action that is being withdrawn.
    pub(super) withdrawing: Option<u64>,
    /// Action and reason of waiting that the server was told last.
    pub(super) told: Option<(u64, String)>,
    /// Action that the server was told cannot be done.
    pub(super) refused: Option<u64>,
    /// Durable reports that the server does not have yet, by counter.
    pub(super) reports: VecDeque<Report>,
    /// Action of the last words, and how many they were.
    pub(super) words: (u64, u32),
    /// The first report's word may be one that nobody waits for: see [`Reply::Unknown`].
    pub(super) doubted: bool,
    pub(super) wants_attributes: bool,
    /// As the server has them.
    pub(super) attributes: BTreeMap<String, String>,
}

impl Device {
    pub(super) fn new(now: Timestamp) -> Self {
        Device {
            heard: None,
            poll_at: now,
            wait_until: None,
            asked: None,
            wakeup: None,
            open: None,
            revision: None,
            fresh: false,
            stale: false,
            read: None,
            cancel: None,
            confirm: None,
            confirmed: None,
            withdrawing: None,
            told: None,
            refused: None,
            reports: VecDeque::new(),
            words: (0, 0),
            doubted: false,
            wants_attributes: false,
            attributes: BTreeMap::new(),
        }
    }

    /// What was read of this action, unless it has to be read again.
    pub(super) fn reading(&self, action: u64) -> Option<&Reading> {
        self.read.as_ref().filter(|r| r.action == action && !self.stale)
    }

    /// When it may have something to do that no input brings. Whatever can be done at `now` has been.
    pub(super) fn next_wakeup(&self, heard_within: Duration, now: Timestamp) -> Option<Timestamp> {
        if self.asked.is_some() {
            return None;
        }
        let is_heard = |at: &Timestamp| self.poll_at.max(now) <= at.after(heard_within);
        self.wait_until.or_else(|| self.heard.filter(is_heard).map(|_| self.poll_at))
    }

    /// Nothing counts as told, or as not there, before another poll.
    pub(super) fn doubt(&mut self, asked: &Asked, now: Timestamp) {
        self.look_again(now);
        self.fresh = false;
        self.doubted |= matches!(asked, Asked::Report { .. });
        self.wait_until = Some(now.after(DOUBT_WAIT));
    }

    /// Whether the server still has this action open for the device, or may have.
    pub(super) fn may_be_open(&self, action: u64) -> bool {
        match self.open {
            Some(Open::Deployment(open) | Open::Confirmation(open)) => open == action,
            // It hides the deployment that it stops.
            Some(Open::Cancel(_)) => true,
            Some(Open::Nothing) | None => false,
        }
    }

    /// What follows from an answer that is not "later".
    pub(super) fn done(&mut self, asked: Asked, reply: Reply, id: &DeviceId, now: Timestamp) -> Option<Effect> {
        match asked {
            // What was asked for is not there any more: the next poll tells what is.
            Asked::Question => self.look_again(now),
            Asked::Report { last, cancel } => return self.told_report(last, cancel, reply, id, now),
            Asked::Refusal(action) => {
                self.refused = Some(action);
                self.poll_at = now.after(AFTER_END);
            }
            Asked::Waiting(action, reason) => self.told = Some((action, reason)),
            Asked::Cancel => self.look_again(now),
            Asked::Confirmation(action) => {
                self.confirmed = Some(action);
                self.look_again(now);
            }
            Asked::Attributes(attributes) => {
                self.wants_attributes = false;
                self.attributes = attributes;
            }
        }
        None
    }

    /// Something at the server has changed.
    fn look_again(&mut self, now: Timestamp) {
        self.open = None;
        self.cancel = None;
        self.poll_at = now.after(AFTER_END);
    }

    fn told_report(&mut self, last: bool, cancel: bool, reply: Reply, id: &DeviceId, now: Timestamp) -> Option<Effect> {
        if last && reply == Reply::Quota {
            self.wait_until = Some(now.after(QUOTA_WAIT));
            return None;
        }
        if cancel {
            self.look_again(now);
        }
        if last {
            self.poll_at = self.poll_at.min(now.after(AFTER_END));
        }
        self.doubted = false;
        let counter = self.reports.pop_front()?.counter;
        let delivered = dispatch::Input::Delivered { device: id.clone(), counter };
        Some(Effect::Dispatch(Box::new(delivered)))
    }
}
