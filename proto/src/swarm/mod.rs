//! Who fetches which piece of a release from whom.
//!
//! A peer that wants a manifest's pieces takes them from its neighbours, the rarest first. What nobody has, a few
//! elected peers fetch from central, each its own runs of neighbouring frames, under a lease that lives by
//! bytes; who comes next in the line takes over from a holder that fell silent. All that peers know of one
//! another travels in statuses. Neighbours tell each other their own; those of the witnesses, of fetchers and of who is
//! stuck are flooded through the connected fleet, the newest of each. In a small fleet all are witnesses. Whoever has few
//! neighbours that want the same seeks such.
//!
//! The core is driven by [`Swarm::handle`], then [`Swarm::poll`] until it is empty, then a wait until
//! [`Swarm::next_wakeup`] or the next input. Times are milliseconds of a steady clock.

mod backoff;
mod claims;
mod company;
mod election;
mod events;
mod fetchers;
pub mod limits;
mod local;
mod neighbours;
mod outage;
mod outcomes;
mod peers;
mod requests;
mod runs;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod transfers;
mod updates;

pub use events::{Effect, Failure, Input};
pub use runs::PieceSpan;
pub use transfers::TransferId;

use crate::draw::Draw;
use crate::{Bitmap, DeviceId, Digest, Timestamp};
use backoff::Backoff;
use local::Local;
use neighbours::Neighbour;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use table::{Own, Table, TableKey};
use transfers::{Source, Transfers};

/// Decides for one peer who fetches what from whom. See the module for how it is driven.
///
/// Inputs go in by [`handle`](Swarm::handle); decisions come out of [`poll`](Swarm::poll);
/// [`have`](Swarm::have), [`fetchers`](Swarm::fetchers) and [`next_wakeup`](Swarm::next_wakeup) only look.
#[derive(Debug)]
pub struct Swarm {
    me: DeviceId,
    origin: bool,
    weight: u16,
    random: Draw,
    now: Timestamp,
    /// The newest number of a status of ours, of whatever manifest.
    seq: u64,
    tables: BTreeMap<TableKey, Table>,
    wanted: BTreeMap<Digest, TableKey>,
    neighbours: BTreeMap<DeviceId, Neighbour>,
    /// Since when no neighbour stayed for [`limits::SETTLE`].
    alone_since: Option<Timestamp>,
    /// Since when there are neighbours.
    met_at: Option<Timestamp>,
    banned: BTreeMap<DeviceId, Timestamp>,
    transfers: Transfers,
    /// How fast central gives to us; 0 before it has given a piece.
    origin_bytes_per_s: u64,
    /// How slowly, in bytes a second, a long piece may come from central without its claim being doubted.
    slowest: u64,
    /// Pause after central could not be reached.
    unreachable: Backoff,
    tick_at: Option<Timestamp>,
    /// When the next input by time is due; asked for more often than it changes.
    wakeup: Option<Timestamp>,
    /// Something happened that may allow new transfers.
    changed: bool,
    /// A tick is being handled.
    ticked: bool,
    effects: VecDeque<Effect>,
}

impl Swarm {
    /// A peer that may fetch from central if `origin`, with `weight` in the election (0: never elected).
    pub fn new(me: DeviceId, origin: bool, weight: u16, seed: u64) -> Self {
        Swarm {
            me,
            origin,
            weight,
            random: Draw::new(seed),
            now: Timestamp::ZERO,
            seq: 0,
            tables: BTreeMap::new(),
            wanted: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            alone_since: None,
            met_at: None,
            banned: BTreeMap::new(),
            transfers: Transfers::default(),
            origin_bytes_per_s: 0,
            slowest: limits::LEASE_BYTES_PER_S_MIN,
            unreachable: Backoff::default(),
            tick_at: None,
            wakeup: None,
            changed: false,
            ticked: false,
            effects: VecDeque::new(),
        }
    }

