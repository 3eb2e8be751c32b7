//! Random faults over the shipped scenarios that are quick: the same seeds each time, and three that nobody has seen.

use fullmetal_sim::sim::checkers::Checkers;
use fullmetal_sim::sim::explore::command::replay;
use fullmetal_sim::sim::explore::{Seeds, Shard, explore};
use fullmetal_sim::sim::scenario::Scenario;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SHIPPED: [&str; 5] = ["fetcher-dies", "gateway-dies", "liars", "rolling-reboots", "two-releases"];

fn look(first: u64, count: u64) {
    for name in SHIPPED {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"));
        let scenario = Scenario::read(&file).unwrap();
        let seeds = Seeds { first, count, shard: Shard { index: 1, count: 1 } };
        if let Some(finding) = explore(&scenario, &file, seeds, &Checkers::all, |_| {}).unwrap() {
            panic!("{}\nto repeat it: {}", finding.failure, replay(&file, finding.seed));
        }
    }
}

#[test]
fn three_known_seeds_break_nothing() {
    look(1, 3);
}

/// What fails here is a finding, whatever the change that it fails with: keep the scenario, then mend it.
#[test]
fn three_fresh_seeds_break_nothing() {
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    println!("fresh seeds from {first} on");
    look(first, 3);
}
