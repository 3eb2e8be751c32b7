//! The peers we are connected to: what they were told, and how well they serve us.

use super::backoff::Backoff;
use super::table::TableKey;
use crate::{DeviceId, Timestamp};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Neighbour {
    /// Requests under way to it.
    pub(super) requests: u32,
    /// Pause after it was busy.
    pub(super) busy: Backoff,
    /// Pause after it failed us.
    pub(super) failing: Backoff,
    /// The newest status of each peer that it has from us, or we from it.
    told: BTreeMap<(TableKey, DeviceId), Told>,
    /// Statuses to send, and when each is due.
    due: BTreeMap<(TableKey, DeviceId), Timestamp>,
    /// No status is due before this; none at all if none is queued.
    due_first: Option<Timestamp>,
    /// When the next update may be sent.
    pub(super) update_after: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    seq: u64,
    at: Timestamp,
}

impl Neighbour {
    /// Whether it may be asked for a piece now.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.busy.is_over(now) && self.failing.is_over(now)
    }

    /// When it may be asked again.
    pub(super) fn ready_at(&self) -> Timestamp {
        self.busy.until.max(self.failing.until)
    }

    /// It is known to have this status, whoever sent it.
    pub(super) fn knows(&mut self, key: TableKey, peer: &DeviceId, seq: u64, now: Timestamp) {
        self.told.insert((key, peer.clone()), Told { seq, at: now });
    }

    /// Queues a status unless it has it; `pause` is kept since the last one of that peer.
    pub(super) fn tell(
        &mut self,
        key: TableKey,
        peer: &DeviceId,
        seq: u64,
        pause: std::time::Duration,
        now: Timestamp,
    ) {
        let id = (key, peer.clone());
        let told = self.told.get(&id).copied();
        if told.is_some_and(|told| told.seq >= seq) {
            return;
        }
        let at = told.map_or(now, |told| told.at.after(pause)).max(now);
        self.due.entry(id).and_modify(|due| *due = at.min(*due)).or_insert(at);
        self.due_first = Some(self.due_first.map_or(at, |first| first.min(at)));
    }

    /// Whether a queued status is still news for it.
    pub(super) fn is_news(&self, key: TableKey, peer: &DeviceId, seq: u64) -> bool {
        self.told.get(&(key, peer.clone())).is_none_or(|told| told.seq < seq)
    }

    /// What it was told or shall be told of a peer is void: the peer is forgotten.
    pub(super) fn forget(&mut self, key: TableKey, peer: &DeviceId) {
        let id = (key, peer.clone());
        self.told.remove(&id);
        self.due.remove(&id);
    }

    /// Drops everything about a table.
    pub(super) fn forget_table(&mut self, key: TableKey) {
        self.told.retain(|(k, _), _| *k != key);
        self.due.retain(|(k, _), _| *k != key);
    }

    /// When the next update is to be sent, if anything is queued.
    pub(super) fn update_at(&self) -> Option<Timestamp> {
        self.due_first.map(|due| self.update_after.max(due))
    }

    /// The table with the longest waiting status, and its peers whose statuses are due.
    pub(super) fn due(&self, now: Timestamp) -> Option<(TableKey, Vec<DeviceId>)> {
        let due = || self.due.iter().filter(|(_, at)| **at <= now);
        let ((key, _), _) = due().min_by_key(|(_, at)| **at)?;
        let key = *key;
        Some((key, due().filter(|((k, _), _)| *k == key).map(|((_, peer), _)| peer.clone()).collect()))
    }

    /// Takes a status off the queue.
    pub(super) fn unqueue(&mut self, key: TableKey, peer: &DeviceId) {
        self.due.remove(&(key, peer.clone()));
    }

    /// Finds out when the next status is due, after some were sent.
    pub(super) fn look_ahead(&mut self) {
        self.due_first = self.due.values().min().copied();
    }
}
