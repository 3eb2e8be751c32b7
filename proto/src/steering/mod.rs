//! What a deployment system such as Hawkbit wants of each device, and what it is told: the rules between its polls and
//! the gateway's [`dispatch`](crate::dispatch).
//!
//! * **Inputs** ([`Input`]) are answers of the server, reports of devices, and who was heard.
//! * **Effects** ([`Effect`]) are drained with [`Steering::poll`] after each [`Steering::handle`].
//! * **Queries** ([`Steering::unconfirmed`], [`Steering::next_wakeup`]) change nothing.
//!
//! Nothing here is durable: what is open stands at the server, what was decided and reported in
//! [`dispatch::State`](crate::dispatch::State), which every input comes with. After a crash the server is asked again.
//!
//! Invariants: one request a device is under way at a time. A device is polled only while the fleet hears it, so that
//! the server's "last seen" is true. A report leaves the spool when the server took it or says that nobody waits for it
//! any more (its action is over): then a terminal one that was sent twice counts once. A cancel is answered by the
//! device's word, unless the device cannot have been told of the action.

mod cancel;
mod device;
mod io;
mod offer;
mod reports;
#[cfg(test)]
mod tests;

pub use io::{Config, Confirm, Effect, Hold, Input, Message, Open, Order, Question, Reply, Stage};

use crate::dispatch::{self, NOBODY, State};
use crate::{DeviceId, Timestamp};
use device::{Asked, Device};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Devices of one deployment system.
const DEVICES_MAX: usize = 20_000;
/// Within which the other devices are polled when a new deployment is first seen, however many they are.
const GATHER: Duration = Duration::from_secs(10);
/// How far polls lie apart that many devices are due for at once: when they are heard, as when the gateway starts, and when
/// a new deployment is first seen.
const POLLS_APART: Duration = Duration::from_millis(10);

/// An effect, and what is under way once it is out.
type Next = (Effect, Option<Asked>);

/// A question about a device.
fn ask(id: &DeviceId, question: Question) -> Next {
    (Effect::Ask { device: id.clone(), question }, Some(Asked::Question))
}

/// A word about a device.
fn tell(id: &DeviceId, message: Message, asked: Asked) -> Next {
    (Effect::Tell { device: id.clone(), message }, Some(asked))
}

/// An effect for the gateway's core.
fn decide(input: dispatch::Input) -> Next {
    (Effect::Dispatch(Box::new(input)), None)
}

/// Takes an action back.
fn withdraw(action: u64) -> Next {
    decide(dispatch::Input::Withdraw { ticket: NOBODY, action })
}

/// The rules for all devices of one deployment system; see the module.
#[derive(Debug)]
pub struct Steering {
    config: Config,
    devices: BTreeMap<DeviceId, Device>,
    /// When devices have something to do that no input brings: [`Device::wakeup`] of each.
    wakeups: BTreeSet<(Timestamp, DeviceId)>,
    /// From when the next device may be polled for the first time.
    first_poll_at: Timestamp,
    now: Timestamp,
    out: VecDeque<Effect>,
}

impl Steering {
    /// Knows nobody yet.
    pub fn new(config: Config) -> Self {
        let (now, first_poll_at) = (Timestamp::ZERO, Timestamp::ZERO);
        let (devices, wakeups, out) = (BTreeMap::new(), BTreeSet::new(), VecDeque::new());
        Steering { config, devices, wakeups, first_poll_at, now, out }
    }

    /// Takes one input, with what is durable at the gateway; drain [`Steering::poll`] afterwards.
    pub fn handle(&mut self, input: Input, state: &State, now: Timestamp) {
        self.now = self.now.max(now);
        match input {
            Input::Heard(list) => self.heard(list, state),
            Input::Wakeup => self.step_due(state),
            Input::Changed => self.step_all(state),
            Input::Polled { device, open, revision, wants_attributes, next } => {
                self.polled(&device, (open, revision), wants_attributes, next, state);
                self.step(&device, state);
            }
            Input::Offered { device, action, order } => {
                self.offered(&device, action, order, state);
                self.step(&device, state);
            }
            Input::Cancelling { device, cancel, stops } => {
                if let Some(known) = self.answered(&device) {
                    known.cancel = Some((cancel, stops));
                }
                self.step(&device, state);
            }
            Input::Report(report) => {
                let device = report.device.clone();
                self.reported(*report);
                self.step(&device, state);
            }
            Input::Replied { device, reply } => {
                self.replied(&device, reply);
                self.step(&device, state);
            }
            Input::Confirm { action, yes } => self.confirm(action, yes, state),
        }
    }

