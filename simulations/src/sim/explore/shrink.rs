//! Makes a scenario that fails smaller, as long as it fails the same way.

use super::{Failure, Finding, attempt, faults};
use crate::sim::checkers::Checkers;
use crate::sim::command::releases;
use crate::sim::engine::Moment;
use crate::sim::scenario::{Happening, Scenario, ScenarioError, Sizes, Targets};
use std::path::Path;

/// The most runs that making one smaller takes.
const RUNS_MAX: u32 = 200;
/// Seeds that are tried with fewer devices or pieces: chance falls otherwise then, and what fails may need it.
const SEEDS_TRIED: u64 = 8;
const SECOND: u64 = 1_000_000;
/// Faults are not made shorter than this, in microseconds.
const LASTING_US_MIN: u64 = SECOND / 10;

/// A small scenario that fails.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The scenario; it has its seed and its faults in it.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// How many runs it took.
    pub runs: u32,
}

impl Shrunk {
    /// As a scenario file.
    pub fn toml(&self) -> String {
        let what = self.failure.to_string().replace('\n', " ");
        format!("# Found by fullmetal-sim explore: {what}\n{}", self.scenario.to_toml())
    }
}

/// Makes the scenario of a finding smaller: fewer events, fewer devices, a smaller release, less time. `progress` is
/// told how many runs were tried.
pub fn shrink(
    finding: &Finding,
    file: &Path,
    checkers: &dyn Fn() -> Checkers,
    progress: impl FnMut(u32),
) -> Result<Shrunk, ScenarioError> {
    let best = Shrunk { scenario: finding.scenario.clone(), failure: finding.failure.clone(), runs: 0 };
    let mut shrinker = Shrinker { best, file, checkers, progress };
    loop {
        let mut smaller = shrinker.drop_events()?;
        smaller |= shrinker.halve_groups()?;
        smaller |= shrinker.halve_release()?;
        smaller |= shrinker.shorten_events()?;
        smaller |= shrinker.shorten_run()?;
        if !smaller || shrinker.best.runs >= RUNS_MAX {
            return Ok(shrinker.best);
        }
    }
}

struct Shrinker<'a, P> {
    best: Shrunk,
    file: &'a Path,
    checkers: &'a dyn Fn() -> Checkers,
    progress: P,
}

impl<P: FnMut(u32)> Shrinker<'_, P> {
    /// Runs a smaller scenario, and keeps it if it fails the same way.
    fn keeps(&mut self, scenario: Scenario) -> Result<bool, ScenarioError> {
        if self.best.runs >= RUNS_MAX {
            return Ok(false);
        }
        self.best.runs += 1;
        (self.progress)(self.best.runs);
        let (failure, _) = attempt(&scenario, self.file, (self.checkers)())?;
        let Some(failure) = failure.filter(|f| f.name() == self.best.failure.name()) else { return Ok(false) };
        self.best = Shrunk { scenario, failure, runs: self.best.runs };
        Ok(true)
    }

    /// The same with one thing changed in what is best so far; `false` from `change` means that there is nothing to.
    fn tries(&mut self, change: impl FnOnce(&mut Scenario) -> bool) -> Result<bool, ScenarioError> {
        let mut scenario = self.best.scenario.clone();
        if change(&mut scenario) { self.keeps(scenario) } else { Ok(false) }
    }

    /// The same under some seeds.
    fn tries_seeds(&mut self, change: impl Fn(&mut Scenario) -> bool) -> Result<bool, ScenarioError> {
        for later in 0..SEEDS_TRIED {
            let changed = self.tries(|scenario| {
                scenario.seed = scenario.seed.map(|seed| seed.saturating_add(later));
                change(scenario)
            })?;
            if changed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves out all events, halves of them, and so on to single ones.
    fn drop_events(&mut self) -> Result<bool, ScenarioError> {
        let mut smaller = false;
        let mut chunk = self.best.scenario.happenings.len();
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.scenario.happenings.len() {
                let end = (at + chunk).min(self.best.scenario.happenings.len());
                let dropped = self.tries(|scenario| scenario.happenings.drain(at..end).count() > 0)?;
                smaller |= dropped;
                at = if dropped { at } else { end };
            }
            chunk /= 2;
        }
        Ok(smaller)
    }

    /// Halves groups as often as that goes, then takes quarters and single devices.
    fn halve_groups(&mut self) -> Result<bool, ScenarioError> {
        let sizes: [fn(usize) -> usize; 3] = [|n| n / 2, |n| n - n.div_ceil(4), |n| n - 1];
        let mut smaller = false;
        for group in 0..self.best.scenario.groups.len() {
            for size in sizes {
                while self.tries_seeds(|scenario| resize(scenario, group, size))? {
                    smaller = true;
                }
            }
        }
        Ok(smaller)
    }

    fn halve_release(&mut self) -> Result<bool, ScenarioError> {
        let mut smaller = false;
        while self.tries(|scenario| scenario.later.pop().is_some())? {
            smaller = true;
        }
        while self.tries_seeds(|scenario| halve_sizes(&mut scenario.release.sizes))? {
            smaller = true;
        }
        Ok(smaller)
    }

    /// Lets events last half as long, and happen to all targets at once; lets devices start at once.
    fn shorten_events(&mut self) -> Result<bool, ScenarioError> {
        let mut smaller = false;
        for i in 0..self.best.scenario.happenings.len() {
            smaller |= self.tries(|scenario| std::mem::take(&mut scenario.happenings[i].each) > 0)?;
            while self.tries(|scenario| halve_lasting(&mut scenario.happenings[i]))? {
                smaller = true;
            }
        }
        for group in 0..self.best.scenario.groups.len() {
            smaller |= self.tries(|scenario| std::mem::take(&mut scenario.groups[group].on.over) > 0)?;
        }
        Ok(smaller)
    }

    /// Ends the run when the rule is broken. Where devices never converge, they keep the time that is theirs.
    fn shorten_run(&mut self) -> Result<bool, ScenarioError> {
        let until = match &self.best.failure {
            Failure::Broken(violation) => Moment((violation.at.0 / SECOND + 1) * SECOND),
            Failure::Lacking(_) | Failure::Unreported(_) | Failure::Panicked(_) => {
                let scenario = &self.best.scenario;
                faults::deadline(scenario, releases(scenario, scenario.seed.unwrap_or(1), self.file)?.bytes())
            }
        };
        self.tries(|scenario| {
            let before = scenario.until;
            let until = until.max(Moment((needed(scenario, until) / SECOND + 1) * SECOND));
            scenario.until = before.min(until);
            end_with_the_run(scenario);
            before > until
        })
    }
}

