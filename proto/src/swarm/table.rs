//! What is known about one manifest: statuses of others, our own, and what we want of it.

use super::claims::Settle;
use super::election::Ranking;
use super::limits::{
    FAILING_MAX, FORWARD, FORWARD_PER_PEER, LEASE, LEASE_WITHOUT_PIECE_MAX, OTHERS_MAX, REFUSAL, RELAY, RENEW,
    WITNESSES,
};
use super::local::Local;
use super::outage::Outage;
use super::peers::{Peers, Slot};
use crate::wire::transfer::PeerStatus;
use crate::{Bitmap, DeviceId, Digest, Timestamp};
use std::net::SocketAddr;
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
    pub(super) peers: Peers,
    /// How many of them lack something that they need.
    pub(super) incomplete: usize,
    pub(super) own: Option<Own>,
    /// Present while the manifest is wanted here.
    pub(super) local: Option<Local>,
    pub(super) ranking: Ranking,
    pub(super) settle: Settle,
    pub(super) outage: Outage,
    /// When the candidates last changed: new owners get the time to begin.
    pub(super) elected_at: Timestamp,
    /// Since when somebody lacks something.
    pub(super) active_since: Option<Timestamp>,
    /// When our own status is repeated next, while active.
    pub(super) renew_at: Timestamp,
    /// Before that, nobody is sought who takes part.
    pub(super) seek_at: Timestamp,
    /// Who brought up a manifest that is not wanted here, and when it was last heard of.
    pub(super) introduced_by: Option<DeviceId>,
    pub(super) heard_at: Timestamp,
}

/// Why a first status is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Neighbour,
    Witness,
    /// It claims pieces, asks for help, or warns of central.
    Calls,
}

/// Whether there is room for one more status.
pub(super) enum Room {
    Free,
    /// If this peer is forgotten.
    InPlaceOf(DeviceId),
    None,
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
    /// Pieces that it says it has and did not have when asked; of no length while there are none.
    pub(super) refused: Bitmap,
    refused_at: Timestamp,
    pub(super) incomplete: bool,
    /// How long its claims are believed although it finishes no piece.
    patience: Duration,
    /// Its score in the ranking.
    score: u128,
}

/// Our own status.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) seq: u64,
    /// Whether we can fetch from central right now.
    pub(super) origin: bool,
    /// Whether central gave us nothing when we last asked, and nobody anything since.
    pub(super) failing: bool,
    pub(super) have: Bitmap,
    pub(super) need: Bitmap,
    pub(super) claims: Bitmap,
    pub(super) lease_until: Timestamp,
    /// Whether bytes from central arrived since the lease was last renewed.
    pub(super) moved: bool,
    /// When we last got a piece, or began to need some.
    pub(super) progress_at: Timestamp,
}

impl Table {
    /// Takes in a newer status of another peer, whose number `slot` is if it has one. Returns its number, and whether
    /// others must know soon. `slowest` is how many bytes a second a long piece may take.
    pub(super) fn put(
        &mut self,
        (manifest, slowest): (&Digest, u64),
        slot: Option<Slot>,
        status: PeerStatus,
        near: bool,
        now: Timestamp,
    ) -> (Slot, bool) {
        let old = slot.and_then(|slot| self.peers.take(slot));
        let mut known = Known::new(status, old.as_ref(), near, now);
        known.patience = self.patience(&known.status.claims, slowest);
        let urgent = old.as_ref().is_none_or(|old| old.differs_in_more_than_pieces(&known));
        if old.as_ref().map(Known::candidacy) != Some(known.candidacy()) {
            self.rank(manifest, &known.status.peer, known.candidacy(), now);
            known.score = self.ranking.score(&known.status.peer).unwrap_or_default();
        }
        self.recount(old.as_ref(), Some(&known));
        (self.peers.put(slot, known), urgent)
    }

    /// The longest piece that is being fetched may take its time.
    fn patience(&self, claims: &Bitmap, slowest: u64) -> Duration {
        let length = |local: &Local| claims.iter().map(|piece| local.length(piece)).max().unwrap_or(0);
        let longest = self.local.as_ref().map_or(0, length);
        LEASE_WITHOUT_PIECE_MAX.max(Duration::from_secs(longest / slowest))
    }

