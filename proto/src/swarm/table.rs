//! What is known about one manifest: the statuses of all peers, our own, and what we want of it.

use super::backoff::Backoff;
use super::claims::Settle;
use super::election::Ranking;
use super::limits::{BITMAP_BYTES_MAX, FORWARD, FORWARD_PER_PEER, LEASE, LEASE_WITHOUT_PIECE_MAX, PEERS_MAX, RENEW};
use super::runs::{self, PieceSpan};
use crate::wire::transfer::PeerStatus;
use crate::{Bitmap, DeviceId, Digest, Timestamp};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// A manifest and how many pieces it is said to have: a lie about the number is about another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableKey {
    pub(super) manifest: Digest,
    pub(super) pieces: u32,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Others, by their newest statuses.
    pub(super) peers: BTreeMap<DeviceId, Known>,
    /// How many of them lack something that they need.
    pub(super) incomplete: usize,
    pub(super) own: Option<Own>,
    /// Present while the manifest is wanted here.
    pub(super) local: Option<Local>,
    pub(super) ranking: Ranking,
    pub(super) settle: Settle,
    /// Since when somebody lacks something.
    pub(super) active_since: Option<Timestamp>,
    /// When our own status is repeated next, while active.
    pub(super) renew_at: Timestamp,
    /// Who brought up a manifest that is not wanted here, and when it was last heard of.
    pub(super) introduced_by: Option<DeviceId>,
    pub(super) heard_at: Timestamp,
}

/// Another peer's newest status.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) status: PeerStatus,
    /// Whether it is a neighbour, whose copies can be asked for.
    pub(super) near: bool,
    /// Whether the connection to it was lost since it was last heard of.
    pub(super) lost: bool,
    pub(super) heard_at: Timestamp,
    /// Until when its claims hold; when its last claim ended, or it was first heard of.
    pub(super) lease_until: Timestamp,
    /// When it last had a new piece, or began to need or claim some.
    pub(super) progress_at: Timestamp,
    /// Pieces that it says it has and did not have when asked.
    pub(super) refused: Bitmap,
    pub(super) incomplete: bool,
}

/// Our own status.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) seq: u64,
    /// Whether we can fetch from central right now.
    pub(super) origin: bool,
    pub(super) have: Bitmap,
    pub(super) need: Bitmap,
    pub(super) claims: Bitmap,
    pub(super) lease_until: Timestamp,
    /// Whether bytes from central arrived since the lease was last renewed.
    pub(super) moved: bool,
    /// When we last got a piece, or began to need some.
    pub(super) progress_at: Timestamp,
}

/// What we want of a manifest.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) frames: Vec<PieceSpan>,
    pub(super) runs: Vec<Range<u32>>,
    /// For each run, since when a piece of it is needed, nowhere to be had and not being fetched.
    pub(super) open_since: Vec<Option<Timestamp>>,
    /// Runs that central did not have or had wrong.
    pub(super) missing: BTreeMap<u32, Backoff>,
    pub(super) in_flight: Bitmap,
    /// For each piece, how many peers need and lack it, have it nearby, have it far away.
    pub(super) counts: Vec<Count>,
    /// Pieces to pass on for peers that are stuck.
    pub(super) relay: Bitmap,
    /// Pieces whose far copies are in doubt.
    pub(super) doubtful: Bitmap,
    pub(super) have_changed: bool,
    pub(super) completed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) need: u32,
    pub(super) near: u32,
    pub(super) far: u32,
}

/// What a new status changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Others must know soon.
    pub(super) urgent: bool,
    /// There is one more candidate for fetching from central.
    pub(super) new_candidate: bool,
}

impl Table {
    /// Takes in a newer status of another peer.
    pub(super) fn put(&mut self, manifest: &Digest, status: PeerStatus, near: bool, now: Timestamp) -> Change {
        let old = self.take(&status.peer);
        let known = Known::new(status, old.as_ref(), near, now);
        let weight = if known.status.origin { known.status.weight } else { 0 };
        let change = Change {
            urgent: old.as_ref().is_none_or(|old| old.differs_in_more_than_pieces(&known)),
            new_candidate: self.ranking.set(manifest, &known.status.peer, weight),
        };
        self.count(&known, 1);
        self.peers.insert(known.status.peer.clone(), known);
        change
    }

    /// Forgets another peer.
    pub(super) fn remove(&mut self, manifest: &Digest, peer: &DeviceId) -> bool {
        self.ranking.set(manifest, peer, 0);
        self.take(peer).is_some()
    }

    /// Changes what is known of a peer besides its status.
    pub(super) fn amend(&mut self, peer: &DeviceId, amend: impl FnOnce(&mut Known)) {
        if let Some(mut known) = self.take(peer) {
            amend(&mut known);
            self.count(&known, 1);
            self.peers.insert(peer.clone(), known);
        }
    }

    fn take(&mut self, peer: &DeviceId) -> Option<Known> {
        let old = self.peers.remove(peer)?;
        self.count(&old, -1);
        Some(old)
    }

    fn count(&mut self, known: &Known, by: i32) {
        self.incomplete = self.incomplete.saturating_add_signed(if known.incomplete { by as isize } else { 0 });
        if let Some(local) = &mut self.local {
            local.count(known, by);
        }
    }

    /// Whether one more status of a peer fits in.
    pub(super) fn has_room(&self, key: &TableKey, peer: &DeviceId, bytes_used: usize) -> bool {
        self.peers.contains_key(peer)
            || (self.peers.len() < PEERS_MAX && bytes_used + key.status_bytes() <= BITMAP_BYTES_MAX)
    }

