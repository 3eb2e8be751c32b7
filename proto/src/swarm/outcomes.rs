//! How transfers end.

use super::limits::{BAN, BUSY, MEASURED_MS_MIN, MISSING, NOT_HERE, STALLED};
use super::table::TableKey;
use super::transfers::{Source, Transfer};
use super::{Effect, Failure, Swarm, TransferId};
use crate::{DeviceId, Digest, Timestamp};

impl Swarm {
    pub(super) fn on_progress(&mut self, id: TransferId, bytes: u64, now: Timestamp) {
        let Some(transfer) = self.transfers.live.get_mut(&id).filter(|_| bytes > 0) else { return };
        transfer.moved_at = now;
        if transfer.source == Source::Origin {
            let key = transfer.key;
            self.revive_lease(key, now);
        }
    }

    pub(super) fn on_verified(&mut self, id: TransferId, piece: u32, now: Timestamp) {
        let Some(key) = self.transfers.key(id) else { return };
        self.on_progress(id, 1, now);
        self.forgive(id, now);
        self.measure(id, piece, now);
        self.release_piece(id, piece);
        if self.transfers.live.get(&id).is_some_and(|t| t.left.is_empty()) {
            self.finish(id, now);
        }
        let Some(table) = self.tables.get_mut(&key) else { return };
        let (Some(local), Some(own)) = (&mut table.local, &mut table.own) else { return };
        if own.have.set(piece) {
            local.have_changed = true;
            own.progress_at = now;
        }
        self.bump(key, now);
    }

