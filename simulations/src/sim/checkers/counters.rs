//! Counters never go back: announcements that a node accepted, reports of a device, the gateway's own on its disk.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::world::{NodeId, World};
use fullmetal_proto::wire::ReportState;
use std::collections::BTreeMap;

/// The highest that was seen of each.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: BTreeMap<NodeId, (u64, u64)>,
    reported: BTreeMap<NodeId, BTreeMap<u64, (u64, ReportState)>>,
    gateway: (u64, u64),
}

impl Checker for Counters {
    fn name(&self) -> &'static str {
        "counters never go back"
    }

    fn observe(&mut self, _: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Accepted { node, rank } => {
                let before = self.accepted.insert(*node, *rank).unwrap_or_default();
                if *rank < before {
                    return Err(format!("{} accepts {rank:?} after {before:?}", world.node(*node).id));
                }
            }
            Observation::Reported { node, counter, action, state } => {
                let reported = self.reported.entry(*node).or_default();
                let newest = reported.keys().next_back().copied().unwrap_or(0);
                let content = (*action, *state);
                // Given out again after a crash it says the same.
                let before = reported.insert(*counter, content);
                if before.map_or(*counter <= newest, |before| before != content) {
                    return Err(format!("{} uses report counter {counter} after {newest}", world.node(*node).id));
                }
            }
            Observation::Counted { rank } => {
                if *rank < self.gateway {
                    return Err(format!("the gateway's counter goes from {:?} to {rank:?}", self.gateway));
                }
                self.gateway = *rank;
            }
            _ => {}
        }
        Ok(())
    }
}
