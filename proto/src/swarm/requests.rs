//! What this peer asks of its neighbours: the rarest pieces first, each of one neighbour at a time.

use super::claims::soon;
use super::limits::{FAR_COPY_DOUBT, RELAY, REQUEST_BYTES_MAX, REQUEST_TIME, REQUESTS_MAX, RUN_TIME};
use super::table::{Table, TableKey};
use super::transfers::{Source, Transfer};
use super::{Effect, Swarm};
use crate::{Bitmap, DeviceId, Timestamp};
use std::collections::BTreeSet;

impl Swarm {
    /// Asks neighbours for as much as the limits allow.
    pub(super) fn plan_requests(&mut self, key: TableKey, now: Timestamp) {
        if !self.has_free_request() || self.fetches_slowly(now) {
            return;
        }
        for piece in self.wanted_nearby(key) {
            if !self.has_free_request() {
                return;
            }
            if let Some(peer) = self.choose_neighbour(key, piece, now) {
                self.start_request(key, piece, peer, now);
            }
        }
    }

    /// All wait for what comes slowly from central: nothing else is asked for that would take its port.
    fn fetches_slowly(&self, now: Timestamp) -> bool {
        let slow = |t: &Transfer| {
            let Some(local) = self.tables.get(&t.key).and_then(|table| table.local.as_ref()) else { return false };
            let longest = t.left.iter().map(|piece| local.length(*piece)).max().unwrap_or(0);
            let known = self.origin_bytes_per_s > 0;
            now.since(t.piece_at) >= RUN_TIME || known && longest > soon(self.origin_bytes_per_s)
        };
        self.transfers.live.values().any(|t| t.source == Source::Origin && slow(t))
    }

    fn has_free_request(&self) -> bool {
        let (count, bytes) = self.transfers.near_load();
        let soon = self.transfers.inflow_per_s().saturating_mul(REQUEST_TIME.as_secs());
        count < 2 || (count < REQUESTS_MAX && bytes < REQUEST_BYTES_MAX.min(soon))
    }

    /// What is wanted here and some neighbour has: the rarest first, ties by chance, so that neighbours of a
    /// fetcher begin with different pieces.
    fn wanted_nearby(&mut self, key: TableKey) -> Vec<u32> {
        let Some(table) = self.tables.get(&key) else { return Vec::new() };
        let (Some(local), Some(own)) = (&table.local, &table.own) else { return Vec::new() };
        let mut wanted = own.need.clone();
        wanted.union_with(&local.relay);
        let mut order: Vec<(u32, u64, u32)> = Vec::new();
        for piece in wanted.iter_minus(&own.have) {
            let near = local.counts[piece as usize].near;
            if near > 0 && !local.in_flight.get(piece) {
                order.push((near, self.random.next(), piece));
            }
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, piece)| piece).collect()
    }

    /// The least loaded neighbour that offers `piece` and may be asked now.
    fn choose_neighbour(&mut self, key: TableKey, piece: u32, now: Timestamp) -> Option<DeviceId> {
        let table = self.tables.get(&key)?;
        let mut best: Option<(bool, u32, u64, &DeviceId)> = None;
        for (peer, neighbour) in &self.neighbours {
            let offers = table.peers.get(peer).is_some_and(|k| k.near && k.offers(piece));
            if !offers || !neighbour.may_be_asked(now) {
                continue;
            }
            let choice = (neighbour.is_late, neighbour.requests, self.random.next(), peer);
            best = Some(best.map_or(choice, |best| best.min(choice)));
        }
        best.map(|(_, _, _, peer)| peer.clone())
    }

    /// What one neighbour is late with, while another offers it, is asked of that: a port that has become slow is no reason to wait for
    /// the last pieces.
    pub(super) fn leave_the_late(&mut self, key: TableKey, now: Timestamp) {
        for id in self.transfers.select(|t| t.key == key && matches!(t.source, Source::Neighbour(_))) {
            let late = self.transfers.live.get(&id).filter(|t| self.transfers.is_late(t, now));
            let Some((peer, piece)) = late.and_then(Transfer::asked) else { continue };
            let Some(table) = self.tables.get(&key) else { return };
            let others =
                self.neighbours.iter().filter(|(other, n)| **other != peer && !n.is_late && n.may_be_asked(now));
            let mut offers = others.filter_map(|(other, _)| table.peers.get(other));
            if offers.any(|known| known.near && known.offers(piece)) {
                self.abort(id, now);
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.is_late = true;
                }
            }
        }
    }

    fn start_request(&mut self, key: TableKey, piece: u32, peer: DeviceId, now: Timestamp) {
        let Some(local) = self.tables.get_mut(&key).and_then(|t| t.local.as_mut()) else { return };
        local.in_flight.set(piece);
        let (bytes, left) = (local.length(piece), BTreeSet::from([piece]));
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.requests += 1;
        }
        let source = Source::Neighbour(peer.clone());
        let transfer =
            self.transfers.start(Transfer { key, source, left, bytes, moved_at: now, piece_at: now, given_at: 0 });
        self.effects.push_back(Effect::FetchFromPeer { transfer, manifest: key.manifest, piece, peer });
    }
}

impl Table {
    /// Finds what stuck peers lack: it is relayed, and after longer no far copy of it is believed in.
    pub(super) fn look_for_the_stuck(&mut self, now: Timestamp) {
        let (Some(local), Some(own)) = (&mut self.local, &self.own) else { return };
        local.relay = Bitmap::new(own.have.len());
        local.doubtful = Bitmap::new(own.have.len());
        local.look_for_far_copies(now);
        let others = self.peers.values().filter(|k| k.incomplete);
        let others = others.map(|k| (&k.status.need, &k.status.have, k.progress_at, k.status.stuck));
        for (need, have, progress_at, says_so) in others.chain([(&own.need, &own.have, own.progress_at, false)]) {
            let stuck_for = now.since(progress_at);
            if stuck_for < RELAY && !says_so {
                continue;
            }
            let lacked = need.minus(have);
            local.relay.union_with(&lacked);
            if stuck_for >= FAR_COPY_DOUBT {
                for piece in lacked.iter() {
                    if local.is_far_for(piece, now) >= FAR_COPY_DOUBT {
                        local.doubtful.set(piece);
                    }
                }
            }
        }
    }
}
