//! No device idles while a neighbour has what it lacks, for longer than a bound.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use fullmetal_proto::swarm::limits::STALLED;
use std::collections::BTreeMap;

/// The longest pause that the core keeps after a neighbour failed it, by chance a quarter longer, and some time for
/// news to travel.
const IDLE_US_MAX: u64 = STALLED.1.as_micros() as u64 * 5 / 4 + 15_000_000;

/// Since when each device idles.
#[derive(Debug, Default)]
pub struct Idle {
    since: BTreeMap<NodeId, Moment>,
}

impl Checker for Idle {
    fn name(&self) -> &'static str {
        "nobody idles"
    }

    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        if *observation != Observation::Second {
            return Ok(());
        }
        for id in 0..world.len() {
            if !idles(world, id) {
                self.since.remove(&id);
                continue;
            }
            let since = *self.since.entry(id).or_insert(now);
            if now.since(since) > IDLE_US_MAX {
                let id = &world.node(id).id;
                return Err(format!("{id} has asked nobody since {since} s, and a neighbour has what it lacks"));
            }
        }
        Ok(())
    }
}

fn idles(world: &World, id: NodeId) -> bool {
    let node = world.node(id);
    if !node.needs || node.manner != Manner::Honest || node.load().requests + node.load().runs > 0 {
        return false;
    }
    node.neighbours().any(|other| {
        let neighbour = world.node(other);
        let honest = neighbour.manner == Manner::Honest && neighbour.neighbours().any(|back| back == id);
        honest && world.reaches(id, other) && !neighbour.cache.is_subset_of(&node.cache)
    })
}
