//! When each device was last heard of: decides whom the gateway polls for at the deployment system.
//!
//! A neighbour is alive now; everybody else is as old as the youngest word about it. A neighbour is told
//! everything on connect, then every [`TELL_MS`] what became at least [`NEWS_MS`] younger than what it
//! said or was told, so that an idle fleet spends a packet a minute and link on it, and word crosses `h`
//! links within `NEWS_MS + h * TELL_MS`. A claim is a hint: a lying neighbour can keep a dead device polled, nothing more.

#[cfg(test)]
mod tests;

use crate::{DeviceId, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Milliseconds between two rounds of telling.
pub const TELL_MS: u64 = 60_000;
/// How much younger a word must be to be told again.
pub const NEWS_MS: u64 = 120_000;
/// The most devices remembered; names beyond it are ignored until others are forgotten.
pub const DEVICES_MAX: usize = 10_000;
/// The most devices in one message.
pub const HEARD_MAX: usize = 2_048;
/// Milliseconds after which a device is forgotten.
pub const FORGET_MS: u64 = 3_600_000;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A neighbour connected.
    Connected {
        /// Who.
        peer: DeviceId,
    },
    /// It is gone.
    Disconnected {
        /// Who.
        peer: DeviceId,
    },
    /// A neighbour told of whom it heard, and how many seconds ago.
    Heard {
        /// Who told.
        from: DeviceId,
        /// Device and age.
        devices: Vec<(DeviceId, u32)>,
    },
    /// `next_wakeup` has come.
    Wakeup,
}

/// What the adapter is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send `Control::Heard`.
    Send {
        /// To whom.
        peer: DeviceId,
        /// Device and age in seconds, at most [`HEARD_MAX`].
        devices: Vec<(DeviceId, u32)>,
    },
}

/// Number of a connection: what was told on an earlier one does not count.
type Slot = u32;

/// The core. Inputs: [`Liveness::handle`]. Outputs: [`Liveness::poll`], [`Liveness::next_wakeup`]. Query: [`Liveness::heard`].
#[derive(Debug)]
pub struct Liveness {
    me: DeviceId,
    neighbours: BTreeMap<DeviceId, Slot>,
    devices: BTreeMap<DeviceId, Entry>,
    effects: VecDeque<Effect>,
    tell_at: Option<Timestamp>,
    next_slot: Slot,
}

/// When a device was last heard of, and which time each connection knows.
#[derive(Debug)]
struct Entry {
    heard: Timestamp,
    known: Vec<(Slot, Timestamp)>,
}

impl Entry {
    fn known_to(&self, slot: Slot) -> Option<Timestamp> {
        self.known.iter().find(|(s, _)| *s == slot).map(|(_, at)| *at)
    }

    fn set_known(&mut self, slot: Slot, at: Timestamp) {
        match self.known.iter_mut().find(|(s, _)| *s == slot) {
            Some(known) => known.1 = known.1.max(at),
            None => self.known.push((slot, at)),
        }
    }
}

impl Liveness {
    /// A table that knows nobody but `me`, who is never in it.
    pub fn new(me: DeviceId) -> Self {
        let (neighbours, devices) = (BTreeMap::new(), BTreeMap::new());
        Liveness { me, neighbours, devices, effects: VecDeque::new(), tell_at: None, next_slot: 0 }
    }

    /// Takes one input; drain [`Liveness::poll`] afterwards. `now` is a steady time.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Connected { peer } => self.connected(peer, now),
            Input::Disconnected { peer } => self.disconnected(&peer, now),
            Input::Heard { from, devices } => self.learn(&from, devices, now),
            Input::Wakeup if self.tell_at.is_some_and(|at| at <= now) => self.tell_all(now),
            Input::Wakeup => {}
        }
    }

    /// The next effect, if there is one.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Wakeup`] is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.tell_at
    }

    /// All devices heard of within [`FORGET_MS`], with their ages in seconds.
    pub fn heard(&self, now: Timestamp) -> Vec<(DeviceId, u32)> {
        let age = |at: Timestamp| u32::try_from(now.since(at).as_secs()).unwrap_or(u32::MAX);
        let young = self.devices.iter().filter(|(_, e)| is_young(e.heard, now));
        young.map(|(device, e)| (device.clone(), age(e.heard))).collect()
    }

    fn connected(&mut self, peer: DeviceId, now: Timestamp) {
        self.refresh(now);
        self.next_slot += 1;
        if let Some(old) = self.neighbours.insert(peer.clone(), self.next_slot) {
            self.forget_slot(old);
        }
        self.hear(&peer, now, self.next_slot);
        self.tell(&peer, self.next_slot, now);
        self.tell_at.get_or_insert(now.after(Duration::from_millis(TELL_MS)));
    }

    fn disconnected(&mut self, peer: &DeviceId, now: Timestamp) {
        self.refresh(now);
        if let Some(slot) = self.neighbours.remove(peer) {
            self.forget_slot(slot);
        }
    }

    fn forget_slot(&mut self, slot: Slot) {
        self.devices.values_mut().for_each(|e| e.known.retain(|(s, _)| *s != slot));
    }

    fn learn(&mut self, from: &DeviceId, devices: Vec<(DeviceId, u32)>, now: Timestamp) {
        let Some(slot) = self.neighbours.get(from).copied() else { return };
        for (device, age) in devices.into_iter().take(HEARD_MAX) {
            let heard = Timestamp::from_millis(now.as_millis().saturating_sub(u64::from(age) * 1000));
            if device != self.me && is_young(heard, now) {
                self.hear(&device, heard, slot);
            }
        }
    }

    fn hear(&mut self, device: &DeviceId, heard: Timestamp, slot: Slot) {
        if self.devices.len() >= DEVICES_MAX && !self.devices.contains_key(device) {
            return;
        }
        let entry = self.devices.entry(device.clone()).or_insert(Entry { heard, known: Vec::new() });
        entry.heard = entry.heard.max(heard);
        entry.set_known(slot, heard);
    }

    /// Neighbours are alive now; the long unheard are forgotten.
    fn refresh(&mut self, now: Timestamp) {
        for (peer, slot) in self.neighbours.clone() {
            self.hear(&peer, now, slot);
        }
        self.devices.retain(|_, e| is_young(e.heard, now));
    }

    fn tell_all(&mut self, now: Timestamp) {
        self.refresh(now);
        let next = now.after(Duration::from_millis(TELL_MS));
        self.tell_at = (!self.neighbours.is_empty()).then_some(next);
        for (peer, slot) in self.neighbours.clone() {
            self.tell(&peer, slot, now);
        }
    }

    fn tell(&mut self, peer: &DeviceId, slot: Slot, now: Timestamp) {
        let mut news = Vec::new();
        for (device, entry) in self.devices.iter_mut().filter(|(device, _)| *device != peer) {
            let stale = |at: Timestamp| entry.heard.since(at) >= Duration::from_millis(NEWS_MS);
            if entry.known_to(slot).is_none_or(stale) {
                entry.set_known(slot, entry.heard);
                let age = u32::try_from(now.since(entry.heard).as_secs()).unwrap_or(u32::MAX);
                news.push((device.clone(), age));
            }
        }
        let messages = news.chunks(HEARD_MAX).map(|c| Effect::Send { peer: peer.clone(), devices: c.to_vec() });
        self.effects.extend(messages);
    }
}

fn is_young(heard: Timestamp, now: Timestamp) -> bool {
    now.since(heard) < Duration::from_millis(FORGET_MS)
}
