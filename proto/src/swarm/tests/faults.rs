//! Deaths, partitions and a central repo that misbehaves. Each test shows that its fault took place.

use super::net::{Manner, Net};
use super::{fleet, set};
use crate::Bitmap;

/// Runs until central is in the middle of a piece for some node, and returns the node.
fn until_in_flight(net: &mut Net, least: u64) -> usize {
    let busy = |net: &Net| (0..net.nodes.len()).find(|i| net.origin.in_flight(*i) > 300 << 10);
    net.run_until(60_000, |net| net.origin.sent >= least && busy(net).is_some());
    busy(net).unwrap()
}

#[test]
fn a_killed_fetcher_costs_at_most_what_was_in_flight() {
    for (seed, keep_cache, silent) in [(1, true, false), (2, true, true), (3, true, true), (4, false, false)] {
        let mut net = fleet(5, 90, seed);
        net.mesh();
        let victim = until_in_flight(&mut net, 45 << 20);
        let wasted = net.origin.in_flight(victim);
        net.kill(victim, silent);
        net.run_for(4_000);
        if !keep_cache {
            net.nodes[victim].cache = Bitmap::new(90);
        }
        net.start(victim);
        net.converge(120_000);
        let twice: u32 = net.origin.times.iter().map(|n| n - 1).sum();
        // A piece verified in the last update interval before the kill is known to nobody else.
        assert!(twice <= 1, "seed {seed}: {twice} pieces were fetched twice");
        assert!(wasted > 0 && net.origin.sent <= (91 << 20) + wasted, "seed {seed}: {} sent", net.origin.sent);
    }
}

#[test]
fn the_next_in_line_takes_over_from_a_fetcher_that_never_comes_back() {
    for silent in [true, false] {
        let mut net = fleet(5, 90, 4);
        net.mesh();
        let victim = until_in_flight(&mut net, 20 << 20);
        net.kill(victim, silent);
        assert!(net.nodes[victim].pieces_from_origin < 40, "it had much left to do");
        let time = net.converge(120_000);
        assert!(net.copies() <= 1.05, "{} copies", net.copies());
        assert!(time < 30_000, "{time} ms");
    }
}

#[test]
fn an_owner_that_comes_back_leaves_its_run_to_who_took_it_over() {
    for seed in 0..4 {
        let mut net = fleet(5, 90, seed);
        net.origin.rate = 2_500;
        net.mesh();
        let victim = until_in_flight(&mut net, 20 << 20);
        let (wasted, run) = (net.origin.in_flight(victim), net.origin.piece_for(victim).unwrap() / 8);
        net.kill(victim, true);
        let in_run = |net: &Net, i| net.origin.piece_for(i).is_some_and(|piece| piece / 8 == run);
        net.run_until(60_000, |net| (0..5).any(|i| in_run(net, i)));
        net.run_for(200);
        net.start(victim);
        net.converge(120_000);
        assert_eq!(net.origin.sent, (90 << 20) + wasted, "seed {seed}");
    }
}

#[test]
fn when_all_the_elected_die_somebody_else_takes_over() {
    let mut net = fleet(8, 90, 9);
    net.mesh();
    until_in_flight(&mut net, 10 << 20);
    let elected: Vec<usize> =
        (0..8).filter(|i| net.origin.serves(*i) || net.nodes[*i].pieces_from_origin > 0).collect();
    assert!(elected.len() >= 2);
    elected.iter().for_each(|i| net.kill(*i, true));
    net.converge(120_000);
    assert!(net.copies() <= 1.10, "{} copies", net.copies());
    assert!(net.doubles.is_empty(), "{:?}", net.doubles);
    assert!(net.origin.clients_max <= elected.len() + 1, "{} at a time", net.origin.clients_max);
}

#[test]
fn a_restarted_device_with_its_cache_fetches_only_what_it_misses() {
    for seed in 0..4 {
        let mut net = fleet(5, 90, seed);
        net.mesh();
        net.run_until(60_000, |net| net.nodes[3].cache.count() >= 45);
        net.kill(3, seed % 2 == 0);
        net.run_for(30_000);
        let had = net.nodes[3].cache.count();
        let (sent, got) = (net.origin.sent, net.nodes[3].bytes_from_peers);
        net.start(3);
        net.converge(120_000);
        assert!((45..90).contains(&had), "it was killed half way");
        assert_eq!(net.origin.sent, sent, "the others have everything");
        assert_eq!(net.nodes[3].bytes_from_peers - got, u64::from(90 - had) << 20);
    }
}

