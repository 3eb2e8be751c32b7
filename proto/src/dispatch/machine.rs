//! The core itself: inputs in, effects out, and which effect waits for which state to be durable.

use super::io::{Config, Effect, Input, Wish};
use super::state::{Entry, Event, State};
use crate::wire::{Announcement, Report};
use crate::{DeviceId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long changes wait that would only cost a repetition after a crash.
const LAZY: Duration = Duration::from_secs(1);

/// The gateway's core; see the module for its rules.
#[derive(Debug)]
pub struct Dispatch {
    pub(super) config: Config,
    pub(super) state: State,
    pub(super) now: Timestamp,
    pub(super) connected: bool,
    pub(super) settle_at: Option<Timestamp>,
    pub(super) settled: bool,
    pub(super) compose_at: Option<Timestamp>,
    /// Our announcement as the peer should have it.
    pub(super) current: Option<Announcement>,
    /// Requests that wait until numbers may be given.
    pub(super) held: Vec<(Timestamp, u64, Wish)>,
    /// Tickets to answer when their action gets somewhere.
    pub(super) askers: BTreeMap<u64, u64>,
    pub(super) resolving: BTreeSet<u64>,
    pub(super) retry_at: BTreeMap<u64, Timestamp>,
    /// Reports on their way to the disk.
    pub(super) spooling: BTreeMap<(DeviceId, u64), Report>,
    /// When counters are given up that a device said to keep no more.
    pub(super) gaps: BTreeMap<DeviceId, Timestamp>,
    pub(super) receipts_at: BTreeMap<DeviceId, Timestamp>,
    /// Devices whose receipt waits for the peer.
    pub(super) owed: BTreeSet<DeviceId>,
    pub(super) out: VecDeque<Effect>,
    /// Effects that wait for the state of that number.
    after: VecDeque<(u64, Effect)>,
    seq: u64,
    in_flight: bool,
    dirty: bool,
    flush_at: Option<Timestamp>,
}

impl Dispatch {
    /// A core that knows `state` and finds `spool` on disk: reports whose `Spooled` was or was not seen.
    pub fn new(config: Config, state: State, spool: Vec<Report>, now: Timestamp) -> Self {
        let mut core = Dispatch {
            config,
            state,
            now,
            connected: false,
            settle_at: None,
            settled: false,
            compose_at: None,
            current: None,
            held: Vec::new(),
            askers: BTreeMap::new(),
            resolving: BTreeSet::new(),
            retry_at: BTreeMap::new(),
            spooling: BTreeMap::new(),
            gaps: BTreeMap::new(),
            receipts_at: BTreeMap::new(),
            owed: BTreeSet::new(),
            out: VecDeque::new(),
            after: VecDeque::new(),
            seq: 0,
            in_flight: false,
            dirty: false,
            flush_at: None,
        };
        core.restore_devices();
        core.restore_announcement();
        core.restore_reports(spool);
        core.restore_actions();
        core.out.extend(core.state.outbox.values().cloned().map(Effect::Audit));
        core.settle_persistence();
        core
    }

    /// Takes one input; drain [`Dispatch::poll`] afterwards. `now` is the trusted time and never goes back.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.now = self.now.max(now);
        match input {
            Input::Request { ticket, wish } => self.request(ticket, wish),
            Input::Resolved { action, bundle } => self.resolved(action, &bundle),
            Input::Unresolved { action, reason, retry } => self.unresolved(action, reason, retry),
            Input::Withdraw { ticket, action } => self.withdraw(ticket, action),
            Input::Resume { ticket } => self.resume(ticket),
            Input::Highest(newest) => self.learn(newest),
            Input::Epoch(epoch) => self.config.epoch = self.config.epoch.max(epoch),
            Input::Connected => self.connect(),
            Input::Disconnected => self.connected = false,
            Input::Heard(list) => self.heard(list),
            Input::Report { report, envelope } => self.report(*report, envelope),
            Input::Spooled { device, counter } => self.spooled(device, counter),
            Input::Delivered { device, counter } => self.delivered(device, counter),
            Input::Audited { id } => self.audited(id),
            Input::Persisted(seq) => self.persisted(seq),
            Input::Wakeup => {}
        }
        self.tick();
        self.settle_persistence();
    }

    /// The next effect, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    /// When [`Input::Wakeup`] is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let refresh = self.refresh_at().filter(|_| self.may_act());
        let compose = self.compose_at.filter(|_| self.may_act());
        let settle = self.settle_at.filter(|_| !self.settled);
        let retry = self.retry_at.values().min().copied().filter(|_| self.connected);
        let gap = self.gaps.values().min().copied();
        let held = self.held.first().map(|(at, ..)| *at);
        let flush = self.flush_at.filter(|_| !self.in_flight);
        [refresh, compose, settle, retry, gap, held, flush].into_iter().flatten().min()
    }

    /// Everything durable, as of the last input.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether it has listened long enough to act.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the peer is there.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many reports are not delivered yet.
    pub fn spooled_count(&self) -> usize {
        self.state.undelivered.len() + self.spooling.len()
    }

    fn tick(&mut self) {
        if !self.settled && self.settle_at.is_some_and(|at| at <= self.now) {
            self.settle();
        }
        self.refuse_held();
        self.give_up_gaps();
        self.retry_actions();
        self.announce_if_due();
    }

    fn persisted(&mut self, seq: u64) {
        self.in_flight = self.in_flight && seq < self.seq;
        while self.after.front().is_some_and(|(needed, _)| *needed <= seq) {
            self.out.extend(self.after.pop_front().map(|(_, effect)| effect));
        }
    }

    fn audited(&mut self, id: u64) {
        if self.state.outbox.remove(&id).is_some() {
            self.touch_lazily();
        }
    }

    /// The state changed in a way that must be durable soon.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// The state changed in a way that only costs a repetition when it is lost.
    pub(super) fn touch_lazily(&mut self) {
        self.flush_at.get_or_insert(self.now.after(LAZY));
    }

    /// Lets `effect` out once the state as it is at the end of this input is durable.
    pub(super) fn once_durable(&mut self, effect: Effect) {
        self.after.push_back((self.seq + 1, effect));
    }

    /// Adds an audit line to the state, to be durable soon.
    pub(super) fn audit(&mut self, event: Event) {
        self.audit_lazily(event);
        self.touch();
    }

    /// Adds an audit line about something that a crash would only have asked for again.
    pub(super) fn audit_lazily(&mut self, event: Event) {
        let entry = Entry { id: self.state.next_entry, at: self.now, event };
        self.state.next_entry += 1;
        self.state.outbox.insert(entry.id, entry.clone());
        self.touch_lazily();
        self.once_durable(Effect::Audit(entry));
    }

    /// One state is on its way at a time; what changed meanwhile goes with the next.
    fn settle_persistence(&mut self) {
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.dirty = true;
        }
        if !self.dirty || self.in_flight {
            return;
        }
        (self.dirty, self.in_flight, self.flush_at) = (false, true, None);
        self.seq += 1;
        self.out.push_back(Effect::Persist { seq: self.seq, state: Box::new(self.state.clone()) });
    }

    fn restore_devices(&mut self) {
        for device in &self.config.devices {
            self.state.devices.entry(device.clone()).or_default();
        }
    }
}
