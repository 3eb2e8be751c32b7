//! Which calls a program is killed at, and what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// How often a point is tried: timing moves the number of calls by a few, so that one of the last may be missed.
const TRIES_MAX: usize = 3;

/// `FULLMETAL_SEED`, or another one each time.
pub fn seed() -> u64 {
    let given = std::env::var("FULLMETAL_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

/// All points of `1..=points`, or about `count` that lie evenly.
pub fn sample(points: u64, count: u64, seed: u64) -> Vec<u64> {
    let all = std::env::var("FULLMETAL_KILL").is_ok_and(|v| v == "all");
    let step = if all { 1 } else { (points / count).max(1) };
    (1 + seed % step..=points).step_by(usize::try_from(step).unwrap()).collect()
}

/// What was tried.
#[derive(Default)]
pub struct Tried(Mutex<Vec<(u64, Outcome)>>);

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Killed(usize),
    Missed,
    Failed,
}

impl Tried {
    /// Calls `run` for each point, `at_once` at a time; it gives how many kills hit.
    pub fn all(&self, points: Vec<u64>, at_once: usize, run: impl Fn(u64) -> usize + Sync) {
        let left = Mutex::new(points.into_iter());
        let work = || {
            while let Some(point) = { left.lock().unwrap().next() } {
                self.one(point, &run);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(work);
            }
        });
    }

    fn one(&self, point: u64, run: impl Fn(u64) -> usize) {
        let hits = catch_unwind(AssertUnwindSafe(|| (0..TRIES_MAX).map(|_| run(point)).find(|hits| *hits > 0)));
        let outcome = match hits {
            Ok(Some(hits)) => Outcome::Killed(hits),
            Ok(None) => Outcome::Missed,
            Err(_) => Outcome::Failed,
        };
        self.0.lock().unwrap().push((point, outcome));
    }

    /// Says what was tried; fails when something failed, or when hardly anything was killed.
    pub fn finish(self) {
        let tried = self.0.into_inner().unwrap();
        let which = |wanted: &dyn Fn(Outcome) -> bool| {
            let mut points: Vec<u64> = tried.iter().filter(|(_, o)| wanted(*o)).map(|(p, _)| *p).collect();
            points.sort_unstable();
            points
        };
        let killed = which(&|o| matches!(o, Outcome::Killed(_)));
        let (missed, failed) = (which(&|o| o == Outcome::Missed), which(&|o| o == Outcome::Failed));
        let kills: usize = tried.iter().map(|(_, o)| if let Outcome::Killed(hits) = o { *hits } else { 0 }).sum();
        println!("killed at {killed:?}, {kills} times with those of the starts that followed; missed {missed:?}");
        assert!(failed.is_empty(), "failed when killed at {failed:?}");
        assert!(missed.len() * 10 <= tried.len(), "missed {missed:?}");
    }
}
