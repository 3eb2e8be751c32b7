//! Transfers in flight, by number.

use super::limits::{INFLOW, LATE, LATE_TRANSFERS_MAX};
use super::table::TableKey;
use crate::{DeviceId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Names a transfer between the core and its adapter; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Neighbour(DeviceId),
    Origin,
}

#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) key: TableKey,
    pub(super) source: Source,
    /// Pieces that have not arrived yet.
    pub(super) left: BTreeSet<u32>,
    /// Bytes asked for.
    pub(super) bytes: u64,
    /// When the last byte arrived.
    pub(super) moved_at: Timestamp,
    /// When it began, or the last piece was whole.
    pub(super) piece_at: Timestamp,
    /// How many pieces others had got from central then.
    pub(super) given_at: u64,
}

impl Transfer {
    /// The neighbour and the piece that is asked of it.
    pub(super) fn asked(&self) -> Option<(DeviceId, u32)> {
        match &self.source {
            Source::Neighbour(peer) => Some((peer.clone(), *self.left.first()?)),
            Source::Origin => None,
        }
    }
}

/// How fast pieces come from neighbours.
#[derive(Debug, Default)]
struct Inflow {
    /// While some are asked for: since when they are counted, and their bytes.
    since: Timestamp,
    bytes: u64,
    /// What was counted last; 0 before a piece came.
    per_s: u64,
    /// Since when some were asked for without a break, and all bytes since then.
    began: Timestamp,
    all: u64,
    /// How fast they came the time before that.
    before: u64,
}

#[derive(Debug, Default)]
pub(super) struct Transfers {
    next: u64,
    inflow: Inflow,
    pub(super) live: BTreeMap<TransferId, Transfer>,
    /// Aborted ones: a piece of theirs may have been verified before the adapter heard of it.
    late: VecDeque<(TransferId, TableKey)>,
}

impl Transfers {
    pub(super) fn start(&mut self, transfer: Transfer) -> TransferId {
        if transfer.source != Source::Origin && self.near_load().0 == 0 {
            let (now, before) = (transfer.moved_at, self.usual_per_s(transfer.moved_at));
            self.inflow = Inflow { since: now, bytes: 0, began: now, all: 0, before, ..self.inflow };
        }
        self.next += 1;
        let id = TransferId(self.next);
        self.live.insert(id, transfer);
        id
    }

    /// Takes it off; what it has verified meanwhile is still welcome.
    pub(super) fn abort(&mut self, id: TransferId) -> Option<Transfer> {
        let transfer = self.live.remove(&id)?;
        if self.late.len() == LATE_TRANSFERS_MAX {
            self.late.pop_front();
        }
        self.late.push_back((id, transfer.key));
        Some(transfer)
    }

    /// The table of a live or lately aborted transfer.
    pub(super) fn key(&self, id: TransferId) -> Option<TableKey> {
        let late = || self.late.iter().find(|(late, _)| *late == id).map(|(_, key)| *key);
        self.live.get(&id).map(|t| t.key).or_else(late)
    }

    /// Whether a neighbour takes so long with a piece that at the usual rate all that is asked for would have come twice.
    pub(super) fn is_late(&self, transfer: &Transfer, now: Timestamp) -> bool {
        let age = now.since(transfer.piece_at);
        let usually = self.usual_per_s(now).saturating_mul(age.as_millis() as u64) / 1000;
        age >= LATE && usually / 2 >= self.near_load().1
    }

    /// How fast pieces came from neighbours since some were asked for, or before that.
    fn usual_per_s(&self, now: Timestamp) -> u64 {
        let flow = &self.inflow;
        match now.since(flow.began).as_millis() as u64 {
            ms if flow.all > 0 && ms >= 1_000 => flow.all.saturating_mul(1_000) / ms,
            _ => flow.before,
        }
    }

    /// A piece of so many bytes came from a neighbour.
    pub(super) fn came(&mut self, bytes: u64, now: Timestamp) {
        let flow = &mut self.inflow;
        (flow.bytes, flow.all) = (flow.bytes + bytes, flow.all + bytes);
        let since = now.since(flow.since);
        if flow.per_s == 0 || since >= INFLOW {
            flow.per_s = flow.bytes.saturating_mul(1000) / (since.as_millis() as u64).max(1);
        }
        if since >= INFLOW {
            (flow.since, flow.bytes) = (now, 0);
        }
    }

    /// How fast pieces come from neighbours; 0 while nobody knows.
    pub(super) fn inflow_per_s(&self) -> u64 {
        self.inflow.per_s
    }

    /// How many and how many bytes are asked of neighbours.
    pub(super) fn near_load(&self) -> (usize, u64) {
        let near = self.live.values().filter(|t| t.source != Source::Origin);
        near.fold((0, 0), |(n, bytes), t| (n + 1, bytes + t.bytes))
    }

    pub(super) fn origin_count(&self) -> usize {
        self.live.values().filter(|t| t.source == Source::Origin).count()
    }

    /// The transfers for which `matches` says true.
    pub(super) fn select(&self, matches: impl Fn(&Transfer) -> bool) -> Vec<TransferId> {
        self.live.iter().filter(|(_, t)| matches(t)).map(|(id, _)| *id).collect()
    }
}
