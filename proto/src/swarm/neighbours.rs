//! The peers we are connected to: what they were told, and how well they serve us.

use super::backoff::Backoff;
use super::limits::REQUESTS_PER_NEIGHBOUR_MAX;
use super::peers::Slot;
use super::table::TableKey;
use crate::Timestamp;
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct Neighbour {
    /// Where others may reach it, too.
    pub(super) address: SocketAddr,
    /// Requests under way to it.
    pub(super) requests: u32,
    /// It took long with the last piece, while others did not.
    pub(super) is_late: bool,
    /// Pause after it was busy.
    pub(super) busy: Backoff,
    /// Pause after it failed us.
    pub(super) failing: Backoff,
    /// What it knows and shall know of each manifest, in their order.
    news: Vec<(TableKey, News)>,
    /// No status is due before this; none at all if none is queued.
    due_first: Option<Timestamp>,
    /// When the next update may be sent.
    pub(super) update_after: Timestamp,
}

#[derive(Debug, Default)]
struct News {
    /// By number, the newest status of each peer that it has from us, or we from it.
    told: Vec<Told>,
    /// Statuses to send, by number, and when each is due.
    due: Vec<(Slot, Timestamp)>,
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

    /// Queues a status for then, if it is not queued for earlier.
    fn queue(&mut self, peer: Slot, at: Timestamp) {
        match self.due.binary_search_by_key(&peer, |(slot, _)| *slot) {
            Ok(place) => self.due[place].1 = self.due[place].1.min(at),
            Err(place) => self.due.insert(place, (peer, at)),
        }
    }

    /// When the first status is due.
    fn first(&self) -> Option<Timestamp> {
        self.due.iter().map(|(_, at)| *at).min()
    }
}

impl Neighbour {
    pub(super) fn at(address: SocketAddr) -> Self {
        let (busy, failing) = Default::default();
        let (news, due_first, update_after) = Default::default();
        Neighbour { address, requests: 0, is_late: false, busy, failing, news, due_first, update_after }
    }

    /// Whether it may be asked for a piece now.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.busy.is_over(now) && self.failing.is_over(now)
    }

    /// Whether one more piece may be asked of it now.
    pub(super) fn may_be_asked(&self, now: Timestamp) -> bool {
        let most = if self.is_late { 1 } else { REQUESTS_PER_NEIGHBOUR_MAX };
        self.is_ready(now) && self.requests < most
    }

    /// When it may be asked again.
    pub(super) fn ready_at(&self) -> Timestamp {
        self.busy.until.max(self.failing.until)
    }

    /// It is known to have this status, whoever sent it.
    pub(super) fn knows(&mut self, key: TableKey, peer: Slot, seq: u64, now: Timestamp) {
        self.news_of(key).tell(peer, Told { below: seq + 1, at: now });
    }

    /// Queues a status unless it has it; `pause` is kept since the last one of that peer.
    pub(super) fn tell(&mut self, key: TableKey, peer: Slot, seq: u64, pause: std::time::Duration, now: Timestamp) {
        let news = self.news_of(key);
        let told = news.told(peer);
        if told.below > seq {
            return;
        }
        let at = if told.below == 0 { now } else { told.at.after(pause).max(now) };
        news.queue(peer, at);
        self.due_first = Some(self.due_first.map_or(at, |first| first.min(at)));
    }

    /// Whether a queued status is still news for it.
    pub(super) fn is_news(&self, key: TableKey, peer: Slot, seq: u64) -> bool {
        self.place(key).map_or(true, |place| self.news[place].1.told(peer).below <= seq)
    }

    /// What it was told or shall be told of a peer is void: the peer is forgotten.
    pub(super) fn forget(&mut self, key: TableKey, peer: Slot) {
        if let Ok(place) = self.place(key) {
            let news = &mut self.news[place].1;
            news.tell(peer, Told::default());
            news.due.retain(|(queued, _)| *queued != peer);
        }
    }

    /// Drops everything about a table.
    pub(super) fn forget_table(&mut self, key: TableKey) {
        if let Ok(place) = self.place(key) {
            self.news.remove(place);
        }
    }

    /// When the next update is to be sent, if anything is queued.
    pub(super) fn update_at(&self) -> Option<Timestamp> {
        self.due_first.map(|due| self.update_after.max(due))
    }

    /// Takes off the queue what is due of the table with the longest waiting status: as many as `most` says for it.
    pub(super) fn take_due(
        &mut self,
        now: Timestamp,
        most: impl Fn(TableKey) -> usize,
    ) -> Option<(TableKey, Vec<Slot>)> {
        if self.due_first.is_none_or(|first| first > now) {
            return None;
        }
        let firsts = self.news.iter_mut().filter_map(|(key, news)| Some((news.first()?, *key, news)));
        let (_, key, news) = firsts.filter(|(at, ..)| *at <= now).min_by_key(|(at, ..)| *at)?;
        let (most, mut taken) = (most(key), Vec::new());
        news.due.retain(|(peer, at)| {
            let is_taken = *at <= now && taken.len() < most;
            taken.extend(is_taken.then_some(*peer));
            !is_taken
        });
        Some((key, taken))
    }

    /// Finds out when the next status is due, after some were sent.
    pub(super) fn look_ahead(&mut self) {
        self.due_first = self.news.iter().filter_map(|(_, news)| news.first()).min();
    }

    fn news_of(&mut self, key: TableKey) -> &mut News {
        let place = self.place(key).unwrap_or_else(|place| {
            self.news.insert(place, (key, News::default()));
            place
        });
        &mut self.news[place].1
    }

    /// Where a table's news are, or would be.
    fn place(&self, key: TableKey) -> Result<usize, usize> {
        self.news.binary_search_by_key(&key, |(key, _)| *key)
    }
}
