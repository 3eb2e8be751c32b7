//! At which of a program's calls a test kills it.

use crate::sim::engine::Random;
use std::time::{Duration, Instant};

/// All calls where `FULLMETAL_KILL=all` says so, else as many at random as fit a time. `FULLMETAL_SEED` sets the seed, which
/// is printed.
#[derive(Debug)]
pub struct Points {
    random: Random,
    /// All are taken.
    pub all: bool,
    began: Instant,
}

impl Points {
    /// As the environment says.
    pub fn chosen() -> Self {
        let seed = std::env::var("FULLMETAL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("seed {seed}");
        let random = Random::new(seed, "points");
        Points { random, all: std::env::var("FULLMETAL_KILL").is_ok_and(|kill| kill == "all"), began: Instant::now() }
    }

    /// From now on the time counts.
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Since then.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether that is all the time there is.
    pub fn is_over(&self, budget: Duration) -> bool {
        !self.all && self.elapsed() > budget
    }

    /// A number: the same seed gives the same ones.
    pub fn draw(&mut self) -> u64 {
        self.random.any()
    }

    /// One of the first `count`, from 1.
    pub fn one_of(&mut self, count: u64) -> u64 {
        self.random.below(count) + 1
    }

    /// The first `count` in some order.
    pub fn order(&mut self, count: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (1..=count).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.random.index(last + 1));
        }
        order
    }
}
