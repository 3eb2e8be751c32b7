//! Seeded draws: ties must be broken differently by each peer, and alike in each run of a test.

use std::time::Duration;

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>; Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014); equal seeds give equal draws.
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Draw(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let drawn = self.next();
        if n == 0 { 0 } else { (drawn % n as u64) as usize }
    }

    /// Somewhere from nothing to `most`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis(self.next() % (ms + 1))
    }
}

/// The finalizer of SplitMix64: every bit of the result depends on every bit of `z`.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        let mut draw = Draw::new(1_234_567);
        assert_eq!(draw.next(), 6_457_827_717_110_365_317);
        assert_eq!(draw.next(), 3_203_168_211_198_807_973);
    }
}
