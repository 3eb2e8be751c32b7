//! Transfers in flight, by number.

use super::limits::{INFLOW, LATE_TRANSFERS_MAX};
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
}

/// How fast pieces come from neighbours.
#[derive(Debug, Default)]
struct Inflow {
    /// While some are asked for: since when they are counted, and their bytes.
    since: Timestamp,
    bytes: u64,
    /// What was counted last; 0 before a piece came.
    per_s: u64,
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
            self.inflow = Inflow { since: transfer.moved_at, bytes: 0, ..self.inflow };
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

    /// A piece of so many bytes came from a neighbour.
    pub(super) fn came(&mut self, bytes: u64, now: Timestamp) {
        let flow = &mut self.inflow;
        flow.bytes += bytes;
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
