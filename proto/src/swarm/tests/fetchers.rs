//! How many share the uplink.

use super::net::Net;
use super::{connected, device, frames, manifest, set};
use crate::swarm::limits::{FETCHERS_COUNTED_MAX, FETCHERS_MAX, LEASE, LEASE_WITHOUT_PIECE_MAX};
use crate::swarm::{Input, Swarm};
use crate::wire::transfer::{PeerStatus, SwarmUpdate};
use crate::{Bitmap, Digest, Timestamp};

const PIECES: u32 = 16;
const MIB: u32 = 1 << 20;

/// A peer that wants a manifest of long pieces, and has one neighbour that tells of others.
struct One {
    swarm: Swarm,
    now: Timestamp,
    seq: u64,
}

impl One {
    fn with_budget(bytes_per_s: Option<u64>) -> Self {
        let mut one = One { swarm: Swarm::new(device(0), false, 0, 7), now: Timestamp::ZERO, seq: 0 };
        bytes_per_s.into_iter().for_each(|budget| one.swarm.set_least_budget(budget));
        one.tell(connected(1));
        let (frames, have) = (frames(PIECES, 2 * MIB), Bitmap::new(PIECES));
        one.tell(Input::Want { manifest: manifest(), frames, need: Bitmap::full(PIECES), have });
        one
    }

    fn tell(&mut self, input: Input) {
        self.swarm.handle(input, self.now);
        while self.swarm.poll().is_some() {}
    }

    fn passes(&mut self, ms: u64) {
        self.now = self.now.after(std::time::Duration::from_millis(ms));
        self.tell(Input::Wakeup);
    }

    /// A peer is said to fetch these pieces of a manifest.
    fn hears(&mut self, peer: usize, manifest: Digest, claims: impl IntoIterator<Item = u32>) {
        self.seq += 1;
        let claims = set(PIECES, claims);
        let lease_ms = if claims.is_empty() { 0 } else { LEASE.as_millis() as u32 };
        let (have, need) = (Bitmap::new(PIECES), Bitmap::full(PIECES));
        let (peer, seq, weight) = (device(peer), self.seq, 10);
        let status = PeerStatus {
            peer,
            seq,
            origin: true,
            weight,
            have,
            need,
            claims,
            lease_ms,
            stuck: false,
            failing: false,
            address: None,
        };
        let update = SwarmUpdate { manifest, pieces: PIECES, statuses: vec![status] };
        self.tell(Input::Update { from: device(1), update });
    }
}

#[test]
fn those_are_counted_whose_claims_hold_each_once_and_this_peer() {
    let mut one = One::with_budget(None);
    assert_eq!(one.swarm.fetchers(), 1, "alone");
    one.hears(2, manifest(), []);
    assert_eq!(one.swarm.fetchers(), 1, "it claims nothing");
    one.hears(2, manifest(), [0, 1]);
    one.hears(3, Digest::of(b"one that is not wanted here"), [4]);
    assert_eq!(one.swarm.fetchers(), 3);
    one.hears(2, Digest::of(b"another"), [4]);
    assert_eq!(one.swarm.fetchers(), 3, "one that fetches two manifests is one");
    one.hears(2, manifest(), []);
    one.hears(2, Digest::of(b"another"), []);
    assert_eq!(one.swarm.fetchers(), 2, "it is done");
    one.passes(LEASE.as_millis() as u64 + 1);
    assert_eq!(one.swarm.fetchers(), 1, "the other fell silent");
}

#[test]
fn made_up_claims_slow_others_down_only_so_much() {
    let mut one = One::with_budget(None);
    (2..30).for_each(|peer| one.hears(peer, Digest::of(&[peer as u8 % 8]), [0]));
    assert_eq!(one.swarm.fetchers(), FETCHERS_COUNTED_MAX);
}

#[test]
fn a_claim_is_believed_for_as_long_as_the_budget_makes_it_take() {
    let minutes = LEASE_WITHOUT_PIECE_MAX.as_secs() / 60 + 1;
    for (budget, believed) in [(None, false), (Some(8_000), true)] {
        let mut one = One::with_budget(budget);
        for _ in 0..minutes * 60 {
            one.passes(1_000);
            one.hears(2, manifest(), [0]);
        }
        assert_eq!(one.swarm.fetchers(), 1 + usize::from(believed), "{budget:?}");
    }
}

/// What each node that is being sent something takes for the number of those.
fn counted(net: &Net) -> Vec<usize> {
    let fetching = net.nodes.iter().enumerate().filter(|(i, _)| net.origin.serves(*i));
    fetching.filter_map(|(_, node)| Some(node.swarm.as_ref()?.fetchers())).collect()
}

#[test]
fn a_killed_fetchers_share_goes_to_the_others_when_its_lease_is_over() {
    let mut net = Net::new(200, MIB, 3);
    (0..40).for_each(|_| _ = net.add(true));
    net.origin.rate = 2_000;
    net.mesh();
    net.run_until(60_000, |net| counted(net) == [FETCHERS_MAX; FETCHERS_MAX]);
    let victim = (0..40).find(|i| net.origin.serves(*i)).unwrap();
    net.kill(victim, true);
    let killed_at = net.now;
    let fewer = [FETCHERS_MAX - 1; FETCHERS_MAX - 1];
    let at = net.run_until(60_000, |net| counted(net) == fewer);
    assert!(at > killed_at, "nobody can know at once");
    // Its last word was under way for a moment, and who is woken each half second notes it.
    assert!(at <= killed_at + LEASE.as_millis() as u64 + 1_500, "{} ms later", at - killed_at);
}
