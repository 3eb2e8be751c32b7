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

/// How far a running lab is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Of what all devices need together, in millionths.
    pub ppm: u64,
    /// Since the start in microseconds.
    pub now: u64,
}

/// Runs a scenario that [`command`] has read and found possible, below `dir`.
fn enact(
    (scenario, seed): (&Scenario, u64),
    sizes: &Release,
    programs: &Programs,
    dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Outcome> {
    let mut stage = Stage::new(scenario, programs, dir)?;
    let published = stage.publish(scenario, sizes, seed)?;
    let one_copy = match scenario.release.one_copy {
        Some(bytes) => bytes + bytes * u64::from(scenario.network.overhead) / 1_000_000,
        None => stage.one_copy(&published.ref_name).context("pulling one copy with `ostree pull`")?,
    };
    stage.limit(scenario.network.uplink)?;
    let mut measured = Measured::new(&stage, published.bytes, one_copy)?;
    let mut timeline = Timeline::new(scenario, seed);
    let mut happening = Happening::new(scenario.network.uplink);
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (mut looked, mut asked) = (0, 0);
    while now() < scenario.until.0 {
        if interrupted() {
            bail!("interrupted");
        }
        let steps = timeline.due(now(), measured.ppm(), &mut || happen::fetcher(&stage));
        for step in steps {
            if step == Step::Decide {
                measured.actions = stage.operator.assign(published.set, &stage.devices())?;
            }
            happening.carry_out(&mut stage, &step).with_context(|| format!("at {} s: {step:?}", now() / 1_000_000))?;
        }
        if now() >= looked + LOOK_MS * 1_000 {
            looked = now();
            measured.look(&stage, looked);
            progress(Progress { ppm: measured.ppm(), now: looked });
        }
        if now() >= asked + ASK_MS * 1_000 {
            asked = now();
            stage.hosts.iter_mut().try_for_each(|host| host.node.check())?;
            measured.ask(&stage, asked)?;
            if timeline.is_over() && measured.is_over(&stage) {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    measured.look(&stage, now());
    measured.outcome((scenario, seed), &stage, now())
}