    /// A neighbour that was in time is not late any more.
    fn forgive(&mut self, id: TransferId, now: Timestamp) {
        let Some(transfer) = self.transfers.live.get(&id).filter(|t| !self.transfers.is_late(t, now)) else { return };
        let Source::Neighbour(peer) = &transfer.source else { return };
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.is_late = false;
        }
    }

    /// How fast pieces come; of central, the mean of what was so before and of this piece.
    fn measure(&mut self, id: TransferId, piece: u32, now: Timestamp) {
        let Some(transfer) = self.transfers.live.get_mut(&id) else { return };
        let ms = now.since(std::mem::replace(&mut transfer.piece_at, now)).as_millis().max(1) as u64;
        let Some(table) = self.tables.get(&transfer.key) else { return };
        transfer.given_at = table.outage.given;
        let Some(local) = &table.local else { return };
        let length = local.length(piece);
        if transfer.source != Source::Origin {
            return self.transfers.came(length, now);
        }
        // What lay in the cache already says nothing of central.
        if ms < MEASURED_MS_MIN {
            return;
        }
        let rate = length.saturating_mul(1000) / ms;
        let before = self.origin_bytes_per_s;
        self.origin_bytes_per_s = if before == 0 { rate } else { before / 2 + rate / 2 };
        let key = transfer.key;
        self.central_answered(key, now);
    }

    /// A piece of a live transfer is no longer awaited.
    fn release_piece(&mut self, id: TransferId, piece: u32) {
        let Some(transfer) = self.transfers.live.get_mut(&id) else { return };
        if !transfer.left.remove(&piece) {
            return;
        }
        let (key, origin) = (transfer.key, transfer.source == Source::Origin);
        let Some(table) = self.tables.get_mut(&key) else { return };
        if let Some(local) = &mut table.local {
            local.in_flight.clear(piece);
        }
        if let Some(own) = table.own.as_mut().filter(|_| origin) {
            own.claims.clear(piece);
        }
    }

    /// All pieces of a transfer arrived.
    fn finish(&mut self, id: TransferId, now: Timestamp) {
        let Some(transfer) = self.transfers.live.remove(&id) else { return };
        match &transfer.source {
            Source::Neighbour(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(peer) {
                    neighbour.requests = neighbour.requests.saturating_sub(1);
                    neighbour.busy.succeed();
                    neighbour.failing.succeed();
                }
            }
            Source::Origin => self.central_answered(transfer.key, now),
        }
    }

    /// Stops a transfer of ours.
    pub(super) fn abort(&mut self, id: TransferId, now: Timestamp) {
        if let Some(transfer) = self.transfers.abort(id) {
            self.effects.push_back(Effect::Abort { transfer: id });
            self.let_go(&transfer, now);
        }
    }

    /// Frees what an ended transfer held; a claim is given up at once, so that the next in line need not wait
    /// for the lease to run out.
    fn let_go(&mut self, transfer: &Transfer, now: Timestamp) {
        if let Source::Neighbour(peer) = &transfer.source
            && let Some(neighbour) = self.neighbours.get_mut(peer)
        {
            neighbour.requests = neighbour.requests.saturating_sub(1);
        }
        let Some(table) = self.tables.get_mut(&transfer.key) else { return };
        if let Some(local) = &mut table.local {
            for piece in &transfer.left {
                local.in_flight.clear(*piece);
            }
        }
        if transfer.source == Source::Origin {
            if let Some(own) = &mut table.own {
                for piece in &transfer.left {
                    own.claims.clear(*piece);
                }
            }
            self.bump(transfer.key, now);
        }
    }

    pub(super) fn on_corrupt(&mut self, id: TransferId, now: Timestamp) {
        let Some(transfer) = self.transfers.live.remove(&id) else { return };
        self.let_go(&transfer, now);
        match &transfer.source {
            Source::Neighbour(peer) => self.expel(peer, now),
            Source::Origin => self.origin_lacks(&transfer, now),
        }
    }

    /// It sent wrong bytes.
    fn expel(&mut self, peer: &DeviceId, now: Timestamp) {
        self.disconnected(peer, now);
        self.ban(peer, now);
        self.effects.push_back(Effect::Ban { peer: peer.clone(), for_: BAN });
    }

    /// Gives up a transfer that still goes on.
    pub(super) fn give_up(&mut self, id: TransferId, why: Failure, now: Timestamp) {
        self.effects.push_back(Effect::Abort { transfer: id });
        self.on_failed(id, why, now);
    }

    pub(super) fn on_failed(&mut self, id: TransferId, why: Failure, now: Timestamp) {
        let Some(transfer) = self.transfers.live.remove(&id) else { return };
        self.let_go(&transfer, now);
        match &transfer.source {
            Source::Neighbour(peer) => self.neighbour_failed(transfer.key, &peer.clone(), &transfer, why, now),
            Source::Origin if matches!(why, Failure::OriginMissing | Failure::NotHere) => {
                self.origin_lacks(&transfer, now);
            }
            Source::Origin if why == Failure::Local => self.cannot_take(now),
            Source::Origin => self.central_failed(now),
        }
    }

    fn neighbour_failed(&mut self, key: TableKey, peer: &DeviceId, transfer: &Transfer, why: Failure, now: Timestamp) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            match why {
                Failure::Busy => neighbour.busy.fail(BUSY, now, &mut self.random),
                Failure::NotHere => neighbour.failing.fail(NOT_HERE, now, &mut self.random),
                _ => neighbour.failing.fail(STALLED, now, &mut self.random),
            }
        }
        if why != Failure::NotHere {
            return;
        }
        if let Some(table) = self.tables.get_mut(&key) {
            transfer.left.iter().for_each(|piece| table.refuse(peer, *piece, now));
        }
    }

    /// Central has not what the manifest says: others may see more of it, and later we may.
    fn origin_lacks(&mut self, transfer: &Transfer, now: Timestamp) {
        let Some(local) = self.tables.get_mut(&transfer.key).and_then(|t| t.local.as_mut()) else { return };
        let Some(first) = transfer.left.first() else { return };
        let run = local.run_of(*first);
        local.missing.entry(run).or_default().fail(MISSING, now, &mut self.random);
        self.central_lacks_a_run(transfer.key, now);
    }

    pub(super) fn on_evicted(&mut self, manifest: &Digest, piece: u32, now: Timestamp) {
        let Some(key) = self.wanted.get(manifest).copied() else { return };
        let Some(table) = self.tables.get_mut(&key) else { return };
        let (Some(local), Some(own)) = (&mut table.local, &mut table.own) else { return };
        own.need.clear(piece);
        if own.have.clear(piece) {
            local.have_changed = true;
            self.bump(key, now);
        }
    }
}
