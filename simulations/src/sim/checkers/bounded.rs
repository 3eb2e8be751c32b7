//! Queues and tables stay within the limits that the protocol names.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::world::World;
use fullmetal_proto::swarm::limits::{ORIGIN_TRANSFERS_ALONE_MAX, REQUESTS_MAX, REQUESTS_PER_NEIGHBOUR_MAX};

/// Neighbours of a peer: those that it dialed and those that dialed it.
const NEIGHBOURS_MAX: usize = 6 + 10;
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
            let load = world.node(node).load();
            let limits = [
                ("neighbours", load.neighbours, NEIGHBOURS_MAX),
                ("requests to neighbours", load.requests, REQUESTS_MAX),
                ("requests to one neighbour", load.requests_to_one, REQUESTS_PER_NEIGHBOUR_MAX as usize),
                ("runs at central", load.runs, ORIGIN_TRANSFERS_ALONE_MAX),
                ("waiting requests", load.queue, QUEUE_MAX),
            ];
            if let Some((what, found, limit)) = limits.into_iter().find(|(_, found, limit)| found > limit) {
                return Err(format!("{} has {found} {what}, over the limit of {limit}", world.node(node).id));
            }
        }
        Ok(())
    }
}
