//! Statuses in and out: each peer's newest one reaches its neighbours, and where all are to know it the connected fleet.
//!
//! What a peer sends is at most a hint. It can claim pieces it has not and needs that nobody has; it cannot make
//! us take wrong bytes, and what we keep for it is bounded.

use super::limits::{
    BANS_MAX, BITMAP_BYTES_MAX, SEQ_AHEAD_MAX, SEQ_MAX, STATUS_BYTES, TABLES_MAX, TABLES_PER_NEIGHBOUR_MAX, UPDATE,
    UPDATE_BYTES_MAX,
};
use super::neighbours::Neighbour;
use super::outage::Word;
use super::peers::Slot;
use super::table::{Known, Own, Room, Table, TableKey};
use super::{Effect, Swarm};
use crate::wire::transfer::{PeerStatus, STATUSES_MAX, SwarmUpdate};
use crate::{Bitmap, DeviceId, Timestamp};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

impl Swarm {
    pub(super) fn on_update(&mut self, from: &DeviceId, update: SwarmUpdate, now: Timestamp) {
        let key = TableKey { manifest: update.manifest, pieces: update.pieces };
        let fits = update.statuses.len() <= STATUSES_MAX && update.pieces <= Bitmap::LEN_MAX;
        if !fits || !self.neighbours.contains_key(from) || !self.admit_table(key, from, now) {
            return;
        }
        for status in update.statuses {
            self.on_status(key, from, status, now);
        }
    }

    /// Whether there is, or can be, a table for what the update is about.
    fn admit_table(&mut self, key: TableKey, from: &DeviceId, now: Timestamp) -> bool {
        if self.wanted.get(&key.manifest).is_some_and(|wanted| *wanted != key) {
            return false;
        }
        if let Some(table) = self.tables.get_mut(&key) {
            table.heard_at = now;
            return true;
        }
        self.make_room_for_table(Some(from));
        let table = Table { introduced_by: Some(from.clone()), heard_at: now, ..Table::default() };
        self.tables.insert(key, table);
        true
    }

    /// Drops the unwanted table that was longest not heard of, of the neighbour that brings too many, or of all.
    pub(super) fn make_room_for_table(&mut self, from: Option<&DeviceId>) {
        let by_sender = |_: &TableKey, table: &Table| table.introduced_by.as_ref() == from;
        if self.unwanted(by_sender).count() >= TABLES_PER_NEIGHBOUR_MAX {
            self.drop_oldest_unwanted(by_sender);
        } else if self.unwanted(|_, _| true).count() >= TABLES_MAX {
            self.drop_oldest_unwanted(|_, _| true);
        }
    }

    fn unwanted(&self, among: impl Fn(&TableKey, &Table) -> bool) -> impl Iterator<Item = (&TableKey, &Table)> {
        self.tables.iter().filter(move |(key, table)| table.local.is_none() && among(key, table))
    }

    /// Of these unwanted tables the one goes that was longest not heard of, if there is one.
    fn drop_oldest_unwanted(&mut self, among: impl Fn(&TableKey, &Table) -> bool) -> bool {
        let oldest = self.unwanted(among).min_by_key(|(_, table)| table.heard_at).map(|(key, _)| *key);
        let Some(key) = oldest else { return false };
        self.tables.remove(&key);
        self.neighbours.values_mut().for_each(|n| n.forget_table(key));
        true
    }

    /// Bytes that the bitmaps of all statuses of others may take.
    fn bitmap_bytes(&self) -> usize {
        self.tables.iter().map(|(key, table)| key.status_bytes() * table.peers.len()).sum()
    }

    fn on_status(&mut self, key: TableKey, from: &DeviceId, status: PeerStatus, now: Timestamp) {
        let lengths = [&status.have, &status.need, &status.claims].map(Bitmap::len);
        if lengths != [key.pieces; 3] || status.seq > SEQ_MAX || self.is_banned(&status.peer, now) {
            return;
        }
        if status.peer == self.me {
            return self.on_echo(key, from, &status, now);
        }
        let Some(table) = self.tables.get(&key) else { return };
        let slot = table.peers.slot(&status.peer);
        let Some((slot, known)) = slot.and_then(|slot| Some((slot, table.peers.at(slot)?.status.seq))) else {
            return self.on_news(key, from, None, status, now);
        };
        if known >= status.seq
            && let Some(neighbour) = self.neighbours.get_mut(from)
        {
            neighbour.knows(key, slot, status.seq, now);
        }
        match known.cmp(&status.seq) {
            Ordering::Greater => self.answer_older(key, from, slot, known, now),
            Ordering::Equal => self.answer_twin(key, from, slot, &status, now),
            Ordering::Less => self.on_news(key, from, Some(slot), status, now),
        }
    }