#[test]
fn each_side_of_a_partition_goes_on_and_the_heal_merges_them() {
    let mut net = fleet(6, 90, 6);
    net.origin.rate = 5_000;
    net.mesh();
    net.run_for(2_500);
    for a in 0..3 {
        (3..6).for_each(|b| net.disconnect(a, b));
    }
    net.run_for(12_000);
    let before: Vec<u32> = net.nodes.iter().map(|n| n.cache.count()).collect();
    assert!(before.iter().all(|n| *n < 90), "{before:?}");
    for a in 0..3 {
        (3..6).for_each(|b| net.connect(a, b));
    }
    net.converge(120_000);
    let sides: u32 = net.origin.times.iter().map(|n| n - 1).sum();
    assert!(sides > 0, "both sides fetched on their own");
    assert!(net.copies() < 1.5, "{} copies", net.copies());
    assert!(net.doubles.is_empty(), "{:?}", net.doubles);
}

#[test]
fn a_side_without_a_way_to_central_waits_and_goes_on_after_the_heal() {
    let mut net = fleet(6, 60, 6);
    (3..6).for_each(|i| net.nodes[i].origin = false);
    net.mesh();
    net.run_for(2_000);
    for a in 0..3 {
        (3..6).for_each(|b| net.disconnect(a, b));
    }
    net.run_for(30_000);
    assert!((0..3).all(|i| net.nodes[i].complete) && (3..6).all(|i| !net.nodes[i].complete));
    net.connect(0, 3);
    net.converge(120_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
}

#[test]
fn a_fetcher_that_cannot_reach_central_hands_over_at_once() {
    let mut net = fleet(5, 90, 4);
    net.mesh();
    let victim = until_in_flight(&mut net, 20 << 20);
    net.origin.unreachable.insert(victim);
    let time = net.converge(60_000);
    assert!(net.origin.failures > 0, "the fault was met");
    assert!(time < 12_000, "{time} ms");
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
}

#[test]
fn when_central_is_away_all_try_again_for_ever_but_seldom() {
    let mut net = fleet(5, 20, 4);
    net.origin.unreachable.extend(0..5);
    net.mesh();
    net.run_for(600_000);
    assert!((10..300).contains(&net.origin.failures), "{} tries in ten minutes", net.origin.failures);
    net.origin.unreachable.clear();
    net.converge(700_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
}

#[test]
fn a_fetcher_whose_download_stalls_loses_its_claim() {
    let mut net = fleet(5, 90, 8);
    net.mesh();
    let victim = until_in_flight(&mut net, 20 << 20);
    net.origin.stalled.insert(victim);
    let time = net.converge(60_000);
    assert!(time < 30_000, "{time} ms");
    assert!(net.copies() <= 1.03, "{} copies", net.copies());
}

#[test]
fn a_run_that_central_does_not_have_yet_does_not_hold_up_the_others() {
    let mut net = fleet(5, 90, 8);
    net.origin.missing = set(90, 16..24);
    net.mesh();
    net.run_for(30_000);
    assert!(net.origin.failures > 0, "the fault was met");
    assert!(net.nodes.iter().all(|n| n.cache.count() == 82), "all but the missing run");
    let failures = net.origin.failures;
    net.run_for(60_000);
    assert!(net.origin.failures - failures < 40, "{} more tries in a minute", net.origin.failures - failures);
    net.origin.missing = Bitmap::new(90);
    net.converge(600_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
}

#[test]
fn a_neighbour_that_never_answers_is_left_for_others() {
    let mut net = fleet(5, 60, 8);
    net.nodes[2].manner = Manner::Silent;
    net.nodes[2].origin = false;
    net.mesh();
    let time = net.converge(120_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
    assert!(time < 40_000, "{time} ms");
}

#[test]
fn the_check_for_two_live_fetchers_bites() {
    let mut net = fleet(3, 90, 8);
    net.mute = true;
    net.mesh();
    net.run_for(6_000);
    assert!(!net.doubles.is_empty() && net.copies() > 0.5, "peers that hear nothing of one another fetch the same");
}
