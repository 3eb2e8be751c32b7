//! Fleets of more devices than there are witnesses: a peer knows the witnesses, its neighbours and who calls for help.

use super::net::Net;
use super::{device, manifest, set};
use crate::Bitmap;
use crate::swarm::limits::{OTHERS_MAX, WITNESSES};
use crate::swarm::table::Table;

const MIB: u32 = 1 << 20;
const DEVICES: usize = 120;

fn table(net: &Net, node: usize) -> &Table {
    net.nodes[node].swarm.as_ref().unwrap().tables.values().next().unwrap()
}

fn is_witness(net: &Net, node: usize, other: usize) -> bool {
    let (ranking, other) = (&table(net, node).ranking, device(other));
    ranking.score(&other).is_some_and(|score| ranking.is_witness(&other, score))
}

/// Devices without a way to central behind a gateway that has one.
fn behind_a_gateway() -> Net {
    let mut net = Net::new(40, MIB, 5);
    let gateway = net.add(true);
    net.nodes[gateway].need = Bitmap::new(40);
    (1..DEVICES).for_each(|_| _ = net.add(false));
    net
}

#[test]
fn a_large_fleet_costs_one_copy_and_nobody_knows_all_of_it() {
    let mut net = Net::new(90, MIB, 3);
    (0..DEVICES).for_each(|_| _ = net.add(true));
    net.ring();
    net.converge(60_000);
    assert!(net.copies() <= 1.02, "{} copies", net.copies());
    assert!(net.doubles.is_empty(), "{:?}", net.doubles);
    assert!(net.origin.clients_max <= 5, "{} at a time", net.origin.clients_max);
    let known = (0..DEVICES).map(|node| table(&net, node).peers.len()).max().unwrap();
    assert!((WITNESSES..=WITNESSES + OTHERS_MAX + 6).contains(&known), "{known} of {DEVICES}");
}

#[test]
fn all_agree_on_the_witnesses_and_hear_the_newest_of_them() {
    let mut net = behind_a_gateway();
    net.ring();
    net.converge(60_000);
    net.run_for(10_000);
    let witnesses =
        |node: usize| -> Vec<usize> { (0..DEVICES).filter(|other| is_witness(&net, node, *other)).collect() };
    // Who cannot ask central is in nobody's order before it is known there: at home it has no place.
    let first: Vec<usize> = witnesses(0);
    assert_eq!(first.len(), WITNESSES);
    for node in 1..DEVICES {
        let theirs: Vec<usize> = witnesses(node).into_iter().filter(|other| *other != node).collect();
        let missing: Vec<&usize> = first.iter().filter(|other| **other != node && !theirs.contains(other)).collect();
        assert!(missing.is_empty(), "device {node} does not know {missing:?}");
        for other in first.iter().filter(|other| **other != node) {
            let status = &table(&net, node).peers.get(&device(*other)).unwrap().status;
            assert!(*other == 0 || status.have.is_full(), "device {node} has old news of {other}");
        }
    }
}

#[test]
fn what_only_one_far_device_lacks_is_fetched_for_it() {
    let mut net = behind_a_gateway();
    for node in 1..DEVICES {
        net.nodes[node].need = set(40, 0..30);
    }
    net.ring();
    net.converge(60_000);
    let far = |node: &usize| !is_witness(&net, 0, *node) && (50..70).contains(node);
    let far = (1..DEVICES).find(far).unwrap();
    net.kill(far, false);
    net.nodes[far].need = Bitmap::full(40);
    net.start(far);
    net.converge(180_000);
    assert_eq!(net.origin.times, vec![1; 40]);
    assert!(net.nodes[far].swarm.as_ref().unwrap().have(&manifest()).unwrap().is_full());
}

#[test]
fn a_large_fleet_whose_first_all_die_goes_on_with_the_next() {
    let mut net = Net::new(90, MIB, 9);
    (0..DEVICES).for_each(|_| _ = net.add(true));
    net.ring();
    net.run_until(60_000, |net| net.origin.sent >= 20 << 20);
    let witness = |node: &usize| is_witness(&net, 0, *node);
    let dead: Vec<usize> = (0..DEVICES).filter(witness).take(WITNESSES - 4).collect();
    dead.iter().for_each(|node| net.kill(*node, false));
    net.converge(180_000);
    assert!(net.copies() <= 1.25, "{} copies", net.copies());
    assert!(net.origin.clients_max <= 5, "{} at a time", net.origin.clients_max);
}
