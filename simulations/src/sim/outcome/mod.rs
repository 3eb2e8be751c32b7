//! What came out of a run: figures, expectations, as JSON and for people.

use super::checkers::Violation;
use super::engine::{Moment, TraceHash};
use super::scenario::{Expectation, Manner, Measure, Relation, Scenario};
use super::world::{Node, World};
use fullmetal_proto::wire::ReportState;
use serde_json::{Value, json};
use std::fmt::Write as _;

mod lab;

pub use lab::{Frames, LabDevice, LabFigures};

/// The version of the JSON: it rises when a field goes or changes its meaning.
pub const SCHEMA: u32 = 1;

/// What came out of a run. Times in microseconds of virtual time, sizes in bytes, copies in thousandths.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// Names the run; a lab has no two runs that are the same.
    pub hash: Option<TraceHash>,
    /// When it ended.
    pub ended_at: Moment,
    /// Devices in all; honest ones that were on at the end; those of them that had everything.
    pub devices: usize,
    /// See [`Outcome::devices`].
    pub counted: usize,
    /// See [`Outcome::devices`].
    pub converged: usize,
    /// When 50, 99 and 100 % of the counted had everything.
    pub times: [Option<u64>; 3],
    /// The same for each release, counted by the devices that it is for.
    pub releases: Vec<Times>,
    /// Thousandths of a copy over the uplink.
    pub copies: u64,
    /// Bytes over the uplink, trunks, into ports, over the air, on control streams.
    pub bytes: [u64; 5],
    /// Bytes fetched for nothing.
    pub wasted: u64,
    /// Requests to central and to neighbours, and how many of these were told Busy.
    pub requests: [u64; 3],
    /// The most devices that fetched pieces from central at a time.
    pub fetchers_max: u64,
    /// Messages on control streams.
    pub messages: u64,
    /// Neighbours banned.
    pub bans: u64,
    /// Events handled.
    pub events: u64,
    /// Devices that were on at the end without everything, the first of them.
    pub lacking: Vec<String>,
    /// Each expectation, what was measured, and whether it held.
    pub expectations: Vec<(Expectation, Option<u64>, bool)>,
    /// Honest devices that were on at the end and of which the gateway lacks the end of an action, the first of them.
    pub unreported: Vec<String>,
    /// How many actions of devices ended in success, failed, were withdrawn, as the gateway was told.
    pub ends: [usize; 3],
    /// Lines of events that waited for a share which never was reached.
    pub not_begun: Vec<usize>,
    /// Lines of events that were still to be undone at the end; a lab does not tell.
    pub not_over: Vec<usize>,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// What only a lab tells; figures that a lab does not see are 0 then, and null in JSON.
    pub lab: Option<LabFigures>,
}

/// When devices had all of something, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How many devices count.
    pub counted: usize,
    /// How many of them had it.
    pub had: usize,
    /// When 50, 99 and 100 % had it.
    pub at: [Option<u64>; 3],
}

impl Times {
    /// When each of some devices had it, in microseconds, if it had.
    pub fn of(devices: impl Iterator<Item = Option<u64>>) -> Self {
        let all: Vec<Option<u64>> = devices.collect();
        let mut times: Vec<u64> = all.iter().flatten().copied().collect();
        times.sort_unstable();
        let percentile = |percent: usize| match (all.len() * percent).div_ceil(100) {
            0 => None,
            nth => times.get(nth - 1).copied(),
        };
        Times { counted: all.len(), had: times.len(), at: [50, 99, 100].map(percentile) }
    }
}

/// Names of devices that a result lists.
pub const LACKING_MAX: usize = 10;

impl Outcome {
    /// Measures a world that has run.
    pub fn of(world: &World, scenario: &Scenario, seed: u64, violation: Option<Violation>) -> Self {
        let counted: Vec<_> = world.counted().collect();
        let times = Times::of(counted.iter().map(|(node, goal)| node.held(*goal).done_at.map(|at| at.0)));
        let honest = |node: &&Node| node.manner == Manner::Honest && node.is_on();
        let of_release = |release: usize| {
            let devices = (1..world.len()).filter(|node| world.is_for(release, *node)).map(|node| world.node(node));
            Times::of(devices.filter(honest).map(|node| node.held(release).done_at.map(|at| at.0)))
        };
        let figures = world.figures();
        let (trunks, ports, air) = world.local_bytes();
        let uplink = world.uplink_bytes();
        let mut outcome = Outcome {
            name: scenario.name.clone(),
            seed,
            hash: Some(world.trace().hash()),
            ended_at: world.now(),
            devices: scenario.devices(),
            counted: counted.len(),
            converged: times.had,
            times: times.at,
            releases: (0..world.releases().count()).map(of_release).collect(),
            copies: copies(uplink, world.one_copy_bytes()),
            bytes: [uplink, trunks, ports, air, figures.control_bytes],
            wasted: figures.wasted,
            requests: [figures.requests, figures.requests_to_peers, figures.busy],
            fetchers_max: figures.fetchers_max as u64,
            messages: figures.control_messages,
            bans: figures.bans,
            events: figures.events,
            lacking: world.lacking().take(LACKING_MAX).map(|n| n.id.to_string()).collect(),
            expectations: Vec::new(),
            unreported: world.unreported().take(LACKING_MAX).map(|n| n.id.to_string()).collect(),
            ends: [ReportState::Succeeded, ReportState::Failed, ReportState::Withdrawn].map(|state| world.ends(state)),
            not_begun: scenario.event_lines(world.not_begun()),
            not_over: scenario.event_lines(world.not_over()),
            violation,
            lab: None,
        };
        outcome.judge(scenario);
        outcome
    }

