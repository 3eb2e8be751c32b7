//! Power loss at the gateway: its program is killed at every call that changes or syncs the disk, and started again.
//!
//! `FULLMETAL_KILL=all` takes all points, otherwise a few that lie evenly; the seed, which says where they begin, is
//! printed, `FULLMETAL_SEED` sets it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "what was tried")]

mod agent;
mod check;
mod plant;
mod points;
mod run;
mod scenario;
#[allow(dead_code, reason = "shared with the other tests")]
#[path = "../site/mod.rs"]
mod site;

use plant::Plant;
use points::{Tried, seed};
use run::Run;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs at a time: they mostly wait for polls.
const AT_ONCE: usize = 12;
/// Points that are taken unless all are: of the gateway, and of its peer, where each takes seconds.
const POINTS: u64 = 100;
const POINTS_OF_PEER: u64 = 12;
/// A gateway that was killed is killed twice more, each time at one of so many first calls after its start.
const AGAIN: u64 = 10;

#[test]
fn a_gateway_killed_at_any_call_that_touches_the_disk_loses_and_doubles_nothing() {
    let seed = seed();
    let run = played(&[0]);
    let points = run.count();
    assert!(run.hits == 0 && points > 40, "the tracer sees too little: {points}");
    println!("the scenario has {points} points; seed {seed}");
    let (tried, torn, renamed) = (Tried::default(), AtomicUsize::new(0), AtomicUsize::new(0));
    tried.all(points::sample(points, POINTS, seed), AT_ONCE, |point| {
        let again = |factor: u64| 1 + seed.wrapping_add(point * factor) % AGAIN;
        let run = played(&[point, again(7), again(3)]);
        torn.fetch_add(run.lost("torn", "audit"), Ordering::Relaxed);
        renamed.fetch_add(run.lost("taken back", ""), Ordering::Relaxed);
        run.hits
    });
    tried.finish();
    let (torn, renamed) = (torn.into_inner(), renamed.into_inner());
    println!("the audit log was torn {torn} times, {renamed} renames and removals were lost");
    assert!(torn > 0 && renamed > 0, "no kill fell between a change and its sync");
}

#[test]
fn a_gateways_peer_killed_at_any_call_that_touches_the_disk_carries_the_newest_announcement_whole() {
    let seed = seed();
    let mut plant = Plant::start();
    // The first release makes the cache, and is larger than those that follow.
    assert!(!plant.release(0) && !plant.release(0));
    let points = plant.count();
    assert!(points > 10, "the tracer sees too little: {points}");
    println!("a release has {points} points at the gateway's peer; seed {seed}");
    let (plant, tried) = (Mutex::new(plant), Tried::default());
    tried.all(points::sample(points, POINTS_OF_PEER, seed), 1, |point| {
        usize::from(plant.lock().unwrap().release(point))
    });
    tried.finish();
}

/// One way through the scenario with these kills.
fn played(kills: &[u64]) -> Run {
    let mut run = Run::start(kills);
    let actions = scenario::play(&mut run);
    run.site.kill();
    check::all(&run, &actions);
    run
}