    /// Notes a candidate's weight; when that changes who is elected, views need time to agree.
    pub(super) fn rank(&mut self, manifest: &Digest, peer: &DeviceId, weight: u16, now: Timestamp) {
        if self.ranking.set(manifest, peer, weight) {
            self.settle.extend(now);
            self.elected_at = now;
        }
    }

    /// Takes a peer out of the election.
    pub(super) fn unrank(&mut self, peer: &DeviceId, now: Timestamp) {
        if self.ranking.remove(peer) {
            self.settle.extend(now);
            self.elected_at = now;
        }
    }

    /// Forgets another peer.
    pub(super) fn remove(&mut self, peer: &DeviceId, now: Timestamp) {
        self.unrank(peer, now);
        let old = self.peers.remove(peer);
        self.recount(old.as_ref(), None);
    }

    /// Notes whether a peer is a neighbour, and where it is reached; one that no longer is was lost.
    pub(super) fn set_near(&mut self, peer: &DeviceId, address: Option<SocketAddr>) {
        let Some(slot) = self.peers.slot(peer) else { return };
        let Some(mut known) = self.peers.take(slot) else { return };
        self.recount(Some(&known), None);
        known.near = address.is_some();
        known.lost |= !known.near;
        known.status.address = address.or(known.status.address);
        self.recount(None, Some(&known));
        self.peers.put(Some(slot), known);
    }