    /// Holds what was measured against what is expected.
    pub fn judge(&mut self, scenario: &Scenario) {
        let judge = |expectation: &Expectation| {
            let measured = self.measure(expectation.measure);
            (expectation.clone(), measured, measured.is_some_and(|m| holds(expectation, m)))
        };
        self.expectations = scenario.expectations.iter().map(judge).collect();
    }

    /// Where it was run.
    pub fn world(&self) -> &'static str {
        if self.lab.is_some() { "lab" } else { "simulation" }
    }

    /// Whether all expectations held and no rule was broken.
    pub fn is_good(&self) -> bool {
        self.violation.is_none() && self.expectations.iter().all(|(_, _, held)| *held)
    }

    /// Whether the gateway has the end of each action that honest devices took note of, and of those that brought them
    /// their last release.
    pub fn reported(&self) -> bool {
        self.unreported.is_empty()
    }

    fn measure(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Copies => Some(self.copies),
            Measure::Time50 => self.times[0],
            Measure::Time99 => self.times[1],
            Measure::Time100 => self.times[2],
            Measure::Uplink => Some(self.bytes[0]),
            Measure::Trunks => Some(self.bytes[1]),
            Measure::Ports => Some(self.bytes[2]),
            Measure::Wasted => Some(self.wasted),
            Measure::Requests => Some(self.requests[0]),
            // A lab does not see them.
            Measure::Fetchers => self.lab.is_none().then_some(self.fetchers_max),
            Measure::Converged => Some(u64::from(self.counted > 0 && self.converged == self.counted)),
            Measure::Reported => Some(u64::from(self.reported())),
        }
    }

    /// As JSON: times in milliseconds, sizes in bytes; what was measured for an expectation in its `unit`.
    pub fn json(&self) -> Value {
        let ms = |us: Option<u64>| us.map(|us| us / 1_000);
        let expectation = |(e, measured, held): &(Expectation, Option<u64>, bool)| json!({ "key": e.key, "expected": e.text, "measured": measured, "unit": unit(e.measure), "held": held });
        let simulated = |n: u64| self.lab.is_none().then_some(n);
        json!({
            "schema": SCHEMA,
            "world": self.world(),
            "scenario": self.name,
            "seed": self.seed,
            "trace": self.hash.map(|hash| hash.to_string()),
            "ended_at_ms": self.ended_at.0 / 1_000,
            "devices": { "all": self.devices, "counted": self.counted, "converged": self.converged },
            "reported": self.reported(),
            "unreported": self.unreported,
            "ends": { "succeeded": self.ends[0], "failed": self.ends[1], "withdrawn": self.ends[2] },
            "lacking": self.lacking,
            "time_ms": { "50": ms(self.times[0]), "99": ms(self.times[1]), "100": ms(self.times[2]) },
            "releases": self.releases.iter().map(|times| {
                let [half, most, all] = times.at.map(ms);
                json!({
                    "counted": times.counted,
                    "converged": times.had,
                    "time_ms": { "50": half, "99": most, "100": all },
                })
            }).collect::<Vec<_>>(),
            "copies_thousandths": self.copies,
            "bytes": {
                "uplink": self.bytes[0],
                "trunks": self.bytes[1],
                "ports": self.bytes[2],
                "air": simulated(self.bytes[3]),
                "control": simulated(self.bytes[4]),
                "wasted": simulated(self.wasted),
            },
            "requests": { "central": self.requests[0], "neighbours": simulated(self.requests[1]), "busy": simulated(self.requests[2]) },
            "fetchers_max": simulated(self.fetchers_max),
            "messages": simulated(self.messages),
            "bans": simulated(self.bans),
            "events": simulated(self.events),
            "expectations": self.expectations.iter().map(expectation).collect::<Vec<_>>(),
            "events_not_begun": self.not_begun,
            "events_not_over": self.lab.is_none().then_some(&self.not_over),
            "violation": self.violation.as_ref().map(|v| {
                json!({ "checker": v.checker, "at_ms": v.at.0 / 1_000, "what": v.what })
            }),
            "lab": self.lab.as_ref().map(LabFigures::json),
            "good": self.is_good(),
        })
    }

    /// For a person at a terminal.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let mut line = |label: &str, text: String| writeln!(out, "{label:<14}{text}").unwrap_or_default();
        line("scenario", self.name.clone());
        line("seed", self.seed.to_string());
        match self.hash {
            Some(hash) => {
                line("trace", format!("{hash} ({} events, until {} s)", self.events, seconds(self.ended_at.0)))
            }
            None => line("lab", format!("real programs, until {} s", seconds(self.ended_at.0))),
        }
        line("devices", format!("{} of {} have everything ({} in all)", self.converged, self.counted, self.devices));
        if !self.lacking.is_empty() {
            line("", format!("lacking: {}", self.lacking.join(", ")));
        }
        let time = |us: Option<u64>| us.map_or_else(|| "never".to_owned(), |us| format!("{} s", seconds(us)));
        let [half, most, all] = self.times.map(time);
        line("time", format!("50 %: {half}   99 %: {most}   100 %: {all}"));
        if self.ends != [0; 3] {
            let [succeeded, failed, withdrawn] = self.ends;
            line("ends", format!("succeeded {succeeded}   failed {failed}   withdrawn {withdrawn}"));
        }
        line("copies", format!("{} ({} over the uplink)", thousandths(self.copies), bytes(self.bytes[0])));
        let [_, trunks, ports, air, control] = self.bytes.map(bytes);
        let [central, neighbours, busy] = self.requests;
        if let Some(lab) = &self.lab {
            line("bytes", format!("ports {ports}   trunks {trunks}"));
            line("requests", format!("central {central}"));
            lab.lines().into_iter().for_each(|(label, text)| line(label, text));
        } else {
            let wasted = bytes(self.wasted);
            line("bytes", format!("ports {ports}   trunks {trunks}   air {air}   control {control}   wasted {wasted}"));
            line(
                "requests",
                format!(
                    "central {central} (from {} at a time)   neighbours {neighbours} ({busy} busy)   bans {}",
                    self.fetchers_max, self.bans
                ),
            );
        }
        for (what, lines) in [("did not happen", &self.not_begun), ("was not over", &self.not_over)] {
            lines.iter().for_each(|at| line("events", format!("{what}: event at line {at}")));
        }
        for (expectation, measured, held) in &self.expectations {
            let measured = measured.map_or_else(|| "nothing".to_owned(), |m| shown(expectation.measure, m));
            let verdict = if *held { "held" } else { "FAILED" };
            line("expected", format!("{} {}: {measured}: {verdict}", expectation.key, expectation.text));
        }
        if let Some(Violation { checker, at, what }) = &self.violation {
            line("BROKEN", format!("{checker} at {at} s: {what}"));
        }
        out
    }
}

