//! Power loss at the gateway: its program is killed at every call that changes or syncs the disk, and started again.
//!
//! `FULLMETAL_KILL=all` takes all points, otherwise a few that lie evenly; the seed, which says where they begin, is
//! printed, `FULLMETAL_SEED` sets it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what was tried")]

mod check;
mod points;
mod run;
mod scenario;
#[allow(dead_code, reason = "shared with the other tests")]
#[path = "../site/mod.rs"]
mod site;

use points::{Tried, seed};
use run::Run;

/// Runs at a time: they mostly wait for polls.
const AT_ONCE: usize = 8;
/// Points that are taken unless all are.
const POINTS: u64 = 40;
/// Every other gateway that was killed is killed again, at one of the first calls after its start.
const AGAIN: u64 = 12;

/// One way through the scenario with kills; gives how many there were.
fn run_with(kills: &[u64]) -> (usize, u64) {
    let mut run = Run::start(kills);
    let actions = scenario::play(&mut run);
    run.site.kill();
    check::all(&run, &actions);
    (run.hits, run.count())
}

#[test]
fn a_gateway_killed_at_any_call_that_touches_the_disk_loses_and_doubles_nothing() {
    let seed = seed();
    let (hits, points) = run_with(&[0]);
    assert!(hits == 0 && points > 40, "the tracer sees too little: {points}");
    println!("the scenario has {points} points; seed {seed}");
    let tried = Tried::default();
    tried.all(points::sample(points, POINTS, seed), AT_ONCE, |point| {
        let again = (seed ^ point) % (2 * AGAIN);
        let kills: Vec<u64> = [point, again].into_iter().take(if again <= AGAIN { 2 } else { 1 }).collect();
        run_with(&kills).0
    });
    tried.finish();
}