/// What must be within a run that ends at about `until`: releases, starts, and events that begin before.
fn needed(scenario: &Scenario, until: Moment) -> u64 {
    let announced = scenario.decisions().map(|decision| decision.announced);
    let on = scenario.groups.iter().map(|group| group.on.end());
    let begun = scenario.happenings.iter().filter(|happening| happening.at().is_none_or(|at| at < until));
    let last = begun.map(|happening| happening.last_at(&scenario.groups));
    announced.chain(on).chain(last).max().unwrap_or(0)
}

/// Leaves out what would happen after the end: events, and that they are undone.
fn end_with_the_run(scenario: &mut Scenario) {
    let Scenario { happenings, groups, until, .. } = scenario;
    happenings.retain(|happening| happening.at().is_none_or(|at| at < *until));
    for happening in happenings {
        let last = happening.last_at(groups);
        happening.lasting = happening.lasting.filter(|us| last.saturating_add(*us) < until.0);
    }
}

/// Changes how many devices a group has; events happen to those that are left.
fn resize(scenario: &mut Scenario, group: usize, size: impl Fn(usize) -> usize) -> bool {
    let devices = size(scenario.groups[group].devices);
    if devices == 0 {
        return false;
    }
    scenario.groups[group].devices = devices;
    let events = scenario.happenings.iter_mut().filter_map(|happening| happening.action.targets_mut());
    let decisions = std::iter::once(&mut scenario.release.decision)
        .chain(scenario.later.iter_mut().map(|later| &mut later.decision))
        .filter_map(|decision| decision.devices.as_mut());
    for targets in events.chain(decisions) {
        if let Targets::Group { group: of, first, last } = targets
            && *of == group
        {
            *last = (*last).min(devices - 1);
            *first = (*first).min(*last);
        }
    }
    true
}

fn halve_sizes(sizes: &mut Sizes) -> bool {
    match sizes {
        Sizes::Even { total, each } if *total > *each => *total = (*total / 2).max(*each),
        Sizes::Drawn { total, count } if *count > 1 => (*total, *count) = ((*total / 2).max(*count / 2), *count / 2),
        Sizes::Given(sizes) if sizes.len() > 1 => sizes.truncate(sizes.len() / 2),
        // What a repository has, it has.
        Sizes::Even { .. } | Sizes::Drawn { .. } | Sizes::Given(_) | Sizes::FromRepo { .. } => return false,
    }
    true
}

fn halve_lasting(happening: &mut Happening) -> bool {
    let Some(us) = happening.lasting.filter(|us| us / 2 >= LASTING_US_MIN) else { return false };
    happening.lasting = Some(us / 2 / 1_000 * 1_000);
    true
}
