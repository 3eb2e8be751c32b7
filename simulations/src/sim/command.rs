//! `fullmetal-sim run`: reads a scenario, runs it, tells what came out.

use super::bar::{Bar, bar};
use super::checkers::Checkers;
use super::engine::Trace;
use super::explore;
use super::log;
use super::outcome::Outcome;
use super::release::Releases;
use super::scenario::{Calibration, Place, Scenario, ScenarioError, Sizes};
use super::world::World;
use anyhow::Context as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit status of a scenario that cannot be run.
const EXIT_SCENARIO: u8 = 2;

/// What a person asks for.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The scenario; docs/simulations.md describes it.
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: PathBuf,
    /// What chance does; without it the scenario's own, else 1.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Add the faults that `explore` draws from the seed; of what is expected, only that all converge and report is left.
    #[arg(long)]
    pub faults: bool,
    /// What the models take from real machines, instead of the defaults; docs/simulations.md describes it.
    #[arg(long, value_name = "FILE.toml")]
    pub calibration: Option<PathBuf>,
    /// Print the result as JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Write everything that happens to this file, a line each.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// Runs a scenario. Exit status 0, 1 when an expectation fails or a rule is broken, 2 for a bad scenario.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    or_bad_scenario(simulate(args), |outcome| tell(args.json, &outcome))
}

/// Goes on with what came out; a scenario that cannot be run is told, and has an exit status of its own.
pub fn or_bad_scenario<T>(
    result: anyhow::Result<T>,
    tell: impl FnOnce(T) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if error.is::<ScenarioError>() => {
            eprintln!("fullmetal-sim: {error:#}");
            Ok(ExitCode::from(EXIT_SCENARIO))
        }
        other => tell(other?),
    }
}

/// Prints what came out. Exit status 0, or 1 when an expectation failed or a rule was broken.
pub fn tell(json: bool, outcome: &Outcome) -> anyhow::Result<ExitCode> {
    let text = if json { format!("{}\n", outcome.json()) } else { outcome.summary() };
    std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")?;
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn simulate(args: &RunArgs) -> anyhow::Result<Outcome> {
    let (scenario, seed) = read(args)?;
    let (log, whole) = args.trace.as_deref().map(log::create).transpose()?.unzip();
    let mut bar = Bar::new();
    let outcome = outcome(&scenario, seed, log, &args.scenario, |world| bar.draw(|| progress(world)))?;
    bar.clear();
    whole.map_or(Ok(()), |whole| whole.check())?;
    Ok(outcome)
}

fn progress(world: &World) -> String {
    let percent = world.progress() / 10_000;
    format!("{} {percent:3} %  {} s of virtual time", bar(u64::from(percent), 100), world.now().0 / 1_000_000)
}

/// The scenario that is asked for, and its seed.
pub fn read(args: &RunArgs) -> Result<(Scenario, u64), ScenarioError> {
    let calibration = args.calibration.as_deref().map_or_else(|| Ok(Calibration::default()), Calibration::read)?;
    let scenario = Scenario::read(&args.scenario)?.calibrated(calibration);
    let seed = args.seed.or(scenario.seed).unwrap_or(1);
    let scenario = if args.faults { explore::faulty(&scenario, &args.scenario, seed)? } else { scenario };
    Ok((scenario, seed))
}

/// Runs a scenario that was read; `file` is named in errors, `progress` sees the world from time to time.
pub fn outcome(
    scenario: &Scenario,
    seed: u64,
    log: Option<Box<dyn Write>>,
    file: &Path,
    progress: impl FnMut(&World),
) -> Result<Outcome, ScenarioError> {
    outcome_with(scenario, seed, log, file, Checkers::all(), progress)
}

/// The same with other rules.
pub fn outcome_with(
    scenario: &Scenario,
    seed: u64,
    log: Option<Box<dyn Write>>,
    file: &Path,
    checkers: Checkers,
    progress: impl FnMut(&World),
) -> Result<Outcome, ScenarioError> {
    let releases = releases(scenario, seed, file)?;
    let mut world = World::new(scenario, releases, seed, Trace::new(log), checkers);
    let violation = world.run(scenario.until, progress);
    Ok(Outcome::of(&world, scenario, seed, violation))
}

/// The releases of a scenario; `file` is named in errors.
pub fn releases(scenario: &Scenario, seed: u64, file: &Path) -> Result<Releases, ScenarioError> {
    Releases::new(scenario, seed).map_err(|error| {
        let place = match &scenario.release.sizes {
            Sizes::FromRepo { place, .. } => place.clone(),
            _ => Place { file: file.into(), line: 1 },
        };
        let reason = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let reason = reason.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        ScenarioError::Repo { place, key: "from_repo".to_owned(), reason }
    })
}
