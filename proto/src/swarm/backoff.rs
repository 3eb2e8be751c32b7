//! Pauses that double with every failure in a row.

use crate::Timestamp;
use crate::draw::Draw;
use std::time::Duration;

/// Until when not to try again, and how often it failed in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pub(super) until: Timestamp,
    pub(super) failures: u32,
}

impl Backoff {
    /// One more failure: a pause between `limits`, up to a quarter longer by chance.
    pub(super) fn fail(&mut self, limits: (Duration, Duration), now: Timestamp, random: &mut Draw) {
        let pause = (limits.0 * (1 << self.failures.min(16))).min(limits.1);
        self.failures = self.failures.saturating_add(1);
        self.until = self.until.max(now.after(pause + random.up_to(pause / 4)));
    }

    /// It worked: no pause, and the next failure is the first.
    pub(super) fn succeed(&mut self) {
        *self = Backoff::default();
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_start_over_after_success() {
        let limits = (Duration::from_secs(1), Duration::from_secs(4));
        let (mut backoff, mut random, now) = (Backoff::default(), Draw::new(1), Timestamp::ZERO);
        for least in [1, 2, 4, 4] {
            backoff.until = now;
            backoff.fail(limits, now, &mut random);
            let pause = backoff.until.since(now);
            assert!(pause >= Duration::from_secs(least) && pause <= Duration::from_secs(least) * 5 / 4, "{pause:?}");
        }
        backoff.succeed();
        assert!(backoff.is_over(now) && backoff.failures == 0);
    }
}
