//! Who seeks neighbours that want the same.

use super::{address, connected, device, frames, manifest};
use crate::swarm::limits::{COMPANY_WANTED, SEEK, TICK};
use crate::swarm::{Effect, Input, Swarm};
use crate::wire::transfer::{PeerStatus, SwarmUpdate};
use crate::{Bitmap, DeviceId, Timestamp};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const PIECES: u32 = 4;

/// A peer that wants all, and neighbours 1, 2, … that know of others.
struct One {
    swarm: Swarm,
    now: Timestamp,
    seq: u64,
}

impl One {
    fn with_neighbours(count: usize) -> Self {
        let mut one = One { swarm: Swarm::new(device(0), false, 0, 7), now: Timestamp::ZERO, seq: 0 };
        (1..=count).for_each(|n| one.tell(connected(n)));
        let (frames, have) = (frames(PIECES, 1 << 20), Bitmap::new(PIECES));
        one.tell(Input::Want { manifest: manifest(), frames, need: Bitmap::full(PIECES), have });
        one
    }

    fn tell(&mut self, input: Input) {
        self.swarm.handle(input, self.now);
    }

    /// Neighbour 1 tells of a peer that needs or has everything, or wants nothing any more.
    fn hears_of(&mut self, peer: usize, needs: bool, has: bool) {
        self.seq += 1;
        let map = |all: bool| if all { Bitmap::full(PIECES) } else { Bitmap::new(PIECES) };
        let (need, have, claims) = (map(needs), map(has), map(false));
        let (lease_ms, stuck, failing, address) = (0, false, false, Some(address(peer)));
        let (peer, seq, origin, weight) = (device(peer), self.seq, false, 0);
        let status = PeerStatus { peer, seq, origin, weight, have, need, claims, lease_ms, stuck, failing, address };
        let update = SwarmUpdate { manifest: manifest(), pieces: PIECES, statuses: vec![status] };
        self.tell(Input::Update { from: device(1), update });
    }

    /// Whom it seeks in the time in which it is to seek once.
    fn seeks(&mut self) -> Option<BTreeSet<usize>> {
        let mut sought = Vec::new();
        let end = self.now.after(SEEK + TICK / 2);
        while self.now < end {
            self.now = self.now.after(TICK / 4);
            self.tell(Input::Wakeup);
            sought.extend(std::iter::from_fn(|| self.swarm.poll()).filter_map(|effect| match effect {
                Effect::Seek { peers, .. } => Some(peers.iter().map(|(peer, at)| number(peer, at)).collect()),
                _ => None,
            }));
        }
        assert!(sought.len() < 3, "it is in no hurry");
        sought.pop()
    }
}

/// Which peer it is; it is sought at its own address.
fn number(peer: &DeviceId, at: &SocketAddr) -> usize {
    let found = (0..20).find(|n| device(*n) == *peer).unwrap();
    assert_eq!(address(found), *at);
    found
}

#[test]
fn who_lacks_pieces_and_company_seeks_those_who_take_part() {
    let mut one = One::with_neighbours(2);
    assert_eq!(one.seeks(), None, "nobody is known");
    one.hears_of(11, true, false);
    one.hears_of(12, false, true);
    one.hears_of(13, false, false);
    assert_eq!(one.seeks(), Some([11, 12].into()));
    one.hears_of(12, false, false);
    assert_eq!(one.seeks(), Some([11].into()), "one that dropped it has nothing to give");
}

#[test]
fn with_company_enough_nobody_is_sought() {
    let mut one = One::with_neighbours(COMPANY_WANTED + 1);
    one.hears_of(11, false, true);
    for neighbour in 1..COMPANY_WANTED {
        one.hears_of(neighbour, true, false);
    }
    assert!(one.seeks().is_some());
    one.hears_of(COMPANY_WANTED, true, false);
    assert_eq!(one.seeks(), None);
    one.tell(Input::Disconnected { peer: device(COMPANY_WANTED) });
    assert!(one.seeks().is_some());
}

#[test]
fn who_needs_nothing_more_seeks_nobody() {
    let mut one = One::with_neighbours(1);
    one.hears_of(11, true, true);
    assert!(one.seeks().is_some());
    let (frames, need) = (frames(PIECES, 1 << 20), Bitmap::new(PIECES));
    one.tell(Input::Want { manifest: manifest(), frames, need, have: Bitmap::new(PIECES) });
    one.hears_of(12, true, false);
    assert_eq!(one.seeks(), None);
}

#[test]
fn where_a_peer_is_its_neighbours_say_whatever_others_do() {
    let status = |peer: usize, at: usize| {
        let (need, none) = (Bitmap::full(PIECES), Bitmap::new(PIECES));
        let (have, claims, address) = (none.clone(), none, Some(address(at)));
        let (peer, origin, weight, lease_ms) = (device(peer), false, 0, 0);
        let (stuck, failing) = (false, false);
        PeerStatus { peer, seq: 1, origin, weight, have, need, claims, lease_ms, stuck, failing, address }
    };
    let mut swarm = Swarm::new(device(1), false, 0, 7);
    (2..5).for_each(|n| swarm.handle(connected(n), Timestamp::ZERO));
    let statuses = vec![status(2, 19), status(3, 19), status(5, 15)];
    let update = SwarmUpdate { manifest: manifest(), pieces: PIECES, statuses };
    swarm.handle(Input::Update { from: device(2), update }, Timestamp::ZERO);
    let told: BTreeSet<(DeviceId, Option<SocketAddr>)> = std::iter::from_fn(|| swarm.poll())
        .filter_map(|effect| match effect {
            Effect::Send { peer, update } if peer == device(4) => Some(update.statuses),
            _ => None,
        })
        .flatten()
        .map(|status| (status.peer, status.address))
        .collect();
    assert_eq!(told, [2, 3, 5].map(|n| (device(n), Some(if n == 5 { address(15) } else { address(n) }))).into());
}
