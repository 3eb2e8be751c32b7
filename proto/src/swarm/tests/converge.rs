//! Fleets in which nothing goes wrong.

use super::net::{Event, Net};
use super::{MIB, fleet, set};
use crate::Bitmap;

#[test]
fn five_devices_that_start_together_cost_one_copy() {
    for seed in 0..5 {
        let mut net = fleet(5, 90, seed);
        net.mesh();
        let time = net.converge(60_000);
        assert!(net.copies() <= 1.02, "seed {seed}: {} copies", net.copies());
        assert!(time < 9_500, "seed {seed}: {time} ms, one copy takes about 7,600");
        assert!(net.doubles.is_empty(), "{:?}", net.doubles);
    }
}

#[test]
fn forty_devices_with_six_neighbours_each_cost_one_copy() {
    let mut net = fleet(40, 90, 7);
    net.ring();
    let time = net.converge(60_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
    assert!(time < 10_500, "{time} ms, one copy takes about 7,600");
    assert!(net.doubles.is_empty(), "{:?}", net.doubles);
}

#[test]
fn what_peers_say_is_below_one_percent_of_what_they_carry() {
    let mut net = fleet(40, 90, 7);
    net.ring();
    net.converge(60_000);
    let carried: u64 = net.nodes.iter().map(|n| n.bytes_from_peers).sum();
    assert!(net.said * 100 < carried, "{} bytes said, {carried} carried", net.said);
}

#[test]
fn behind_a_thin_uplink_the_last_of_thirty_two_is_hardly_later_than_one_alone() {
    let mut net = Net::new(90, MIB, 3);
    net.origin.rate = 2_500;
    let gateway = net.add(true);
    (net.nodes[gateway].need, net.nodes[gateway].port_rate) = (Bitmap::new(90), 12_500);
    (0..32).for_each(|_| _ = net.add(false));
    net.ring();
    let time = net.converge(120_000);
    let one_copy = (90 << 20) / net.origin.rate;
    assert!(time * 10 <= one_copy * 11, "{time} ms, one copy takes {one_copy}");
}

#[test]
fn devices_that_start_one_after_another_cost_one_copy() {
    let mut net = fleet(5, 90, 3);
    for a in 0..5 {
        (0..a).for_each(|b| net.links.know(a, b));
    }
    for (node, time) in [0, 50, 130, 390, 2_000].into_iter().enumerate() {
        net.at(time, Event::Start { node });
    }
    net.run_for(2_000);
    net.converge(60_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
}

#[test]
fn at_most_the_elected_fetch_from_central() {
    let mut net = fleet(40, 90, 11);
    net.ring();
    net.converge(60_000);
    let fetchers = net.nodes.iter().filter(|n| n.pieces_from_origin > 0).count();
    assert!((2..=4).contains(&fetchers), "{fetchers} devices went to central");
}

#[test]
fn only_the_gateway_has_a_way_to_central() {
    let mut net = Net::new(90, MIB, 5);
    let gateway = net.add(true);
    net.nodes[gateway].need = Bitmap::new(90);
    (0..12).for_each(|_| _ = net.add(false));
    net.ring();
    net.converge(60_000);
    assert!(net.copies() <= 1.01, "{} copies", net.copies());
    assert_eq!(net.nodes[gateway].pieces_from_origin, 90);
}

#[test]
fn a_device_alone_looks_for_others_for_three_seconds_before_it_goes_to_central() {
    let mut net = fleet(1, 20, 1);
    net.start(0);
    net.run_for(2_999);
    assert_eq!(net.origin.requests, 0);
    net.run_for(10);
    assert!(net.origin.requests > 0);
    net.converge(20_000);
    assert_eq!(
        net.origin.requests, 5,
        "two find out how fast central is, the other eighteen frames are three requests"
    );
}

#[test]
fn a_device_that_meets_the_fleet_late_asks_central_for_nothing_that_others_are_fetching() {
    for seed in 0..8 {
        let mut net = fleet(5, 90, seed);
        net.mesh();
        net.run_for(1_500);
        let late = net.add(true);
        net.start(late);
        net.run_for(500 + seed * 100);
        (0..5).for_each(|other| net.connect(late, other));
        net.converge(60_000);
        assert!(net.origin.times.iter().all(|times| *times == 1), "seed {seed}: {:?}", net.origin.times);
    }
}

#[test]
fn what_nobody_needs_is_not_fetched() {
    let mut net = fleet(3, 40, 1);
    for node in &mut net.nodes {
        node.need = set(40, 8..20);
    }
    let helper = net.add(true);
    net.nodes[helper].need = Bitmap::new(40);
    net.mesh();
    net.converge(20_000);
    net.run_for(20_000);
    let expected: Vec<u32> = (0..40).map(|p| u32::from((8..20).contains(&p))).collect();
    assert_eq!(net.origin.times, expected);
}

#[test]
fn a_late_joiner_gets_all_from_neighbours_and_nothing_from_central() {
    let mut net = fleet(6, 60, 2);
    let late = 5;
    for a in 0..6 {
        (0..a).for_each(|b| net.links.know(a, b));
    }
    (0..late).for_each(|i| net.start(i));
    net.converge(60_000);
    let sent = net.origin.sent;
    net.run_for(3_600_000);
    net.start(late);
    net.converge(3_700_000);
    assert_eq!(net.origin.sent, sent);
    assert!(net.nodes[late].bytes_from_peers >= 60 << 20);
}

#[test]
fn a_complete_fleet_is_silent_and_sleeps() {
    let mut net = fleet(8, 30, 2);
    net.ring();
    net.converge(60_000);
    net.run_for(10_000);
    let before: Vec<u64> = net.nodes.iter().map(|n| n.messages).collect();
    net.run_for(3_600_000);
    assert_eq!(net.nodes.iter().map(|n| n.messages).collect::<Vec<_>>(), before);
    assert!(net.nodes.iter().all(|n| n.swarm.as_ref().unwrap().next_wakeup().is_none()));
}

#[test]
fn pieces_that_only_a_far_peer_needs_are_relayed() {
    let mut net = fleet(4, 24, 2);
    for i in 0..3 {
        net.links.know(i, i + 1);
        net.nodes[i + 1].origin = false;
    }
    for i in 0..3 {
        net.nodes[i].need = set(24, 0..4);
    }
    net.mesh_as_known();
    net.converge(120_000);
    assert!(net.origin.times.iter().all(|n| *n == 1), "{:?}", net.origin.times);
}

#[test]
fn neighbours_of_a_fetcher_begin_with_different_pieces() {
    let mut net = Net::new(64, MIB, 5);
    let gateway = net.add(true);
    (net.nodes[gateway].need, net.nodes[gateway].cache) = (Bitmap::new(64), Bitmap::full(64));
    (0..4).for_each(|_| _ = net.add(false));
    net.trace = Some(Vec::new());
    net.mesh();
    net.run_for(120);
    let trace = net.trace.take().unwrap();
    let asked = |line: &&String| line.contains("FetchFromPeer");
    let pieces: Vec<&str> = trace.iter().filter(asked).map(|l| l.split("piece: ").nth(1).unwrap()).collect();
    let first = &pieces[..16];
    let different: std::collections::BTreeSet<&&str> = first.iter().collect();
    assert!(different.len() >= 12, "{different:?} of {first:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut net = fleet(6, 30, seed);
        net.trace = Some(Vec::new());
        net.ring();
        net.run_for(1_500);
        net.kill(2, true);
        net.run_for(2_000);
        net.start(2);
        net.converge(120_000);
        net.trace.unwrap()
    };
    let first = run(1);
    assert!(first == run(1), "two runs with one seed differ");
    assert!(first != run(2), "the seed has no influence");
}