    /// The next effect, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    /// When [`Input::Wakeup`] is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.wakeups.first().map(|(at, _)| *at)
    }

    /// What waits for the word of a local operator.
    pub fn unconfirmed(&self) -> impl Iterator<Item = (&DeviceId, u64)> {
        self.devices.iter().filter_map(|(id, d)| match d.open {
            Some(Open::Confirmation(action)) if d.confirm.is_none_or(|(of, _)| of != action) => Some((id, action)),
            _ => None,
        })
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> usize {
        self.devices.values().filter(|d| d.asked.is_some()).count()
    }

    fn heard(&mut self, list: Vec<(DeviceId, Timestamp)>, state: &State) {
        let (now, within) = (self.now, self.config.heard_within);
        for (id, at) in list {
            let first = self.first_poll_at.max(now);
            if let Some(device) = self.device(&id) {
                let silent = device.heard.is_none_or(|at| now.since(at) > within);
                device.heard = device.heard.max(Some(at));
                if silent && device.poll_at <= first {
                    device.poll_at = first;
                    self.first_poll_at = first.after(POLLS_APART);
                }
            }
            self.step(&id, state);
        }
    }

    fn device(&mut self, id: &DeviceId) -> Option<&mut Device> {
        if !self.devices.contains_key(id) && self.devices.len() >= DEVICES_MAX {
            return None;
        }
        let now = self.now;
        Some(self.devices.entry(id.clone()).or_insert_with(|| Device::new(now)))
    }

    /// The device whose request has been answered.
    fn answered(&mut self, id: &DeviceId) -> Option<&mut Device> {
        let device = self.devices.get_mut(id)?;
        device.asked.take()?;
        Some(device)
    }

    fn step_all(&mut self, state: &State) {
        for id in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.step(&id, state);
        }
    }

    fn step_due(&mut self, state: &State) {
        let due = self.wakeups.iter().take_while(|(at, _)| *at <= self.now);
        for id in due.map(|(_, id)| id.clone()).collect::<Vec<_>>() {
            self.step(&id, state);
        }
    }

    /// Does what is to be done for a device until a request is under way for it.
    fn step(&mut self, id: &DeviceId, state: &State) {
        while let Some((effect, asked)) = self.next(id, state) {
            if let Some(device) = self.devices.get_mut(id) {
                device.asked = asked;
            }
            self.out.push_back(effect);
        }
        self.schedule(id);
    }

    fn next(&mut self, id: &DeviceId, state: &State) -> Option<Next> {
        let now = self.now;
        let device = self.devices.get_mut(id)?;
        if device.asked.is_some() || device.wait_until.is_some_and(|at| at > now) {
            return None;
        }
        device.wait_until = None;
        self.next_report(id, state)
            .or_else(|| self.next_of_cancel(id, state))
            .or_else(|| self.next_of_offer(id, state))
            .or_else(|| self.next_attributes(id, state))
            .or_else(|| self.next_poll(id))
    }

    /// Notes when the device is to be looked at without an input.
    fn schedule(&mut self, id: &DeviceId) {
        let Some(device) = self.devices.get_mut(id) else { return };
        let at = device.next_wakeup(self.config.heard_within, self.now);
        let before = std::mem::replace(&mut device.wakeup, at);
        if before != at {
            before.map(|at| self.wakeups.remove(&(at, id.clone())));
            at.map(|at| self.wakeups.insert((at, id.clone())));
        }
    }

    fn next_poll(&mut self, id: &DeviceId) -> Option<Next> {
        let device = self.devices.get(id)?;
        let heard = device.heard.is_some_and(|at| self.now.since(at) <= self.config.heard_within);
        (heard && device.poll_at <= self.now).then(|| ask(id, Question::Base))
    }

    fn polled(&mut self, id: &DeviceId, open: (Open, Option<i64>), wants: bool, next: Duration, state: &State) {
        let now = self.now;
        let Some(device) = self.answered(id) else { return };
        device.poll_at = now.after(next);
        device.fresh = true;
        device.withdrawing = None;
        device.wants_attributes |= wants;
        if device.open != Some(open.0) || device.revision != open.1 {
            (device.open, device.revision) = (Some(open.0), open.1);
            device.stale = true;
            device.cancel = None;
        }
        self.withdraw_what_vanished(id, state);
        self.renew(id, state);
    }

    fn replied(&mut self, id: &DeviceId, reply: Reply) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(asked) = device.asked.take() else { return };
        if let Reply::Later(wait) = reply {
            device.wait_until = Some(now.after(wait));
            return;
        }
        if reply == Reply::Unknown {
            return device.doubt(&asked, now);
        }
        let effect = device.done(asked, reply, id, now);
        self.out.extend(effect);
    }

    fn confirm(&mut self, action: u64, yes: bool, state: &State) {
        let waits = |d: &Device| d.open == Some(Open::Confirmation(action));
        let ids: Vec<DeviceId> = self.devices.iter().filter(|(_, d)| waits(d)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(device) = self.devices.get_mut(&id) {
                device.confirm = Some((action, yes));
            }
            self.step(&id, state);
        }
    }
}
