//! At which of a program's calls a test kills it.

use std::time::{Duration, Instant};

/// All calls where `FULLMETAL_KILL=all` says so, else as many at random as fit a time. `FULLMETAL_SEED` sets the seed, which
/// is printed.
#[derive(Debug)]
pub struct Points {
    state: u64,
    /// All are taken.
    pub all: bool,
    began: Instant,
}

impl Points {
    /// As the environment says.
    pub fn chosen() -> Self {
        let seed = std::env::var("FULLMETAL_SEED").ok().and_then(|seed| seed.parse().ok());
        let state: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("seed {state}");
        Points { state, all: std::env::var("FULLMETAL_KILL").is_ok_and(|kill| kill == "all"), began: Instant::now() }
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

    /// A number (splitmix64): the same seed gives the same ones.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the first `count`, from 1.
    pub fn one_of(&mut self, count: u64) -> u64 {
        self.draw() % count.max(1) + 1
    }

    /// The first `count` in some order.
    pub fn order(&mut self, count: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (1..=count).collect();
        for last in (1..order.len()).rev() {
            let other = self.draw() % (last as u64 + 1);
            order.swap(last, usize::try_from(other).unwrap_or(last));
        }
        order
    }
}
