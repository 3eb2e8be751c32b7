//! `fullmetal-sim lab`: reads a scenario, runs it with the real programs, tells what came out.

use super::{Play, Progress, able, sweep};
use crate::lab::{self, Programs};
use crate::sim::bar::{Bar, bar};
use crate::sim::command::{or_bad_scenario, releases, tell};
use crate::sim::outcome::Outcome;
use crate::sim::scenario::Scenario;
use anyhow::{Context as _, anyhow, ensure};
use std::path::PathBuf;
use std::process::ExitCode;

/// What a person asks for.
#[derive(Debug, clap::Args)]
pub struct LabArgs {
    /// The scenario; docs/simulations.md describes it and what of it a lab can do.
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: PathBuf,
    /// What is drawn; without it the scenario's own, else 1.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print the result as JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Where the programs lie; without it, beside this one.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Keep the hosts' directories with all logs afterwards, to look at them.
    #[arg(long)]
    pub keep: bool,
}

/// Runs a scenario. Exit status 0, 1 when an expectation or the lab fails, 2 for a scenario that a lab cannot do.
pub fn run(args: &LabArgs) -> anyhow::Result<ExitCode> {
    or_bad_scenario(measure(args), |outcome| tell(args.json, &outcome))
}

fn measure(args: &LabArgs) -> anyhow::Result<Outcome> {
    let scenario = Scenario::read(&args.scenario)?;
    let seed = args.seed.or(scenario.seed).unwrap_or(1);
    let notes = able::check(&scenario)?;
    let releases = releases(&scenario, seed, &args.scenario)?;
    ensure!(rustix::process::geteuid().is_root(), "a lab makes network namespaces and runs containers: it needs root");
    let programs = Programs::find(args.programs.clone())?;
    lab::on_interrupt()?;
    sweep::sweep();
    let dir = tempfile::Builder::new().prefix(&sweep::prefix()).tempdir_in(sweep::DIR);
    let dir = dir.with_context(|| format!("making a directory below {}", sweep::DIR))?;
    let mut line = Bar::new();
    let mut tell = |progress| match progress {
        Progress::Preparing(what) => line.draw_now(|| what.to_owned()),
        Progress::Running(ppm, us) => {
            line.draw(|| format!("{} {:3} %  {} s", bar(ppm, 1_000_000), ppm / 10_000, us / 1_000_000));
        }
    };
    let play = Play { scenario: &scenario, seed, sizes: releases.get(0), programs: &programs, dir: dir.path() };
    // A thread of its own: it moves to another network namespace.
    let result = std::thread::scope(|scope| {
        scope.spawn(|| play.enact(&mut tell)).join().unwrap_or_else(|_| Err(anyhow!("the lab ended by a panic")))
    });
    line.clear();
    if args.keep || (result.is_err() && !lab::interrupted()) {
        let kept = PathBuf::from(sweep::DIR).join(format!("kept-by-fullmetal-sim-{}", std::process::id()));
        let dir = dir.keep();
        let place = if std::fs::rename(&dir, &kept).is_ok() { kept } else { dir };
        eprintln!("the hosts' directories with all logs are in {}", place.display());
    }
    let mut outcome = result?;
    if let Some(figures) = &mut outcome.lab {
        figures.notes = notes;
    }
    Ok(outcome)
}
