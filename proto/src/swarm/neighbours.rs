//! The peers we are connected to: what they were told, and how well they serve us.

use super::backoff::Backoff;
use super::peers::Slot;
use super::table::TableKey;
use crate::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct Neighbour {
    /// Where others may reach it, too.
    pub(super) address: SocketAddr,
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
    /// By number, the newest status of each peer that it has from us, or we from it.
    told: Vec<Told>,
    /// Statuses to send, and when each is due.
    due: BTreeMap<Slot, Timestamp>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Statuses with lower sequence numbers are no news.
    below: u64,
    at: Timestamp,
}

impl News {
    fn told(&self, peer: Slot) -> Told {
        self.told.get(peer.index()).copied().unwrap_or_default()
    }

    fn tell(&mut self, peer: Slot, told: Told) {
        if self.told.len() <= peer.index() {
            self.told.resize(peer.index() + 1, Told::default());
        }
        self.told[peer.index()] = told;
    }
}

impl Neighbour {
    pub(super) fn at(address: SocketAddr) -> Self {
        let (busy, failing) = Default::default();
        let (news, due_first, update_after) = Default::default();
        Neighbour { address, requests: 0, busy, failing, news, due_first, update_after }
    }

    /// Whether it may be asked for a piece now.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.busy.is_over(now) && self.failing.is_over(now)
    }

    /// When it may be asked again.
    pub(super) fn ready_at(&self) -> Timestamp {
        self.busy.until.max(self.failing.until)
    }

    /// It is known to have this status, whoever sent it.
    pub(super) fn knows(&mut self, key: TableKey, peer: Slot, seq: u64, now: Timestamp) {
        self.news.entry(key).or_default().tell(peer, Told { below: seq + 1, at: now });
    }

    /// Queues a status unless it has it; `pause` is kept since the last one of that peer.
    pub(super) fn tell(&mut self, key: TableKey, peer: Slot, seq: u64, pause: std::time::Duration, now: Timestamp) {
        let news = self.news.entry(key).or_default();
        let told = news.told(peer);
        if told.below > seq {
            return;
        }
        let at = if told.below == 0 { now } else { told.at.after(pause).max(now) };
        news.due.entry(peer).and_modify(|due| *due = at.min(*due)).or_insert(at);
        self.due_first = Some(self.due_first.map_or(at, |first| first.min(at)));
    }

    /// Whether a queued status is still news for it.
    pub(super) fn is_news(&self, key: TableKey, peer: Slot, seq: u64) -> bool {
        self.news.get(&key).is_none_or(|news| news.told(peer).below <= seq)
    }

    /// What it was told or shall be told of a peer is void: the peer is forgotten.
    pub(super) fn forget(&mut self, key: TableKey, peer: Slot) {
        if let Some(news) = self.news.get_mut(&key) {
            news.tell(peer, Told::default());
            news.due.remove(&peer);
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
    pub(super) fn due(&self, now: Timestamp) -> Option<(TableKey, Vec<Slot>)> {
        if self.due_first.is_none_or(|first| first > now) {
            return None;
        }
        let first = |news: &News| news.due.values().min().copied();
        let firsts = self.news.iter().filter_map(|(key, news)| Some((first(news)?, *key, news)));
        let (_, key, news) = firsts.filter(|(at, ..)| *at <= now).min_by_key(|(at, ..)| *at)?;
        Some((key, news.due.iter().filter(|(_, at)| **at <= now).map(|(peer, _)| *peer).collect()))
    }

    /// Takes a status off the queue.
    pub(super) fn unqueue(&mut self, key: TableKey, peer: Slot) {
        if let Some(news) = self.news.get_mut(&key) {
            news.due.remove(&peer);
        }
    }

    /// Finds out when the next status is due, after some were sent.
    pub(super) fn look_ahead(&mut self) {
        self.due_first = self.news.values().flat_map(|news| news.due.values()).min().copied();
    }
}
