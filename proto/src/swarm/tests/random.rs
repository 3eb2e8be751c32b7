//! Random fleets with random faults.

use super::net::{Manner, Net};
use crate::Bitmap;
use proptest::prelude::*;

const LENGTH: u32 = 512 << 10;

#[derive(Clone, Debug)]
enum Fault {
    Kill { node: usize, silent: bool, keep_cache: bool, for_ms: u64 },
    Cut { a: usize, b: usize, for_ms: u64 },
    Split { at: usize, for_ms: u64 },
    Unreachable { node: usize, for_ms: u64 },
    Stall { node: usize, for_ms: u64 },
    Wait { ms: u64 },
}

fn fault(nodes: usize) -> impl Strategy<Value = Fault> {
    let (node, ms) = (0..nodes, 100u64..6_000);
    prop_oneof![
        (node.clone(), any::<bool>(), any::<bool>(), ms.clone())
            .prop_map(|(node, silent, keep_cache, for_ms)| Fault::Kill { node, silent, keep_cache, for_ms }),
        (node.clone(), node.clone(), ms.clone()).prop_map(|(a, b, for_ms)| Fault::Cut { a, b, for_ms }),
        (1..nodes, ms.clone()).prop_map(|(at, for_ms)| Fault::Split { at, for_ms }),
        (node.clone(), ms.clone()).prop_map(|(node, for_ms)| Fault::Unreachable { node, for_ms }),
        (node, ms.clone()).prop_map(|(node, for_ms)| Fault::Stall { node, for_ms }),
        ms.prop_map(|ms| Fault::Wait { ms }),
    ]
}

fn inflict(net: &mut Net, fault: &Fault) {
    match *fault {
        Fault::Kill { node, silent, keep_cache, for_ms } => {
            net.kill(node, silent);
            net.run_for(for_ms);
            if !keep_cache {
                net.nodes[node].cache = Bitmap::new(net.pieces);
            }
            net.start(node);
        }
        Fault::Cut { a, b, for_ms } => {
            if a != b && net.links.get(a, b).is_some() {
                net.disconnect(a, b);
                net.run_for(for_ms);
                net.connect(a, b);
            }
        }
        Fault::Split { at, for_ms } => {
            let across: Vec<(usize, usize)> =
                net.links.all().into_iter().filter(|(a, b)| *a < at && *b >= at).collect();
            across.iter().for_each(|(a, b)| net.disconnect(*a, *b));
            net.run_for(for_ms);
            across.iter().for_each(|(a, b)| net.connect(*a, *b));
        }
        Fault::Unreachable { node, for_ms } => {
            net.origin.unreachable.insert(node);
            net.run_for(for_ms);
            net.origin.unreachable.remove(&node);
        }
        Fault::Stall { node, for_ms } => {
            net.origin.stalled.insert(node);
            net.run_for(for_ms);
            net.origin.stalled.remove(&node);
        }
        Fault::Wait { ms } => net.run_for(ms),
    }
}

fn fleet(nodes: usize, pieces: u32, origins: usize, seed: u64) -> Net {
    let mut net = Net::new(pieces, LENGTH, seed);
    for i in 0..nodes {
        net.add(i < origins);
    }
    net.ring();
    net
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_fleet_converges_whatever_fails_and_no_piece_has_two_live_fetchers(
        nodes in 3usize..12,
        pieces in 10u32..80,
        origins in 1usize..12,
        faults in proptest::collection::vec(fault(3), 0..6),
        seed in any::<u64>(),
    ) {
        let mut net = fleet(nodes, pieces, origins.min(nodes), seed);
        net.run_for(700);
        for fault in &faults {
            inflict(&mut net, fault);
        }
        net.converge(net.now + 300_000);
        prop_assert!(net.doubles.is_empty(), "{:?}", net.doubles);
    }

    #[test]
    fn a_fleet_with_different_needs_and_a_liar_converges(
        nodes in 4usize..10,
        needs in proptest::collection::vec(0u32..40, 10),
        liar in 1usize..4,
        manner in prop_oneof![Just(Manner::Corrupt), Just(Manner::Empty)],
        seed in any::<u64>(),
    ) {
        let mut net = Net::new(40, LENGTH, seed);
        for (i, first) in needs.iter().take(nodes).enumerate() {
            net.add(i == 0 || seed % 2 == 0);
            net.nodes[i].need = super::set(40, *first..40);
        }
        net.nodes[liar].manner = manner;
        net.nodes[liar].cache = Bitmap::full(40);
        net.mesh();
        net.converge(600_000);
        prop_assert!(net.origin.times.iter().all(|n| *n <= 1 + u32::from(manner == Manner::Corrupt)));
    }
}
