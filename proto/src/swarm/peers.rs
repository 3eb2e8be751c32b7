//! Other peers of a table, by number: names are looked up once for each status that comes.

use super::table::Known;
use crate::DeviceId;
use std::collections::BTreeMap;

/// A peer's number in one table. It is given again when the peer was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

impl Slot {
    /// Our own number in every table; the lowest.
    pub(super) const ME: Slot = Slot(0);

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Others, by their newest statuses.
#[derive(Debug, Default)]
pub(super) struct Peers {
    slots: BTreeMap<DeviceId, Slot>,
    /// By number less one: ours has no entry.
    known: Vec<Option<Known>>,
    free: Vec<Slot>,
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn slot(&self, peer: &DeviceId) -> Option<Slot> {
        self.slots.get(peer).copied()
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Known> {
        self.known.get(slot.index().checked_sub(1)?)?.as_ref()
    }

    pub(super) fn get(&self, peer: &DeviceId) -> Option<&Known> {
        self.at(self.slot(peer)?)
    }

    pub(super) fn get_mut(&mut self, peer: &DeviceId) -> Option<&mut Known> {
        let slot = self.slot(peer)?;
        self.known.get_mut(slot.index().checked_sub(1)?)?.as_mut()
    }

    /// Takes a peer's status out, to be put back by [`Peers::put`].
    pub(super) fn take(&mut self, slot: Slot) -> Option<Known> {
        self.known.get_mut(slot.index().checked_sub(1)?)?.take()
    }

    /// Puts a peer's status in, under its number or, if it has none, a new one.
    pub(super) fn put(&mut self, slot: Option<Slot>, known: Known) -> Slot {
        let slot = slot.unwrap_or_else(|| self.number(known.status.peer.clone()));
        if let Some(place) = slot.index().checked_sub(1).and_then(|i| self.known.get_mut(i)) {
            *place = Some(known);
        }
        slot
    }

    fn number(&mut self, peer: DeviceId) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.known.push(None);
            Slot(self.known.len() as u32)
        });
        self.slots.insert(peer, slot);
        slot
    }

    /// Forgets a peer; its number is free.
    pub(super) fn remove(&mut self, peer: &DeviceId) -> Option<Known> {
        let slot = self.slots.remove(peer)?;
        self.free.push(slot);
        self.take(slot)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().flatten()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Known> {
        self.known.iter_mut().flatten()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Known)> {
        (1..).map(Slot).zip(&self.known).filter_map(|(slot, known)| Some((slot, known.as_ref()?)))
    }
}