    /// A status that is newer than what we know of that peer.
    fn on_news(&mut self, key: TableKey, from: &DeviceId, slot: Option<Slot>, mut status: PeerStatus, now: Timestamp) {
        let old = slot.and_then(|slot| self.tables.get(&key)?.peers.at(slot));
        let near = old.map_or_else(|| self.neighbours.contains_key(&status.peer), |old| old.near);
        let word = Word::of(old.map(|old| &old.status), &status);
        if near {
            // Whatever others say of it: here it is reached.
            let address = || self.neighbours.get(&status.peer).map(|neighbour| neighbour.address);
            status.address = old.map_or_else(address, |old| old.status.address);
        }
        if slot.is_none() && !self.make_room_for_status(key, &status, near, now) {
            return;
        }
        self.hear_of_central(key, word, now);
        let Some(table) = self.tables.get_mut(&key) else { return };
        let seq = status.seq;
        let was_for_all = slot.and_then(|slot| table.peers.at(slot)).is_some_and(|old| table.is_for_all(old));
        let (slot, urgent) = table.put((&key.manifest, self.slowest), slot, status, near, now);
        let for_all = was_for_all || table.peers.at(slot).is_some_and(|known| table.is_for_all(known));
        let pause = if urgent { Duration::ZERO } else { table.forwarding() };
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.knows(key, slot, seq, now);
        }
        if for_all {
            self.spread(key, slot, seq, pause, now);
        }
        self.changed |= urgent || near;
    }

    /// Whether there is room for the first status of a peer.
    fn make_room_for_status(&mut self, key: TableKey, status: &PeerStatus, near: bool, now: Timestamp) -> bool {
        let Some(table) = self.tables.get(&key) else { return false };
        let Some(welcome) = table.welcome(&key.manifest, status, near) else { return false };
        while self.bitmap_bytes() + key.status_bytes() > BITMAP_BYTES_MAX {
            // What nobody here wants gives way.
            if !self.drop_oldest_unwanted(|other, _| *other != key) {
                return false;
            }
        }
        let Some(table) = self.tables.get(&key) else { return false };
        match table.room(welcome) {
            Room::Free => true,
            Room::InPlaceOf(peer) => {
                self.forget_peer(key, &peer, now);
                true
            }
            Room::None => false,
        }
    }

    /// We know a newer one: the sender gets it.
    fn answer_older(&mut self, key: TableKey, from: &DeviceId, peer: Slot, seq: u64, now: Timestamp) {
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.tell(key, peer, seq, Duration::ZERO, now);
        }
    }

    /// A restarted peer can come to a number that it used before: it gets its old status back and jumps over it.
    fn answer_twin(&mut self, key: TableKey, from: &DeviceId, slot: Slot, status: &PeerStatus, now: Timestamp) {
        if status.peer != *from {
            return;
        }
        let known = self.tables.get(&key).and_then(|t| t.peers.at(slot)).map(|k| &k.status);
        let differs = known.is_some_and(|known| {
            (&known.have, &known.need, &known.claims) != (&status.have, &status.need, &status.claims)
        });
        if let (true, Some(neighbour)) = (differs, self.neighbours.get_mut(from)) {
            neighbour.forget(key, slot);
            neighbour.tell(key, slot, status.seq, Duration::ZERO, now);
        }
    }

    /// Somebody tells us our own status: after a restart it can be one that we no longer know of.
    fn on_echo(&mut self, key: TableKey, from: &DeviceId, status: &PeerStatus, now: Timestamp) {
        let is_made_up = status.seq > self.seq.saturating_add(SEQ_AHEAD_MAX);
        let Some(table) = self.tables.get_mut(&key).filter(|_| !is_made_up) else { return };
        let own = table.own.get_or_insert_with(|| Own::new(key.pieces));
        let same = (&own.have, &own.need, &own.claims) == (&status.have, &status.need, &status.claims);
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.knows(key, Slot::ME, status.seq, now);
        }
        if status.seq > own.seq || (status.seq == own.seq && !same) {
            self.seq = self.seq.max(status.seq);
            self.bump(key, now);
        }
    }

    /// Our own status has changed: all neighbours get it.
    pub(super) fn bump(&mut self, key: TableKey, now: Timestamp) {
        let Some(own) = self.tables.get_mut(&key).and_then(|t| t.own.as_mut()) else { return };
        self.seq += 1;
        own.seq = self.seq;
        let seq = self.seq;
        self.spread(key, Slot::ME, seq, Duration::ZERO, now);
    }

    fn spread(&mut self, key: TableKey, peer: Slot, seq: u64, pause: Duration, now: Timestamp) {
        for neighbour in self.neighbours.values_mut() {
            neighbour.tell(key, peer, seq, pause, now);
        }
    }

    /// A new neighbour gets all that is for all, and its own old status.
    pub(super) fn tell_everything(&mut self, to: &DeviceId, now: Timestamp) {
        let Some(neighbour) = self.neighbours.get_mut(to) else { return };
        for (key, table) in &self.tables {
            if let Some(own) = &table.own {
                neighbour.tell(*key, Slot::ME, own.seq, Duration::ZERO, now);
            }
            let for_it = |known: &Known| table.is_for_all(known) || known.status.peer == *to;
            for (peer, known) in table.peers.slots().filter(|(_, known)| for_it(known)) {
                neighbour.tell(*key, peer, known.status.seq, Duration::ZERO, now);
            }
        }
    }

    /// Sends each neighbour what is due, one update at a time.
    pub(super) fn flush(&mut self, now: Timestamp) {
        for (peer, neighbour) in &mut self.neighbours {
            if neighbour.update_at().is_none_or(|at| at > now) {
                continue;
            }
            let update = compose(neighbour, &self.tables, (&self.me, self.weight), now);
            neighbour.look_ahead();
            if let Some(update) = update {
                self.effects.push_back(Effect::Send { peer: peer.clone(), update });
            }
        }
    }

    /// Forgets a peer's statuses and takes none for a while.
    pub(super) fn ban(&mut self, peer: &DeviceId, now: Timestamp) {
        self.banned.retain(|_, until| *until > now);
        if self.banned.len() >= BANS_MAX {
            let first = self.banned.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| peer.clone());
            first.and_then(|peer| self.banned.remove(&peer));
        }
        self.banned.insert(peer.clone(), now.after(super::limits::BAN));
        let keys: Vec<TableKey> = self.tables.keys().copied().collect();
        for key in keys {
            self.forget_peer(key, peer, now);
        }
    }

    pub(super) fn is_banned(&self, peer: &DeviceId, now: Timestamp) -> bool {
        self.banned.get(peer).is_some_and(|until| *until > now)
    }

    /// Drops a peer's status.
    pub(super) fn forget_peer(&mut self, key: TableKey, peer: &DeviceId, now: Timestamp) {
        let Some(table) = self.tables.get_mut(&key) else { return };
        let Some(slot) = table.peers.slot(peer) else { return };
        table.remove(peer, now);
        self.neighbours.values_mut().for_each(|n| n.forget(key, slot));
    }
}

