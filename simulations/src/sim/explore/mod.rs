//! Looks for seeds under which a scenario with random faults breaks a rule, and makes what it finds small.

pub mod command;
pub mod faults;
mod shrink;
#[cfg(test)]
mod tests;

pub use shrink::{Shrunk, shrink};

use super::checkers::{Checkers, Violation};
use super::command::{outcome_with, releases};
use super::scenario::{Layers, Scenario, ScenarioError};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;

/// What a run did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A rule was broken.
    Broken(Violation),
    /// Honest devices that were on never had everything: the first of them.
    Lacking(Vec<String>),
    /// The gateway never had the end of an action of honest devices that were on: the first of them.
    Unreported(Vec<String>),
    /// A core, or the simulator, panicked with this message.
    Panicked(String),
}

impl Failure {
    /// The checker's name, or a word in its place. Failures of one name count as the same.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Broken(violation) => violation.checker,
            Failure::Lacking(_) => "convergence",
            Failure::Unreported(_) => "reports",
            Failure::Panicked(_) => "panic",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broken(Violation { checker, at, what }) => write!(f, "{checker} at {at} s: {what}"),
            Failure::Lacking(devices) => write!(f, "convergence: {} never had everything", devices.join(", ")),
            Failure::Unreported(devices) => {
                write!(f, "reports: the gateway never had an end of an action of {}", devices.join(", "))
            }
            Failure::Panicked(message) => write!(f, "panic: {message}"),
        }
    }
}

/// A part of the seeds, so that several machines look at once: the `index`-th of `count`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<u64>().ok();
        let shard = text.split_once('/').and_then(|(i, n)| Some(Shard { index: number(i)?, count: number(n)? }));
        shard.filter(|s| (1..=s.count).contains(&s.index)).ok_or("a part such as 1/4, from 1/4 to 4/4")
    }
}

/// Which seeds are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many, before they are divided.
    pub count: u64,
    /// Which of them.
    pub shard: Shard,
}

impl Seeds {
    /// Those of the shard.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        let step = usize::try_from(self.shard.count).unwrap_or(usize::MAX);
        (self.shard.index - 1..self.count).step_by(step).map(move |n| self.first.saturating_add(n))
    }

    /// How many these are.
    pub fn runs(self) -> u64 {
        self.count.saturating_sub(self.shard.index - 1).div_ceil(self.shard.count)
    }
}

/// A seed under which a run fails.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub seed: u64,
    /// How.
    pub failure: Failure,
    /// The scenario with its faults.
    pub scenario: Scenario,
}

/// Runs a scenario with the faults of one seed after the other until one fails. `checkers` makes the rules of a run;
/// `progress` is told after each how many are done.
pub fn explore(
    scenario: &Scenario,
    file: &Path,
    seeds: Seeds,
    checkers: &dyn Fn() -> Checkers,
    mut progress: impl FnMut(u64),
) -> Result<Option<Finding>, ScenarioError> {
    for (done, seed) in seeds.iter().enumerate() {
        let scenario = faulty(scenario, file, seed)?;
        if let (Some(failure), _) = attempt(&scenario, file, checkers())? {
            return Ok(Some(Finding { seed, failure, scenario }));
        }
        progress(done as u64 + 1);
    }
    Ok(None)
}

/// The scenario with the faults of a seed.
pub fn faulty(scenario: &Scenario, file: &Path, seed: u64) -> Result<Scenario, ScenarioError> {
    let bytes = releases(scenario, seed, file)?.bytes();
    Ok(faults::with_faults(scenario, bytes, seed))
}

/// Runs a scenario with its own seed: what went wrong, and after how many seconds of virtual time the run ended. After
/// a panic that is not known.
pub fn attempt(
    scenario: &Scenario,
    file: &Path,
    checkers: Checkers,
) -> Result<(Option<Failure>, Option<u64>), ScenarioError> {
    let seed = scenario.seed.unwrap_or(1);
    let run = || outcome_with(scenario, seed, None, file, checkers, |_| {});
    // Nothing of a run outlives it, so nothing half changed is seen.
    let outcome = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome?,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            return Ok((Some(Failure::Panicked(format!("{text} (seed {seed})"))), None));
        }
    };
    let lacking = outcome.converged < outcome.counted;
    let lacking = lacking.then_some(Failure::Lacking(outcome.lacking));
    let silent = scenario.layers == Layers::Deployment && !outcome.unreported.is_empty();
    let unreported = silent.then_some(Failure::Unreported(outcome.unreported));
    let failure = outcome.violation.map(Failure::Broken).or(lacking).or(unreported);
    Ok((failure, Some(outcome.ended_at.0.div_ceil(1_000_000))))
}
