//! Rules that hold at every event, each with a name.

mod bounded;
mod contract;
mod counters;
mod idle;
mod leases;
mod near;
mod once;
#[cfg(test)]
mod tests;
mod verified;
mod waits;

pub use bounded::Bounded;
pub use contract::Contract;
pub use counters::Counters;
pub use idle::Idle;
pub use leases::Leases;
pub use near::Near;
pub use once::Once;
pub use verified::Verified;
pub use waits::Waits;

use super::engine::Moment;
use super::observe::Observation;
use super::world::World;
use std::fmt;

/// A rule that is looked after while a world runs.
pub trait Checker: fmt::Debug {
    /// Its name, for people and for the result.
    fn name(&self) -> &'static str;

    /// Looks at what happens; an error says what is wrong.
    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String>;

    /// Looks once more when the run is over.
    fn end(&mut self, _now: Moment) -> Result<(), String> {
        Ok(())
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub checker: &'static str,
    /// When.
    pub at: Moment,
    /// What is wrong.
    pub what: String,
}

/// All rules of a run.
#[derive(Debug, Default)]
pub struct Checkers {
    all: Vec<Box<dyn Checker>>,
    violation: Option<Violation>,
}

impl Checkers {
    /// All rules that there are.
    pub fn all() -> Self {
        Checkers::new(vec![
            Box::new(Verified::default()),
            Box::new(Leases::default()),
            Box::new(Counters::default()),
            Box::new(Once),
            Box::new(Contract),
            Box::new(Bounded),
            Box::new(Idle::default()),
            Box::new(Waits::default()),
            Box::new(Near::default()),
        ])
    }

    /// These rules.
    pub fn new(all: Vec<Box<dyn Checker>>) -> Self {
        Checkers { all, violation: None }
    }

    /// The first rule that was broken.
    pub fn violation(&self) -> Option<Violation> {
        self.violation.clone()
    }

    /// Shows all what happens.
    pub fn observe(&mut self, now: Moment, world: &World, observation: &Observation) {
        for checker in &mut self.all {
            let result = checker.observe(now, world, observation);
            note(&mut self.violation, checker.name(), now, result);
        }
    }

    /// The run is over.
    pub fn end(&mut self, now: Moment) {
        for checker in &mut self.all {
            let result = checker.end(now);
            note(&mut self.violation, checker.name(), now, result);
        }
    }
}

fn note(violation: &mut Option<Violation>, checker: &'static str, at: Moment, result: Result<(), String>) {
    if let (None, Err(what)) = (&violation, result) {
        *violation = Some(Violation { checker, at, what });
    }
}
