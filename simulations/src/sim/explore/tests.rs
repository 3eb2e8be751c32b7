use super::command::{ExploreArgs, replay};
use super::*;
use crate::sim::checkers::Checker;
use crate::sim::command::{RunArgs, read};
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::{Action, When};
use crate::sim::world::World;
use clap::Parser;

const SCENARIO: &str = include_str!("../../../tests/small.toml");

fn scenario() -> Scenario {
    Scenario::parse(SCENARIO, Path::new("small.toml")).unwrap()
}

fn seeds(count: u64) -> Seeds {
    Seeds { first: 1, count, shard: Shard { index: 1, count: 1 } }
}

/// A rule that faults break: nobody's process may end.
#[derive(Debug)]
struct NobodyEnds;

impl Checker for NobodyEnds {
    fn name(&self) -> &'static str {
        "nobody ends"
    }

    fn observe(&mut self, _: Moment, _: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Gone { node } => Err(format!("{node} is gone")),
            _ => Ok(()),
        }
    }
}

fn planted() -> Checkers {
    Checkers::new(vec![Box::new(NobodyEnds)])
}

fn planted_finding() -> Finding {
    explore(&scenario(), Path::new("small.toml"), seeds(50), &planted, |_| {}).unwrap().expect("nothing found")
}

#[test]
fn a_seed_draws_the_same_faults_again_and_another_seed_others() {
    let draw = |seed| faults::draw(&scenario(), 20_000_000, seed);
    for seed in 1..30 {
        assert_eq!(format!("{:?}", draw(seed)), format!("{:?}", draw(seed)));
        assert_ne!(format!("{:?}", draw(seed)), format!("{:?}", draw(seed + 1)));
    }
}

#[test]
fn every_kind_of_fault_is_drawn_and_all_but_lies_are_over_before_the_end() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 1..200 {
        let faulty = faults::with_faults(&scenario(), 20_000_000, seed);
        assert!((2..=12).contains(&faulty.happenings.len()));
        for happening in &faulty.happenings {
            let When::At(at) = happening.when else { panic!("{happening:?}") };
            let lies = matches!(happening.action, Action::Lie(..));
            assert!(lies == happening.lasting.is_none(), "{happening:?}");
            assert!(at.after(happening.lasting.unwrap_or(0) + 12 * happening.each) < faulty.until, "{happening:?}");
            let text = format!("{:?}", happening.action);
            kinds.insert(
                text.split_once('(').unwrap().0.to_owned() + if text.contains("Gateway") { " gateway" } else { "" },
            );
            kinds.extend(
                ["Stalled", "Failing", "Missing", "Corrupt"]
                    .into_iter()
                    .filter(|m| text.contains(m))
                    .map(str::to_owned),
            );
        }
    }
    assert_eq!(kinds.len(), 7 + 2 + 4, "{kinds:?}");
}

#[test]
fn longer_scenarios_have_more_faults() {
    let drawn = |bytes| (1..50).map(|seed| faults::draw(&scenario(), bytes, seed).len()).sum::<usize>();
    assert!(drawn(200_000_000) > drawn(20_000_000) * 3 / 2);
}

#[test]
fn shards_divide_the_seeds() {
    let part = |index| Seeds { first: 5, count: 10, shard: Shard { index, count: 3 } }.iter().collect::<Vec<_>>();
    assert_eq!((part(1), part(2), part(3)), (vec![5, 8, 11, 14], vec![6, 9, 12], vec![7, 10, 13]));
    assert_eq!("2/3".parse(), Ok(Shard { index: 2, count: 3 }));
    for wrong in ["0/3", "4/3", "3", "a/b", "1/0", ""] {
        assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
    }
}

#[derive(Parser)]
enum Cli {
    Run(RunArgs),
    Explore(ExploreArgs),
}

#[test]
fn a_planted_failure_is_found_and_its_command_replays_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("small.toml");
    std::fs::write(&file, SCENARIO).unwrap();
    let finding = planted_finding();
    assert_eq!(finding.failure.name(), "nobody ends");
    let command = replay(&file, finding.seed);
    let Cli::Run(args) = Cli::parse_from(command.split(' ')) else { panic!("{command}") };
    let (scenario, seed) = read(&args).unwrap();
    assert_eq!(seed, finding.seed);
    assert_eq!(attempt(&scenario, &file, planted()).unwrap().0, Some(finding.failure));
}

#[test]
fn a_planted_failure_shrinks_to_fewer_faults_and_devices_and_is_written_so_that_it_fails_again() {
    let (finding, file) = (planted_finding(), Path::new("small.toml"));
    let shrunk = shrink(&finding, file, &planted, |_| {}).unwrap();
    assert!(shrunk.scenario.happenings.len() < finding.scenario.happenings.len());
    assert_eq!((shrunk.scenario.happenings.len(), shrunk.scenario.devices()), (1, 1));
    assert!(shrunk.scenario.until < finding.scenario.until);
    let read = Scenario::parse(&shrunk.toml(), file).unwrap();
    assert_eq!(attempt(&read, file, planted()).unwrap().0, Some(shrunk.failure));
}

/// A core that panics when a device has everything.
#[derive(Debug)]
struct Panics;

impl Checker for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn observe(&mut self, _: Moment, _: &World, observation: &Observation) -> Result<(), String> {
        assert!(!matches!(observation, Observation::Completed { .. }), "complete");
        Ok(())
    }
}

#[test]
fn a_panic_is_found_with_its_seed() {
    let panics = || Checkers::new(vec![Box::new(Panics)]);
    let finding = explore(&scenario(), Path::new("small.toml"), seeds(1), &panics, |_| {}).unwrap().unwrap();
    assert_eq!(finding.failure, Failure::Panicked("complete (seed 1)".to_owned()));
}

#[test]
fn devices_that_never_have_everything_are_found() {
    let mut scenario = scenario();
    scenario.groups[0].origin = false;
    scenario.gateway.origin = false;
    let finding = explore(&scenario, Path::new("small.toml"), seeds(1), &Checkers::all, |_| {}).unwrap().unwrap();
    assert_eq!(finding.failure.name(), "convergence");
}

#[test]
fn an_end_that_the_gateway_never_hears_of_is_found() {
    let text = format!("{SCENARIO}[[event]]\nat = \"30 s\"\npower_cut = \"gateway\"\n");
    let scenario = Scenario::parse(&text, Path::new("small.toml")).unwrap();
    let (failure, _) = attempt(&scenario, Path::new("small.toml"), Checkers::all()).unwrap();
    assert_eq!(failure.map(|f| f.name()), Some("reports"));
}

#[test]
fn ten_seeds_of_a_small_site_break_nothing() {
    let found = explore(&scenario(), Path::new("small.toml"), seeds(10), &Checkers::all, |_| {}).unwrap();
    assert!(found.is_none(), "{}", found.unwrap().failure);
}

#[test]
fn bad_usage_is_refused() {
    let parse = |text: &str| Cli::try_parse_from(text.split(' ')).is_ok();
    assert!(parse("sim explore x.toml --seeds 4 --first 9 --shard 2/3 --json --out y.toml"));
    for wrong in ["--seeds 0", "--seeds x", "--seeds 4 --shard 3/2", "--first 3"] {
        assert!(!parse(&format!("sim explore x.toml {wrong}")), "{wrong}");
    }
}
