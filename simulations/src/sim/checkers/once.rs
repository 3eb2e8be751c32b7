//! Exactly one terminal report for each device and action reaches whoever decided.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::world::World;

/// Compares each end with the first; that all ends come is for an expectation to say.
#[derive(Debug, Default)]
pub struct Once;

impl Checker for Once {
    fn name(&self) -> &'static str {
        "one terminal report"
    }

    fn observe(&mut self, _: Moment, _: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Delivered { device, action, counter, first } if counter != first => {
                Err(format!("{device} ends action {action} by report {first} and again by {counter}"))
            }
            _ => Ok(()),
        }
    }
}