/// The next update for a neighbour: statuses of one manifest, our own first, as many as are due and fit.
fn compose(
    neighbour: &mut Neighbour,
    tables: &BTreeMap<TableKey, Table>,
    (me, weight): (&DeviceId, u16),
    now: Timestamp,
) -> Option<SwarmUpdate> {
    let most = |key: TableKey| STATUSES_MAX.min(1 + UPDATE_BYTES_MAX / (STATUS_BYTES + key.status_bytes()));
    // Our own number is the lowest: our status goes first.
    while let Some((key, due)) = neighbour.take_due(now, most) {
        let table = tables.get(&key);
        let mut statuses = Vec::with_capacity(due.len());
        for peer in due {
            let status = table.and_then(|t| t.status(me, peer, weight, now));
            if let Some(status) = status.filter(|s| neighbour.is_news(key, peer, s.seq)) {
                neighbour.knows(key, peer, status.seq, now);
                statuses.push(status);
            }
        }
        if !statuses.is_empty() {
            neighbour.update_after = now.after(UPDATE);
            return Some(SwarmUpdate { manifest: key.manifest, pieces: key.pieces, statuses });
        }
    }
    None
}

impl Table {
    /// The status of a peer, or ours, as it is sent at `now`: what is left of its lease.
    fn status(&self, me: &DeviceId, peer: Slot, weight: u16, now: Timestamp) -> Option<PeerStatus> {
        if peer == Slot::ME {
            return self.own.as_ref().map(|own| own.status(me, weight, now));
        }
        let known = self.peers.at(peer)?;
        let mut status = known.status.clone();
        if status.lease_ms > 0 {
            status.lease_ms = super::table::millis(known.lease_until.since(now));
        }
        Some(status)
    }
}

const _: () = assert!(BITMAP_BYTES_MAX > 3 * Bitmap::LEN_MAX as usize / 8);
