//! A scenario with the real programs: each host in a network namespace and a control group of its own, central behind
//! an uplink of the scenario's rate.
//!
//! Whatever was made is removed when it is dropped: at the end, after an error, a panic or a signal. What a lab leaves
//! that was killed is removed by the next one.

mod able;
pub mod command;
mod happen;
mod measure;
mod release;
mod stage;
mod sweep;
mod timeline;
mod watch;

use super::{Programs, interrupted};
use crate::sim::outcome::Outcome;
use crate::sim::release::Release;
use crate::sim::scenario::Scenario;
use anyhow::{Context as _, bail};
use happen::Happening;
use measure::Measured;
use stage::Stage;
use std::path::Path;
use std::time::{Duration, Instant};
use timeline::{Step, Timeline};

/// How often caches are looked at, and how often processes and the operator's server are.
const LOOK_MS: u64 = 50;
const ASK_MS: u64 = 1_000;
/// Between two looks at the clock.
const PAUSE_MS: u64 = 10;

/// How far a lab is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// This is being done before the clock starts.
    Preparing(&'static str),
    /// All that are told have so many millionths of what they need, so many microseconds after the start.
    Running(u64, u64),
}

/// Tells how far it is.
type Tell<'a> = &'a mut dyn FnMut(Progress);

/// A scenario that [`command`] has read and found possible.
struct Play<'a> {
    scenario: &'a Scenario,
    seed: u64,
    sizes: &'a Release,
    programs: &'a Programs,
    dir: &'a Path,
}

impl Play<'_> {
    /// Runs it from the first namespace to the last figure.
    fn enact(&self, tell: Tell<'_>) -> anyhow::Result<Outcome> {
        let scenario = self.scenario;
        tell(Progress::Preparing("setting up hosts"));
        let mut stage = Stage::new(scenario, self.seed, self.programs, self.dir)?;
        tell(Progress::Preparing("publishing"));
        let published = stage.publish(scenario, self.sizes, self.seed)?;
        tell(Progress::Preparing("pulling one copy"));
        let one_copy = match scenario.release.one_copy {
            Some(bytes) => bytes + (u128::from(bytes) * u128::from(scenario.network.overhead) / 1_000_000) as u64,
            None => stage.one_copy(&published.ref_name).context("pulling one copy with `ostree pull`")?,
        };
        stage.limit(scenario.network.uplink)?;
        let mut timeline = Timeline::new(scenario, self.seed);
        let mut measured = Measured::new(&stage, &timeline.told, published.bytes, one_copy)?;
        let ended_at = self.run(&mut stage, (&mut timeline, &mut measured), published.set, tell)?;
        let mut outcome = measured.outcome((scenario, self.seed), &stage, ended_at)?;
        outcome.not_begun = scenario.event_lines(timeline.not_begun());
        Ok(outcome)
    }

    /// From the moment at which the first are switched on to the end; gives when that was.
    fn run(
        &self,
        stage: &mut Stage,
        (timeline, measured): (&mut Timeline, &mut Measured),
        set: u64,
        tell: Tell<'_>,
    ) -> anyhow::Result<u64> {
        let mut happening = Happening::new(self.scenario.network.uplink);
        let start = Instant::now();
        let now = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (mut looked, mut asked) = (0, 0);
        while now() < self.scenario.until.0 {
            if interrupted() {
                bail!("interrupted");
            }
            for step in timeline.due(now(), measured.ppm(), &mut || happen::fetcher(stage)) {
                if step == Step::Decide {
                    let told: Vec<String> = timeline.told.iter().map(|host| stage.id(*host)).collect();
                    measured.actions = stage.operator.assign(set, &told)?;
                }
                happening.carry_out(stage, &step).with_context(|| format!("{} s: {step:?}", now() / 1_000_000))?;
            }
            if now() >= looked + LOOK_MS * 1_000 {
                looked = now();
                measured.look(stage, looked);
                tell(Progress::Running(measured.ppm(), looked));
            }
            if now() >= asked + ASK_MS * 1_000 {
                asked = now();
                stage.hosts.iter_mut().try_for_each(|host| host.node.check())?;
                stage.net.check()?;
                measured.ask(stage, asked)?;
                if timeline.is_over() && measured.is_over(stage) {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(PAUSE_MS));
        }
        let ended_at = now();
        measured.look(stage, ended_at);
        Ok(ended_at)
    }
}
