//! Queues and tables stay within the limits that the protocol names.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::world::{Load, World};
use fullmetal_proto::membership::limits::NEIGHBOURS_MAX;
use fullmetal_proto::swarm::limits::{ORIGIN_TRANSFERS_ALONE_MAX, REQUESTS_MAX, REQUESTS_PER_NEIGHBOUR_MAX};

/// Requests that wait at a peer: all that its neighbours may have.
const QUEUE_MAX: usize = NEIGHBOURS_MAX * REQUESTS_PER_NEIGHBOUR_MAX as usize;

/// Looks at every peer each second.
#[derive(Debug, Default)]
pub struct Bounded;

impl Checker for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn observe(&mut self, _: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        if *observation != Observation::Second {
            return Ok(());
        }
        for node in 0..world.len() {
            if let Some(excess) = excess(&world.node(node).load()) {
                return Err(format!("{} has {excess}", world.node(node).id));
            }
        }
        Ok(())
    }
}

/// What there is too much of.
fn excess(load: &Load) -> Option<String> {
    let limits = [
        ("neighbours", load.neighbours, NEIGHBOURS_MAX),
        ("requests to neighbours", load.requests, REQUESTS_MAX),
        ("requests to one neighbour", load.requests_to_one, REQUESTS_PER_NEIGHBOUR_MAX as usize),
        ("runs at central", load.runs, ORIGIN_TRANSFERS_ALONE_MAX),
        ("waiting requests", load.queue, QUEUE_MAX),
    ];
    let over = limits.into_iter().find(|(_, found, limit)| found > limit);
    over.map(|(what, found, limit)| format!("{found} {what}, over the limit of {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_a_limit_is_noticed() {
        let full = Load { neighbours: NEIGHBOURS_MAX, requests: REQUESTS_MAX, queue: QUEUE_MAX, ..Load::default() };
        assert_eq!(excess(&full), None);
        assert!(excess(&Load { requests: REQUESTS_MAX + 1, ..full }).is_some());
        assert!(excess(&Load { neighbours: NEIGHBOURS_MAX + 1, ..full }).is_some());
        assert!(excess(&Load { requests_to_one: REQUESTS_PER_NEIGHBOUR_MAX as usize + 1, ..full }).is_some());
        assert!(excess(&Load { runs: ORIGIN_TRANSFERS_ALONE_MAX + 1, ..full }).is_some());
        assert!(excess(&Load { queue: QUEUE_MAX + 1, ..full }).is_some());
    }
}
