//! What wanting, not wanting any more and losing a piece mean.

use super::net::Net;
use super::{device, frames, manifest, set};
use crate::swarm::limits::TABLES_PER_NEIGHBOUR_MAX;
use crate::swarm::{Effect, Input, PieceSpan, Swarm};
use crate::{Bitmap, Digest, Timestamp};

const MIB: u32 = 1 << 20;

fn want(need: Bitmap, have: Bitmap) -> Input {
    Input::Want { manifest: manifest(), frames: frames(need.len(), MIB), need, have }
}

/// A line of three of which the middle one wants nothing.
fn line() -> Net {
    let mut net = Net::new(30, MIB, 1);
    (0..3).for_each(|_| _ = net.add(false));
    net.nodes[0].cache = Bitmap::full(30);
    net.links.know(0, 1);
    net.links.know(1, 2);
    (net.nodes[0].need, net.nodes[1].need) = (Bitmap::new(30), Bitmap::new(30));
    net.mesh_as_known();
    net
}

#[test]
fn a_helper_passes_on_what_a_stuck_peer_behind_it_needs() {
    let mut net = line();
    net.run_for(4_000);
    assert_eq!(net.nodes[1].bytes_from_peers, 0, "it is not in a hurry");
    net.converge(60_000);
    assert_eq!(net.nodes[1].bytes_from_peers, 30 << 20);
}

#[test]
fn statuses_heard_before_the_want_count_and_are_passed_on() {
    let mut net = line();
    net.input(1, Input::Unwant { manifest: manifest() });
    net.run_for(20_000);
    assert!(!net.nodes[2].complete);
    let middle = net.nodes[1].swarm.as_ref().unwrap();
    let known: Vec<usize> = middle.tables.values().map(|t| t.peers.len()).collect();
    assert_eq!((known, middle.have(&manifest())), (vec![2], None), "nobody there wants it, all is known");
    let far = net.nodes[2].swarm.as_ref().unwrap().tables.values().next().unwrap();
    assert!(far.peers.get(&device(0)).is_some_and(|k| k.status.have.is_full()), "it came through the middle");
    net.input(1, want(Bitmap::full(30), Bitmap::new(30)));
    net.converge(60_000);
}

#[test]
fn unwanting_aborts_transfers_and_serves_nothing() {
    let mut net = Net::new(40, MIB, 1);
    net.add(true);
    net.start(0);
    net.run_for(3_100);
    assert_eq!(net.nodes[0].live.len(), 2);
    net.input(0, Input::Unwant { manifest: manifest() });
    assert!(net.nodes[0].live.is_empty());
    let swarm = net.nodes[0].swarm.as_ref().unwrap();
    assert_eq!(swarm.have(&manifest()), None);
    assert_eq!(swarm.next_wakeup(), None);
}

#[test]
fn old_releases_do_not_pile_up() {
    let mut swarm = Swarm::new(device(0), true, 1, 1);
    for i in 0..100u32 {
        let manifest = Digest::of(&i.to_be_bytes());
        let frames = vec![PieceSpan { pack: 0, offset: 0, length: 9 }];
        let input = Input::Want { manifest, frames, need: Bitmap::full(1), have: Bitmap::full(1) };
        swarm.handle(input, Timestamp::from_secs(u64::from(i)));
        swarm.handle(Input::Unwant { manifest }, Timestamp::from_secs(u64::from(i)));
    }
    assert!(swarm.tables.len() <= TABLES_PER_NEIGHBOUR_MAX, "{}", swarm.tables.len());
}

#[test]
fn an_evicted_piece_leaves_the_have_map_and_is_not_fetched_again() {
    let mut net = Net::new(20, MIB, 1);
    (0..2).for_each(|_| _ = net.add(true));
    net.mesh();
    net.converge(60_000);
    let sent = (net.origin.sent, net.nodes[0].bytes_from_peers);
    net.input(0, Input::Evicted { manifest: manifest(), piece: 7 });
    net.run_for(10_000);
    assert_eq!(net.nodes[0].swarm.as_ref().unwrap().have(&manifest()), Some(&Bitmap::full(20).minus(&set(20, [7]))));
    assert_eq!((net.origin.sent, net.nodes[0].bytes_from_peers), sent);
    let other = net.nodes[1].swarm.as_ref().unwrap().tables.values().next().unwrap();
    assert!(!other.peers.get(&device(0)).unwrap().status.have.get(7), "the neighbour knows");
}

#[test]
fn a_want_that_is_already_met_is_complete_at_once_and_a_helper_never() {
    let mut swarm = Swarm::new(device(0), true, 1, 1);
    swarm.handle(want(set(10, [1, 2]), set(10, [1, 2, 3])), Timestamp::ZERO);
    let complete =
        |swarm: &mut Swarm| std::iter::from_fn(|| swarm.poll()).any(|e| matches!(e, Effect::Complete { .. }));
    assert!(complete(&mut swarm));
    swarm.handle(want(Bitmap::new(10), set(10, [1])), Timestamp::ZERO);
    assert!(!complete(&mut swarm));
}
