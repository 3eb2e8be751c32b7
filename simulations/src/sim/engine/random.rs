//! Seeded draws, one generator for each purpose, so that a new draw for one thing changes nothing else.

use fullmetal_proto::Digest;

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of `seed` for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let digest = Digest::of_parts(&[b"fullmetal-sim\0", &seed.to_be_bytes(), purpose.as_bytes()]);
        Random(digest.as_bytes().iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(n)) >> 64) as u64
    }

    /// An index below `n`; 0 when `n` is 0.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// True in `ppm` of a million draws.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_seeds_draw_apart_and_the_same_ones_alike() {
        let first = |seed, purpose| Random::new(seed, purpose).any();
        assert_eq!(first(1, "loss"), first(1, "loss"));
        assert_ne!(first(1, "loss"), first(1, "jitter"));
        assert_ne!(first(1, "loss"), first(2, "loss"));
    }

    #[test]
    fn draws_stay_below_their_limit_and_chances_come_as_often_as_they_say() {
        let mut random = Random::new(7, "test");
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
        let hits = (0..100_000).filter(|_| random.chance(10_000)).count();
        assert!((850..1_150).contains(&hits), "{hits} of 100,000 at 1 %");
    }
}
