//! Cores and their adapters keep the contract between them, and no gateway sees another.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::world::World;

/// Passes on what a core objects to.
#[derive(Debug, Default)]
pub struct Contract;

impl Checker for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn observe(&mut self, _: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Contract { node, what } => Err(format!("{}: {what}", world.node(*node).id)),
            Observation::Alarm { node } => {
                Err(format!("{} sees two announcements of one rank, and there is one gateway", world.node(*node).id))
            }
            _ => Ok(()),
        }
    }
}
