//! `fullmetal-sim explore`: runs seed after seed, tells the first that fails, how to replay it, and a small scenario
//! that fails the same way.

use super::{Finding, Seeds, Shard, Shrunk, explore, shrink};
use crate::sim::bar::{Bar, bar as progress};
use crate::sim::checkers::Checkers;
use crate::sim::command::or_bad_scenario;
use crate::sim::scenario::{Scenario, ScenarioError};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The version of the JSON: it rises when a field goes or changes its meaning.
const SCHEMA: u32 = 1;
/// The highest first seed: those after it must fit into a scenario file, too.
const FIRST_MAX: u64 = 1 << 62;

/// What a person asks for.
#[derive(Debug, clap::Args)]
pub struct ExploreArgs {
    /// The scenario; docs/simulations.md describes it.
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: PathBuf,
    /// How many seeds to try.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=FIRST_MAX))]
    pub first: u64,
    /// Try only every n-th of them, beginning with the i-th: so n machines share the work.
    #[arg(long, value_name = "i/n", default_value = "1/1")]
    pub shard: Shard,
    /// Print the result as JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Write the small scenario that fails to this file instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Looks for a seed that fails. Exit status 0 when none does, 1 when one is found, 2 for a bad scenario.
pub fn run(args: &ExploreArgs) -> anyhow::Result<ExitCode> {
    or_bad_scenario(find(args), |result| {
        let text = if args.json { format!("{}\n", result.json(args)) } else { result.text(args) };
        std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")?;
        let Some((_, shrunk)) = &result.found else { return Ok(ExitCode::SUCCESS) };
        if let Some(path) = &args.out
            && let Err(error) = std::fs::write(path, shrunk.toml())
        {
            // What a long search has found is not to be lost.
            anyhow::bail!("writing {}: {error}; the scenario is\n\n{}", path.display(), shrunk.toml());
        }
        Ok(ExitCode::FAILURE)
    })
}

/// The command that runs a scenario with the faults of a seed once more.
pub fn replay(scenario: &Path, seed: u64) -> String {
    format!("fullmetal-sim run {} --seed {seed} --faults", shell(&scenario.to_string_lossy()))
}

/// What was found in so many runs.
struct Found {
    runs: u64,
    found: Option<(Finding, Shrunk)>,
}

fn find(args: &ExploreArgs) -> anyhow::Result<Found> {
    let scenario = Scenario::read(&args.scenario)?;
    let seeds = Seeds { first: args.first, count: args.seeds, shard: args.shard };
    let mut bar = Bar::new();
    let hook = std::panic::take_hook();
    // A panic is a finding: it is told once, with its seed, and not for each run that makes the scenario smaller.
    std::panic::set_hook(Box::new(|_| {}));
    let found = search(args, &scenario, seeds, &mut bar);
    std::panic::set_hook(hook);
    bar.clear();
    Ok(found?)
}

fn search(args: &ExploreArgs, scenario: &Scenario, seeds: Seeds, bar: &mut Bar) -> Result<Found, ScenarioError> {
    let (all, started_at, mut runs) = (seeds.runs(), Instant::now(), 0);
    let finding = explore(scenario, &args.scenario, seeds, &Checkers::all, |done| {
        runs = done;
        bar.draw(|| {
            let tenths = u128::from(done) * 10_000 / started_at.elapsed().as_millis().max(1);
            format!("{} {done} of {all} runs, {}.{} seeds/s", progress(done, all), tenths / 10, tenths % 10)
        });
    })?;
    let Some(finding) = finding else { return Ok(Found { runs, found: None }) };
    let shrunk = shrink(&finding, &args.scenario, &Checkers::all, |tried| {
        bar.draw(|| format!("found one; shrinking: {tried} runs"));
    })?;
    Ok(Found { runs: runs + 1, found: Some((finding, shrunk)) })
}

impl Found {
    fn text(&self, args: &ExploreArgs) -> String {
        let Some((finding, shrunk)) = &self.found else {
            return format!("nothing found in {} runs\n", self.runs);
        };
        let mut out = String::new();
        // Writing to a string cannot fail.
        let mut line = |label: &str, text: &str| writeln!(out, "{label:<14}{text}").unwrap_or_default();
        line("seed", &finding.seed.to_string());
        line("runs", &self.runs.to_string());
        line("BROKEN", &finding.failure.to_string());
        line("replay", &replay(&args.scenario, finding.seed));
        let (events, devices) = (shrunk.scenario.happenings.len(), shrunk.scenario.devices());
        line("shrunk", &format!("to {events} events and {devices} devices in {} runs", shrunk.runs));
        line("BROKEN", &shrunk.failure.to_string());
        match &args.out {
            Some(path) => line("replay", &format!("fullmetal-sim run {}", shell(&path.to_string_lossy()))),
            None => write!(out, "\n{}", shrunk.toml()).unwrap_or_default(),
        }
        out
    }

    fn json(&self, args: &ExploreArgs) -> Value {
        let found = self.found.as_ref().map(|(finding, shrunk)| {
            json!({
                "seed": finding.seed,
                "failure": { "checker": finding.failure.name(), "what": finding.failure.to_string() },
                "replay": replay(&args.scenario, finding.seed),
                "shrunk": {
                    "runs": shrunk.runs,
                    "events": shrunk.scenario.happenings.len(),
                    "devices": shrunk.scenario.devices(),
                    "what": shrunk.failure.to_string(),
                    "file": args.out,
                    "toml": shrunk.toml(),
                },
            })
        });
        json!({
            "schema": SCHEMA,
            "scenario": args.scenario,
            "first": args.first,
            "seeds": args.seeds,
            "shard": [args.shard.index, args.shard.count],
            "runs": self.runs,
            "found": found,
        })
    }
}

/// As a word of a shell's command line.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