    /// Notes that a peer does not have a piece, whatever it says for the next while.
    pub(super) fn refuse(&mut self, peer: &DeviceId, piece: u32, now: Timestamp) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.refused_at = now;
        if known.refused.is_empty() {
            known.refused = Bitmap::new(known.status.have.len());
        }
        if known.status.have.get(piece)
            && known.refused.set(piece)
            && let Some(local) = &mut self.local
        {
            local.count_copy(piece, known.near, -1);
        }
    }

    fn recount(&mut self, old: Option<&Known>, new: Option<&Known>) {
        let incomplete = |known: Option<&Known>| usize::from(known.is_some_and(|k| k.incomplete));
        self.incomplete = (self.incomplete + incomplete(new)).saturating_sub(incomplete(old));
        if let Some(local) = &mut self.local {
            local.recount(old, new);
        }
    }

    /// Why the status of a peer that is not known yet is to be kept, if it is and there is room.
    pub(super) fn welcome(&self, manifest: &Digest, status: &PeerStatus, near: bool) -> Option<Welcome> {
        let weight = if status.origin { status.weight } else { 0 };
        if near {
            return Some(Welcome::Neighbour);
        }
        if self.ranking.would_be_witness(manifest, &status.peer, weight) {
            return Some(Welcome::Witness);
        }
        let warns_only = status.claims.is_empty() && !status.stuck && self.failing() >= FAILING_MAX;
        (calls_for_all(status) && !warns_only).then_some(Welcome::Calls)
    }

    /// Whether all are to hear what this peer says. Of others only their neighbours do.
    pub(super) fn is_for_all(&self, known: &Known) -> bool {
        calls_for_all(&known.status) || self.is_witness(known)
    }

    fn is_witness(&self, known: &Known) -> bool {
        self.ranking.is_witness(&known.status.peer, known.score)
    }

    /// Whether one more status fits in, and who gives way to it: who is needed by nobody, and to a witness who is none.
    pub(super) fn room(&self, welcome: Welcome) -> Room {
        let far = || self.peers.values().filter(|known| !known.near);
        if welcome == Welcome::Neighbour || far().count() < WITNESSES + OTHERS_MAX {
            return Room::Free;
        }
        let longest_unheard = |needed: &dyn Fn(&Known) -> bool| {
            let needless = far().filter(|known| !needed(known)).min_by_key(|known| known.heard_at);
            needless.map(|known| Room::InPlaceOf(known.status.peer.clone()))
        };
        let of_no_use = longest_unheard(&|known| self.is_for_all(known));
        let caller = || longest_unheard(&|known| self.is_witness(known)).filter(|_| welcome == Welcome::Witness);
        of_no_use.or_else(caller).unwrap_or(Room::None)
    }

    /// Starts wanting: counts what is known so far.
    pub(super) fn adopt(&mut self, local: Local, slowest: u64) {
        self.local = Some(local);
        let mut peers = std::mem::take(&mut self.peers);
        peers.values_mut().for_each(|known| known.patience = self.patience(&known.status.claims, slowest));
        if let Some(local) = &mut self.local {
            peers.values().for_each(|known| local.recount(None, Some(known)));
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
        let refused_at = old.map_or(now, |old| old.refused_at);
        let lasting = old.filter(|old| !old.refused.is_empty() && now.since(old.refused_at) < REFUSAL);
        let mut refused = lasting.map_or_else(Bitmap::default, |_| Bitmap::new(status.have.len()));
        for piece in lasting.iter().flat_map(|old| old.refused.iter()).filter(|p| status.have.get(*p)) {
            refused.set(piece);
        }
        let incomplete = lacks(&status.need, &status.have);
        let patience = LEASE_WITHOUT_PIECE_MAX;
        let score = old.map_or(0, |old| old.score);
        Known {
            status,
            near,
            lost: false,
            heard_at: now,
            lease_until,
            progress_at,
            refused,
            refused_at,
            incomplete,
            patience,
            score,
        }
    }

    /// Whether `new` shows a new piece, or a new reason to wait for one.
    fn moves_on_with(&self, new: &PeerStatus) -> bool {
        let old = &self.status;
        let claims_again = old.claims.is_empty() && !new.claims.is_empty();
        claims_again || old.need != new.need || lacks(&new.have, &old.have)
    }

    /// Whether only what it has is another, and all of that can be asked for.
    pub(super) fn differs_in_pieces_only(&self, new: &Known) -> bool {
        let all_offered = self.refused.is_empty() && new.refused.is_empty();
        all_offered && self.near == new.near && self.status.need == new.status.need
    }

    fn differs_in_more_than_pieces(&self, new: &Known) -> bool {
        let (a, b) = (&self.status, &new.status);
        a.origin != b.origin
            || a.weight != b.weight
            || a.need != b.need
            || a.claims != b.claims
            || b.lease_ms > 0
            || a.stuck != b.stuck
            || a.failing != b.failing
    }

    /// Its weight as a candidate: 0 is none.
    fn candidacy(&self) -> u16 {
        if self.status.origin { self.status.weight } else { 0 }
    }

    /// Whether it can be asked for `piece`, if it is near.
    pub(super) fn offers(&self, piece: u32) -> bool {
        self.status.have.get(piece) && !self.refused.get(piece)
    }

    /// All that it can be asked for, if it is near.
    pub(super) fn offered(&self) -> Bitmap {
        self.status.have.minus(&self.refused)
    }

    /// Until when its claims hold, or held.
    pub(super) fn last_lease(&self) -> Timestamp {
        self.lease_until.min(self.progress_at.after(self.patience))
    }

    /// Whether its claims hold.
    pub(super) fn holds_lease(&self, now: Timestamp) -> bool {
        now < self.last_lease()
    }
}

impl Own {
    pub(super) fn new(pieces: u32) -> Self {
        let none = Bitmap::new(pieces);
        Own {
            seq: 0,
            origin: false,
            failing: false,
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
            stuck: lacks(&self.need, &self.have) && now.since(self.progress_at) >= RELAY,
            failing: self.failing,
            address: None,
        }
    }
}

/// Whether a status is for all, whoever's it is: it claims pieces, asks for help, or warns of central.
fn calls_for_all(status: &PeerStatus) -> bool {
    !status.claims.is_empty() || status.stuck || status.failing
}

/// Whether `need` names something that `have` does not.
pub(super) fn lacks(need: &Bitmap, have: &Bitmap) -> bool {
    !need.is_subset_of(have)
}

/// Milliseconds as statuses carry them.
pub(super) fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}
