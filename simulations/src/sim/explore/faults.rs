//! Faults that chance adds to a scenario: which, when, to whom and for how long, all drawn from the seed.

use crate::sim::engine::{Moment, Random};
use crate::sim::scenario::{
    Action, Expectation, Group, Happening, Layers, Manner, OriginMood, SECONDS_MAX, Scenario, Targets, When,
};

/// The purpose of the draws.
const PURPOSE: &str = "faults";
/// The fewest and the most faults of a run.
const FAULTS_MIN: u64 = 2;
const FAULTS_MAX: u64 = 12;
/// One more fault is possible for each so many microseconds of a scenario.
const FAULT_EVERY_US: u64 = 15 * SECOND;
/// The shortest fault in milliseconds.
const LASTING_MS_MIN: u64 = 500;
/// What a long fault lasts besides, in milliseconds: connections that idle are given up within it.
const LONG_MS: u64 = 150_000;
/// What a scenario takes besides carrying its bytes, in microseconds.
const SETTLING_US: u64 = 10 * SECOND;
/// What a deployment takes besides, until its end is reported: checkout, switch, probation.
const DEPLOYING_US: u64 = 45 * SECOND;
/// How long convergence may take after the last fault, in microseconds; a ban is over by then.
const PATIENCE_US: u64 = 1_800 * SECOND;
/// Calm runs that convergence may take besides.
const PATIENCE_RUNS: u64 = 4;
/// The slowest port of a slow peer, in bytes a second.
const SLOW_MIN: u64 = 10_000;
const SECOND: u64 = 1_000_000;

/// The scenario with the faults of a seed, and time to converge after them. Of its expectations, which are for a calm
/// run, none is left but that all converge, and that the gateway hears of it. `bytes` is the length of its release.
pub fn with_faults(scenario: &Scenario, bytes: u64, seed: u64) -> Scenario {
    let mut faulty = scenario.clone();
    faulty.name = format!("{}, with the faults of seed {seed}", scenario.name);
    faulty.seed = Some(seed);
    faulty.happenings.extend(draw(scenario, bytes, seed));
    faulty.expectations = Expectation::of_all(scenario.layers == Layers::Deployment);
    faulty.until = deadline(&faulty, bytes).max(scenario.until);
    faulty
}

/// The faults of a seed. Each is undone after a time, but for lies: who lies does not count as honest.
pub fn draw(scenario: &Scenario, bytes: u64, seed: u64) -> Vec<Happening> {
    let length = length(scenario, bytes);
    let mut random = Random::new(seed, PURPOSE);
    let count = (FAULTS_MIN + random.below(2 + length / FAULT_EVERY_US)).min(FAULTS_MAX);
    let mut draw = Draw { random, groups: &scenario.groups, length };
    (0..count).map(|_| draw.fault()).collect()
}

/// When everybody who is honest and on must have everything, as whole seconds.
pub fn deadline(scenario: &Scenario, bytes: u64) -> Moment {
    let length = length(scenario, bytes);
    let calm = scenario.happenings.iter().map(|happening| calm_at(happening, scenario, length)).max();
    let us = calm.unwrap_or(0).max(length).saturating_add(PATIENCE_US).saturating_add(PATIENCE_RUNS * length);
    Moment(us.div_ceil(SECOND).min(SECONDS_MAX) * SECOND)
}

/// About how long a calm run takes, in microseconds.
fn length(scenario: &Scenario, bytes: u64) -> u64 {
    let on = scenario.groups.iter().map(|group| group.on.from + group.on.over).max().unwrap_or(0);
    let announced = scenario.decisions().map(|decision| decision.announced).max().unwrap_or(0);
    let announced = if scenario.layers == Layers::Swarm { 0 } else { announced };
    let carrying = u128::from(bytes) * u128::from(SECOND) / u128::from(scenario.network.uplink.max(1));
    let carrying = u64::try_from(carrying).unwrap_or(u64::MAX).min(SECONDS_MAX * SECOND);
    let deploying = if scenario.layers == Layers::Deployment { DEPLOYING_US } else { 0 };
    on.max(announced) + carrying + SETTLING_US + deploying
}

/// When something is over; one that waits for progress begins within two calm runs.
fn calm_at(happening: &Happening, scenario: &Scenario, length: u64) -> u64 {
    let at = match happening.when {
        When::At(at) => at.0,
        When::Progress(_) => 2 * length,
    };
    let steps = scenario.devices() as u64;
    at.saturating_add(happening.lasting.unwrap_or(0)).saturating_add(happening.each.saturating_mul(steps))
}

/// Draws faults one after the other.
struct Draw<'a> {
    random: Random,
    groups: &'a [Group],
    length: u64,
}

impl Draw<'_> {
    fn fault(&mut self) -> Happening {
        let when = When::At(Moment::from_millis(self.random.below(self.length / 1_000)));
        let (action, each) = self.action();
        // Short ones are as likely as long ones.
        let shift = self.random.below(6);
        let mut ms = LASTING_MS_MIN + self.random.below((self.length / 1_000) >> shift);
        if self.random.below(8) == 0 {
            ms += LONG_MS;
        }
        // Liars do not turn honest: what they told their own core would be left of it.
        let lasting = Some(ms * 1_000).filter(|_| !matches!(action, Action::Lie(..)));
        Happening { when, action, lasting, each }
    }

    /// What happens, and microseconds between two of its targets.
    fn action(&mut self) -> (Action, u64) {
        let action = match self.random.below(8) {
            0 => Action::Crash(self.whom()),
            1 => Action::PowerCut(self.whom()),
            2 => {
                let each = self.random.below(2) * self.random.below(2_000) * 1_000;
                return (Action::Stop(self.whom()), each);
            }
            3 => Action::Partition(self.some(2)),
            4 => {
                let rate = self.groups[0].port >> (3 + self.random.below(8));
                Action::Slow(self.some(4), rate.max(SLOW_MIN))
            }
            5 => {
                let manners = [Manner::Bytes, Manner::Nothing, Manner::Silence];
                let manner = manners[self.random.index(manners.len())];
                Action::Lie(self.some(4), manner)
            }
            6 => {
                let moods = [OriginMood::Stalled, OriginMood::Failing, OriginMood::Missing, OriginMood::Corrupt];
                Action::Origin(moods[self.random.index(moods.len())])
            }
            _ if self.random.below(2) == 0 => Action::Crash(Targets::Gateway),
            _ => Action::PowerCut(Targets::Gateway),
        };
        (action, 0)
    }

    /// Whose process ends.
    fn whom(&mut self) -> Targets {
        match self.random.below(8) {
            0..3 => Targets::Fetcher,
            3 => Targets::All,
            _ => self.some(1),
        }
    }

    /// Devices that stand side by side in one group: at most one of `part` of it, at least one.
    fn some(&mut self, part: usize) -> Targets {
        let group = self.random.index(self.groups.len());
        let devices = self.groups[group].devices;
        let count = 1 + self.random.index((devices / part).max(1));
        let first = self.random.index(devices - count + 1);
        Targets::Group { group, first, last: first + count - 1 }
    }
}