/// Thousandths of a copy.
pub fn copies(bytes: u64, one_copy: u64) -> u64 {
    (u128::from(bytes) * 1_000 / u128::from(one_copy.max(1))) as u64
}

fn holds(expectation: &Expectation, measured: u64) -> bool {
    match expectation.relation {
        Relation::AtMost => measured <= expectation.limit,
        Relation::AtLeast => measured >= expectation.limit,
        // What people see decides: a time is measured more exactly than it can be told.
        Relation::Equal => shown(expectation.measure, measured) == shown(expectation.measure, expectation.limit),
    }
}

/// In what JSON has what was measured for an expectation.
fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::Copies => "thousandths",
        Measure::Time50 | Measure::Time99 | Measure::Time100 => "microseconds",
        Measure::Uplink | Measure::Trunks | Measure::Ports | Measure::Wasted => "bytes",
        Measure::Requests => "requests",
        Measure::Fetchers => "devices",
        Measure::Converged | Measure::Reported => "1: true, 0: false",
    }
}

fn shown(measure: Measure, value: u64) -> String {
    match measure {
        Measure::Copies => thousandths(value),
        Measure::Time50 | Measure::Time99 | Measure::Time100 => format!("{} s", seconds(value)),
        Measure::Uplink | Measure::Trunks | Measure::Ports | Measure::Wasted => bytes(value),
        Measure::Requests | Measure::Fetchers => value.to_string(),
        Measure::Converged | Measure::Reported => (value == 1).to_string(),
    }
}

/// Microseconds as seconds with three places.
pub(super) fn seconds(us: u64) -> String {
    format!("{}.{:03}", us / 1_000_000, us / 1_000 % 1_000)
}

/// Thousandths as a number with three places.
pub(super) fn thousandths(n: u64) -> String {
    format!("{}.{:03}", n / 1_000, n % 1_000)
}

/// Bytes for people.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{}.{} kB", n / 1_000, n / 100 % 10),
        _ => format!("{}.{} MB", n / 1_000_000, n / 100_000 % 10),
    }
}
