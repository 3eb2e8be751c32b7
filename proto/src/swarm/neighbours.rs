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
    /// What it knows and shall know of each manifest.
    news: BTreeMap<TableKey, News>,
    /// No status is due before this; none at all if none is queued.
    due_first: Option<Timestamp>,
    /// When the next update may be sent.
    pub(super) update_after: Timestamp,
}

#[derive(Debug, Default)]
struct News {
    /// The newest status of each peer that it has from us, or we from it.
    told: BTreeMap<DeviceId, Told>,
    /// Statuses to send, and when each is due.
    due: BTreeMap<DeviceId, Timestamp>,
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
        self.news.entry(key).or_default().told.insert(peer.clone(), Told { seq, at: now });
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
        let news = self.news.entry(key).or_default();
        let told = news.told.get(peer).copied();
        if told.is_some_and(|told| told.seq >= seq) {
            return;
        }
        let at = told.map_or(now, |told| told.at.after(pause)).max(now);
        news.due.entry(peer.clone()).and_modify(|due| *due = at.min(*due)).or_insert(at);
        self.due_first = Some(self.due_first.map_or(at, |first| first.min(at)));
    }

    /// Whether a queued status is still news for it.
    pub(super) fn is_news(&self, key: TableKey, peer: &DeviceId, seq: u64) -> bool {
        self.news.get(&key).and_then(|news| news.told.get(peer)).is_none_or(|told| told.seq < seq)
    }

    /// What it was told or shall be told of a peer is void: the peer is forgotten.
    pub(super) fn forget(&mut self, key: TableKey, peer: &DeviceId) {
        if let Some(news) = self.news.get_mut(&key) {
            news.told.remove(peer);
            news.due.remove(peer);
        }
    }

    /// Drops everything about a table.
    pub(super) fn forget_table(&mut self, key: TableKey) {
        self.news.remove(&key);
    }

    /// When the next update is to be sent, if anything is queued.
    pub(super) fn update_at(&self) -> Option<Timestamp> {
        self.due_first.map(|due| self.update_after.max(due))
    }

    /// The table with the longest waiting status, and its peers whose statuses are due.
    pub(super) fn due(&self, now: Timestamp) -> Option<(TableKey, Vec<DeviceId>)> {
        let first = |news: &News| news.due.values().min().copied();
        let firsts = self.news.iter().filter_map(|(key, news)| Some((first(news)?, *key, news)));
        let (_, key, news) = firsts.filter(|(at, ..)| *at <= now).min_by_key(|(at, ..)| *at)?;
        Some((key, news.due.iter().filter(|(_, at)| **at <= now).map(|(peer, _)| peer.clone()).collect()))
    }

    /// Takes a status off the queue.
    pub(super) fn unqueue(&mut self, key: TableKey, peer: &DeviceId) {
        if let Some(news) = self.news.get_mut(&key) {
            news.due.remove(peer);
        }
    }

    /// Finds out when the next status is due, after some were sent.
    pub(super) fn look_ahead(&mut self) {
        self.due_first = self.news.values().flat_map(|news| news.due.values()).min().copied();
    }
}