    /// Takes in what happened at `now`, which never runs backwards.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.now = self.now.max(now);
        let now = self.now;
        self.changed |= !matches!(input, Input::Progress { .. } | Input::Update { .. });
        match input {
            Input::Want { manifest, frames, need, have } => self.want(manifest, frames, &need, &have, now),
            Input::Unwant { manifest } => self.unwant(&manifest, now),
            Input::Connected { peer, address } => self.connected(peer, address, now),
            Input::Disconnected { peer } => self.disconnected(&peer, now),
            Input::Update { from, update } => self.on_update(&from, update, now),
            Input::Progress { transfer, bytes } => self.on_progress(transfer, bytes, now),
            Input::Verified { transfer, piece } => self.on_verified(transfer, piece, now),
            Input::Corrupt { transfer, .. } => self.on_corrupt(transfer, now),
            Input::Failed { transfer, why } => self.on_failed(transfer, why, now),
            Input::Evicted { manifest, piece } => self.on_evicted(&manifest, piece, now),
            Input::Wakeup => {}
        }
        self.note_company(now);
        self.run_timers(now);
        if std::mem::take(&mut self.changed) {
            self.decide(now);
        }
        self.ticked = false;
        self.flush(now);
        self.plan_wakeup();
    }

    /// A neighbour that goes as soon as it came does not keep us waiting for others for ever.
    fn note_company(&mut self, now: Timestamp) {
        if self.neighbours.is_empty() {
            self.met_at = None;
            self.alone_since.get_or_insert(now);
        } else if now >= self.met_at.get_or_insert(now).after(limits::SETTLE) {
            self.alone_since = None;
        }
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Verified pieces of a wanted manifest.
    pub fn have(&self, manifest: &Digest) -> Option<&Bitmap> {
        let key = self.wanted.get(manifest)?;
        self.tables.get(key)?.own.as_ref().map(|own| &own.have)
    }

    fn decide(&mut self, now: Timestamp) {
        let keys: Vec<TableKey> = self.wanted.values().copied().collect();
        for key in keys {
            self.plan_requests(key, now);
            self.plan_origin(key, now);
            self.announce_have(key);
        }
        self.note_activity(now);
    }

    /// Emits [`Effect::Have`] and [`Effect::Complete`] when there is news.
    fn announce_have(&mut self, key: TableKey) {
        let Some(table) = self.tables.get_mut(&key) else { return };
        let (Some(local), Some(own)) = (&mut table.local, &table.own) else { return };
        let manifest = key.manifest;
        if std::mem::take(&mut local.have_changed) {
            self.effects.push_back(Effect::Have { manifest });
        }
        if !local.completed && !table::lacks(&own.need, &own.have) {
            local.completed = true;
            self.effects.push_back(Effect::Complete { manifest });
        }
    }

    fn want(&mut self, manifest: Digest, mut frames: Vec<PieceSpan>, need: &Bitmap, have: &Bitmap, now: Timestamp) {
        let pieces = u32::try_from(frames.len()).unwrap_or(u32::MAX).min(Bitmap::LEN_MAX);
        frames.truncate(pieces as usize);
        let key = TableKey { manifest, pieces };
        if self.wanted.get(&manifest).is_some_and(|wanted| *wanted != key) {
            self.unwant(&manifest, now);
        }
        let table = self.tables.entry(key).or_default();
        let own = table.own.get_or_insert_with(|| Own::new(pieces));
        own.need = fitted(need, pieces);
        own.have = fitted(have, pieces);
        own.progress_at = now;
        let completed = own.need.is_empty();
        if table.local.is_none() {
            table.adopt(Local::new(frames), self.slowest);
            table.settle.begin(now);
            table.seek_at = now.after(limits::SEEK);
        }
        if let Some(local) = &mut table.local {
            local.completed = completed;
        }
        self.wanted.insert(manifest, key);
        self.bump(key, now);
        self.refresh_origin(now);
    }

    fn unwant(&mut self, manifest: &Digest, now: Timestamp) {
        let Some(key) = self.wanted.remove(manifest) else { return };
        self.make_room_for_table(None);
        for id in self.transfers.select(|t| t.key == key) {
            self.abort(id, now);
        }
        let Some(table) = self.tables.get_mut(&key) else { return };
        table.local = None;
        table.introduced_by = None;
        table.heard_at = now;
        if let Some(own) = &mut table.own {
            *own = Own { seq: own.seq, ..Own::new(key.pieces) };
        }
        table.unrank(&self.me, now);
        self.bump(key, now);
    }

    fn connected(&mut self, peer: DeviceId, address: SocketAddr, now: Timestamp) {
        if peer == self.me || self.is_banned(&peer, now) {
            return;
        }
        self.end_requests_to(&peer, now);
        let was_alone = self.neighbours.is_empty();
        self.neighbours.insert(peer.clone(), Neighbour::at(address));
        for table in self.tables.values_mut() {
            table.set_near(&peer, Some(address));
            if was_alone {
                table.settle.meet(now);
            } else {
                table.settle.extend(now);
            }
        }
        self.tell_everything(&peer, now);
    }

    fn disconnected(&mut self, peer: &DeviceId, now: Timestamp) {
        self.end_requests_to(peer, now);
        self.neighbours.remove(peer);
        for table in self.tables.values_mut() {
            table.set_near(peer, None);
        }
    }

    fn end_requests_to(&mut self, peer: &DeviceId, now: Timestamp) {
        let source = Source::Neighbour(peer.clone());
        for id in self.transfers.select(|t| t.source == source) {
            self.abort(id, now);
        }
    }
}

/// The same set among `len` indices.
fn fitted(map: &Bitmap, len: u32) -> Bitmap {
    let mut out = Bitmap::new(len);
    out.union_with(map);
    out
}
