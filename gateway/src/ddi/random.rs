//! The seeded generator of all jitter: devices and gateways spread out, and a test repeats itself.

use std::time::Duration;

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Somewhere from nothing to `most`, to the millisecond.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis((z ^ (z >> 31)) % (ms + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers_below_the_limit() {
        let mut random = Random::new(1_234_567);
        let most = Duration::from_millis(999_999);
        assert_eq!(random.up_to(most).as_millis(), 6_457_827_717_110_365_317 % 1_000_000);
        assert_eq!(random.up_to(most).as_millis(), 3_203_168_211_198_807_973 % 1_000_000);
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
    }
}