    /// Starts wanting: counts what is known so far.
    pub(super) fn adopt(&mut self, local: Local) {
        self.local = Some(local);
        let peers = std::mem::take(&mut self.peers);
        if let Some(local) = &mut self.local {
            peers.values().for_each(|known| local.count(known, 1));
        }
        self.peers = peers;
    }

    /// Whether somebody lacks something that is needed.
    pub(super) fn is_active(&self) -> bool {
        self.incomplete > 0 || self.own.as_ref().is_some_and(|own| lacks(&own.need, &own.have))
    }

    /// How often a status is repeated while active.
    pub(super) fn renewal(&self) -> Duration {
        RENEW.max(self.forwarding() * 3)
    }

    /// The least time between two updates about another's progress.
    pub(super) fn forwarding(&self) -> Duration {
        FORWARD.max(FORWARD_PER_PEER * self.peers.len() as u32)
    }
}

impl TableKey {
    /// Bytes that the bitmaps of one status take.
    pub(super) fn status_bytes(&self) -> usize {
        3 * self.pieces.div_ceil(8) as usize
    }
}

impl Known {
    fn new(status: PeerStatus, old: Option<&Known>, near: bool, now: Timestamp) -> Self {
        let lease = Duration::from_millis(u64::from(status.lease_ms)).min(LEASE);
        let lease_until = match old {
            _ if !lease.is_zero() => now.after(lease),
            Some(old) => old.lease_until.min(now),
            None => now,
        };
        let progress_at = old.filter(|old| !old.moves_on_with(&status)).map_or(now, |old| old.progress_at);
        let mut refused = Bitmap::new(status.have.len());
        for piece in old.iter().flat_map(|old| old.refused.iter()).filter(|p| status.have.get(*p)) {
            refused.set(piece);
        }
        let incomplete = lacks(&status.need, &status.have);
        Known { status, near, lost: false, heard_at: now, lease_until, progress_at, refused, incomplete }
    }

    /// Whether `new` shows a new piece, or a new reason to wait for one.
    fn moves_on_with(&self, new: &PeerStatus) -> bool {
        let old = &self.status;
        let claims_again = old.claims.is_empty() && !new.claims.is_empty();
        claims_again || old.need != new.need || lacks(&new.have, &old.have)
    }

    fn differs_in_more_than_pieces(&self, new: &Known) -> bool {
        let (a, b) = (&self.status, &new.status);
        a.origin != b.origin || a.weight != b.weight || a.need != b.need || a.claims != b.claims || b.lease_ms > 0
    }

    /// Whether it can be asked for `piece`, if it is near.
    pub(super) fn offers(&self, piece: u32) -> bool {
        self.status.have.get(piece) && !self.refused.get(piece)
    }

    /// Whether its claims hold.
    pub(super) fn holds_lease(&self, now: Timestamp) -> bool {
        now < self.lease_until && now.since(self.progress_at) < LEASE_WITHOUT_PIECE_MAX
    }
}

impl Own {
    pub(super) fn new(pieces: u32) -> Self {
        let none = Bitmap::new(pieces);
        Own {
            seq: 0,
            origin: false,
            have: none.clone(),
            need: none.clone(),
            claims: none,
            lease_until: Timestamp::ZERO,
            moved: false,
            progress_at: Timestamp::ZERO,
        }
    }

    /// The status as it is sent at `now`.
    pub(super) fn status(&self, peer: &DeviceId, weight: u16, now: Timestamp) -> PeerStatus {
        PeerStatus {
            peer: peer.clone(),
            seq: self.seq,
            origin: self.origin,
            weight,
            have: self.have.clone(),
            need: self.need.clone(),
            claims: self.claims.clone(),
            lease_ms: if self.claims.is_empty() { 0 } else { millis(self.lease_until.since(now)) },
        }
    }
}

impl Local {
    pub(super) fn new(frames: Vec<PieceSpan>) -> Self {
        let pieces = frames.len() as u32;
        let runs = runs::cut(&frames);
        Local {
            open_since: vec![None; runs.len()],
            runs,
            missing: BTreeMap::new(),
            in_flight: Bitmap::new(pieces),
            counts: vec![Count::default(); frames.len()],
            relay: Bitmap::new(pieces),
            doubtful: Bitmap::new(pieces),
            have_changed: false,
            completed: false,
            frames,
        }
    }

    /// The index of the run in which `piece` lies.
    pub(super) fn run_of(&self, piece: u32) -> u32 {
        self.runs.partition_point(|run| run.end <= piece) as u32
    }

    /// Compressed bytes of a piece.
    pub(super) fn length(&self, piece: u32) -> u64 {
        self.frames.get(piece as usize).map_or(0, |f| u64::from(f.length))
    }

    fn count(&mut self, known: &Known, by: i32) {
        for piece in known.status.need.iter().filter(|p| !known.status.have.get(*p)) {
            let need = &mut self.counts[piece as usize].need;
            *need = need.saturating_add_signed(by);
        }
        for piece in known.status.have.iter().filter(|p| !known.refused.get(*p)) {
            let count = &mut self.counts[piece as usize];
            let place = if known.near { &mut count.near } else { &mut count.far };
            *place = place.saturating_add_signed(by);
        }
    }
}

/// Whether `need` names something that `have` does not.
pub(super) fn lacks(need: &Bitmap, have: &Bitmap) -> bool {
    need.iter().any(|piece| !have.get(piece))
}

/// Milliseconds as statuses carry them.
pub(super) fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}
