//! Members that lie.

use super::net::{Manner, Net};
use super::{connected, device, frames, manifest, set};
use crate::swarm::limits::{BITMAP_BYTES_MAX, OTHERS_MAX, SEQ_MAX, TABLES_PER_NEIGHBOUR_MAX, WITNESSES};
use crate::swarm::{Effect, Failure, Input, Swarm};
use crate::wire::transfer::{PeerStatus, SwarmUpdate};
use crate::{Bitmap, Digest, Timestamp};

const MIB: u32 = 1 << 20;

fn status(peer: usize, seq: u64, have: Bitmap) -> PeerStatus {
    let none = Bitmap::new(have.len());
    PeerStatus {
        peer: device(peer),
        seq,
        origin: true,
        weight: 10,
        need: none.clone(),
        claims: none,
        lease_ms: 0,
        stuck: false,
        failing: false,
        address: None,
        have,
    }
}

fn update(statuses: Vec<PeerStatus>) -> SwarmUpdate {
    SwarmUpdate { manifest: manifest(), pieces: statuses[0].have.len(), statuses }
}

/// Two connected swarms' worth of one: device 0 wants ten pieces and knows device 1.
fn wanting() -> Swarm {
    let mut swarm = Swarm::new(device(0), true, 10, 1);
    let (need, have) = (Bitmap::full(10), set(10, [3]));
    swarm.handle(Input::Want { manifest: manifest(), frames: frames(10, MIB), need, have }, Timestamp::ZERO);
    swarm.handle(connected(1), Timestamp::ZERO);
    swarm
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn effects(swarm: &mut Swarm) -> Vec<Effect> {
    std::iter::from_fn(|| swarm.poll()).collect()
}

fn fetches(swarm: &mut Swarm) -> usize {
    effects(swarm).iter().filter(|e| matches!(e, Effect::FetchFromPeer { .. } | Effect::FetchFromOrigin { .. })).count()
}

fn own_seq_sent(swarm: &mut Swarm) -> u64 {
    let mut sent = effects(swarm).into_iter().filter_map(|e| match e {
        Effect::Send { update, .. } => update.statuses.into_iter().find(|s| s.peer == device(0)).map(|s| s.seq),
        _ => None,
    });
    sent.next_back().unwrap()
}

#[test]
fn a_peer_that_sends_wrong_bytes_is_banned_and_the_pieces_come_from_others() {
    let mut net = Net::new(60, MIB, 5);
    (0..5).for_each(|_| _ = net.add(true));
    net.nodes[2].cache = Bitmap::full(60);
    net.nodes[2].manner = Manner::Corrupt;
    net.mesh();
    net.converge(120_000);
    for (i, node) in net.nodes.iter().enumerate().filter(|(i, _)| *i != 2) {
        assert_eq!(node.bans, [device(2)], "device {i}");
    }
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
}

#[test]
fn a_peer_that_claims_to_have_all_and_gives_nothing_keeps_nobody_waiting() {
    for only_gateway in [false, true] {
        let mut net = Net::new(40, MIB, 5);
        for i in 0..6 {
            let node = net.add(i == 0 || !only_gateway);
            net.links.know(node, (node + 1) % 6);
        }
        net.nodes[0].need = Bitmap::new(40);
        net.nodes[3].manner = Manner::Empty;
        net.nodes[3].cache = Bitmap::full(40);
        net.mesh_as_known();
        let time = net.converge(600_000);
        assert!(net.copies() <= 1.02, "{} copies", net.copies());
        assert!(time < 120_000, "{time} ms");
    }
}

#[test]
fn a_piece_that_was_not_there_is_asked_for_again_after_a_while_when_it_is_still_offered() {
    let mut swarm = Swarm::new(device(0), false, 0, 1);
    let (need, have) = (Bitmap::full(1), Bitmap::new(1));
    swarm.handle(Input::Want { manifest: manifest(), frames: frames(1, MIB), need, have }, at(0));
    swarm.handle(connected(1), at(0));
    let offer = |seq| Input::Update { from: device(1), update: update(vec![status(1, seq, Bitmap::full(1))]) };
    swarm.handle(offer(1), at(0));
    swarm.handle(Input::Wakeup, at(100));
    let asked = effects(&mut swarm).into_iter().find_map(|e| match e {
        Effect::FetchFromPeer { transfer, .. } => Some(transfer),
        _ => None,
    });
    swarm.handle(Input::Failed { transfer: asked.unwrap(), why: Failure::NotHere }, at(200));
    swarm.handle(offer(2), at(5_000));
    swarm.handle(Input::Wakeup, at(6_000));
    assert_eq!(fetches(&mut swarm), 0, "it was just not there");
    swarm.handle(offer(3), at(11_000));
    swarm.handle(Input::Wakeup, at(12_000));
    assert_eq!(fetches(&mut swarm), 1, "it may have got it again");
}

#[test]
fn an_update_about_another_number_of_pieces_is_ignored() {
    let mut swarm = wanting();
    effects(&mut swarm);
    for pieces in [9, 11, 1 << 20] {
        let update = update(vec![status(1, 1, Bitmap::full(pieces))]);
        swarm.handle(Input::Update { from: device(1), update }, at(1));
    }
    let mut mixed = update(vec![status(1, 1, Bitmap::full(10))]);
    mixed.statuses[0].need = Bitmap::new(11);
    swarm.handle(Input::Update { from: device(1), update: mixed }, at(2));
    assert_eq!(fetches(&mut swarm), 0);
    let update = update(vec![status(1, 1, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(1), update }, at(3));
    assert_eq!(fetches(&mut swarm), 2, "the honest one counts");
}

#[test]
fn an_update_from_a_stranger_or_with_a_number_over_the_limit_is_ignored() {
    let mut swarm = wanting();
    let stranger = update(vec![status(7, 1, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(7), update: stranger }, at(1));
    let over = update(vec![status(1, SEQ_MAX + 1, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(1), update: over }, at(1));
    assert_eq!(fetches(&mut swarm), 0);
}

#[test]
fn an_older_status_changes_nothing_and_is_answered_with_the_newer() {
    let mut swarm = wanting();
    swarm.handle(connected(2), at(0));
    let newer = update(vec![status(1, 5, Bitmap::new(10))]);
    swarm.handle(Input::Update { from: device(1), update: newer }, at(1));
    swarm.handle(Input::Wakeup, at(150));
    effects(&mut swarm);
    let older = update(vec![status(1, 4, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(2), update: older }, at(300));
    let sent = effects(&mut swarm);
    let answer =
        |e: &Effect| matches!(e, Effect::Send { peer, update } if *peer == device(2) && update.statuses[0].seq == 5);
    assert!(sent.iter().any(answer) && sent.len() == 1, "{sent:?}");
}

#[test]
fn an_echo_of_an_old_life_makes_the_status_jump_over_it() {
    let mut swarm = wanting();
    assert!(own_seq_sent(&mut swarm) < 100);
    let echo = update(vec![status(0, 100, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(1), update: echo }, at(200));
    assert_eq!(own_seq_sent(&mut swarm), 101);
    assert_eq!(swarm.have(&manifest()), Some(&set(10, [3])), "nobody tells us what we have");
    let echo = update(vec![status(0, 50, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(1), update: echo }, at(400));
    assert!(effects(&mut swarm).is_empty());
}

#[test]
fn a_flood_of_manifests_and_peers_stays_within_its_bounds() {
    let mut swarm = wanting();
    for i in 0..200u32 {
        let statuses = (0..5).map(|p| status(p + 1, 1, Bitmap::full(1 << 20))).collect();
        let flood = SwarmUpdate { manifest: Digest::of(&i.to_be_bytes()), pieces: 1 << 20, statuses };
        swarm.handle(Input::Update { from: device(1), update: flood }, at(u64::from(i)));
        effects(&mut swarm);
    }
    assert!(swarm.tables.len() <= TABLES_PER_NEIGHBOUR_MAX + 1, "{} tables", swarm.tables.len());
    let bytes: usize = swarm.tables.iter().map(|(k, t)| k.status_bytes() * t.peers.len()).sum();
    assert!(bytes <= BITMAP_BYTES_MAX && bytes > BITMAP_BYTES_MAX / 2, "{bytes} bytes");
}

#[test]
fn a_flood_of_manifests_does_not_shut_out_what_a_neighbour_has_of_a_wanted_one() {
    let mut swarm = wanting();
    for i in 0..40u32 {
        let mut statuses: Vec<PeerStatus> = (10..12).map(|p| status(p, 1, Bitmap::new(1 << 20))).collect();
        statuses.iter_mut().for_each(|status| status.stuck = true);
        let flood = SwarmUpdate { manifest: Digest::of(&i.to_be_bytes()), pieces: 1 << 20, statuses };
        swarm.handle(Input::Update { from: device(1), update: flood }, at(u64::from(i)));
    }
    effects(&mut swarm);
    swarm.handle(connected(2), at(50));
    let has_all = update(vec![status(2, 1, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(2), update: has_all }, at(60));
    assert!(fetches(&mut swarm) > 0, "the neighbour is asked");
}

#[test]
fn made_up_peers_that_call_for_help_keep_no_witness_out() {
    let mut swarm = wanting();
    let mut made_up: Vec<PeerStatus> = (100..100 + 4 * OTHERS_MAX).map(|p| status(p, 1, Bitmap::new(10))).collect();
    made_up.iter_mut().for_each(|status| (status.stuck, status.origin, status.weight) = (true, false, 0));
    swarm.handle(Input::Update { from: device(1), update: update(made_up) }, at(1));
    let candidates = (2..8).map(|p| status(p, 1, Bitmap::new(10))).collect();
    swarm.handle(Input::Update { from: device(1), update: update(candidates) }, at(2));
    let table = swarm.tables.values().next().unwrap();
    assert!((2..8).all(|p| table.peers.get(&device(p)).is_some()), "a candidate was refused");
}

#[test]
fn an_echo_from_far_ahead_is_no_life_of_ours() {
    let mut swarm = wanting();
    let before = own_seq_sent(&mut swarm);
    let echo = update(vec![status(0, SEQ_MAX, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(1), update: echo }, at(200));
    assert!(effects(&mut swarm).is_empty(), "it is not answered");
    assert!(before < 100);
}

#[test]
fn a_neighbour_that_comes_and_goes_keeps_nobody_from_central() {
    let mut swarm = Swarm::new(device(0), true, 10, 1);
    let (need, have) = (Bitmap::full(10), Bitmap::new(10));
    swarm.handle(Input::Want { manifest: manifest(), frames: frames(10, MIB), need, have }, at(0));
    let mut asked = 0;
    for second in 1..20 {
        swarm.handle(connected(1), at(second * 1_000));
        swarm.handle(Input::Disconnected { peer: device(1) }, at(second * 1_000 + 300));
        swarm.handle(Input::Wakeup, at(second * 1_000 + 800));
        asked += fetches(&mut swarm);
    }
    assert!(asked > 0, "it waits for a neighbour that never stays");
}

#[test]
fn names_beyond_the_limit_leave_no_trace() {
    let mut swarm = wanting();
    let mut flood = |names: std::ops::Range<usize>| {
        for first in names.step_by(256) {
            let statuses = (first..first + 256).map(|peer| status(peer, 1, Bitmap::new(10))).collect();
            swarm.handle(Input::Update { from: device(1), update: update(statuses) }, at(first as u64));
            effects(&mut swarm);
        }
        format!("{swarm:?}").matches("below: 2,").count()
    };
    let most = WITNESSES + OTHERS_MAX;
    let full = flood(1_024..5_120);
    assert_eq!(full, most);
    assert_eq!(flood(20_480..24_576), full, "more is remembered than there is room for");
}

#[test]
fn a_banned_peer_is_not_listened_to_again() {
    let mut swarm = wanting();
    let has_all = || update(vec![status(1, 1, Bitmap::full(10))]);
    swarm.handle(Input::Update { from: device(1), update: has_all() }, at(1));
    let transfer = effects(&mut swarm).into_iter().find_map(|e| match e {
        Effect::FetchFromPeer { transfer, piece, .. } => Some((transfer, piece)),
        _ => None,
    });
    let (transfer, piece) = transfer.unwrap();
    swarm.handle(Input::Corrupt { transfer, piece }, at(2));
    assert!(effects(&mut swarm).iter().any(|e| matches!(e, Effect::Ban { peer, .. } if *peer == device(1))));
    swarm.handle(connected(1), at(3));
    swarm.handle(connected(2), at(3));
    swarm.handle(Input::Update { from: device(2), update: has_all() }, at(4));
    assert_eq!(fetches(&mut swarm), 0);
}

#[test]
fn a_claim_is_believed_for_its_lease_and_no_longer_than_ours_would_be() {
    let mut swarm = wanting();
    let mut claim = status(1, 1, Bitmap::new(10));
    (claim.claims, claim.lease_ms) = (Bitmap::full(10), u32::MAX);
    swarm.handle(Input::Update { from: device(1), update: update(vec![claim]) }, at(1));
    let mut last = 0;
    for ms in (500..60_000).step_by(500) {
        swarm.handle(Input::Wakeup, at(ms));
        if fetches(&mut swarm) > 0 {
            last = ms;
            break;
        }
    }
    assert!((3_000..=8_000).contains(&last), "{last} ms");
}
