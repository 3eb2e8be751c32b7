//! Deals out bytes no faster than at a rate that may change at any time.

use std::time::Duration;

/// Millionths of bytes in one: what one byte a second pays in a microsecond.
const MICRO: u128 = 1_000_000;
/// So many parts of a second are dealt out ahead at most.
const DEPTH: u64 = 4;

/// Over any time it deals out what the rate gives in it, and a quarter of a second's worth besides. It never makes anybody wait
/// for longer than an eighth of a second: what is owed from a higher rate is forgiven down to this one's quarter of a second.
#[derive(Debug, Default)]
pub struct Bucket {
    /// Dealt out ahead, in millionths of bytes, at `settled`.
    owed: u128,
    /// Since the start.
    settled: Duration,
}

impl Bucket {
    /// How many of `length` bytes may go at `now` (since the start), at least one if it asks for any; or how long to wait. `rate`
    /// is in bytes a second.
    pub fn deal(&mut self, length: u64, rate: u64, now: Duration) -> Result<u64, Duration> {
        let rate = rate.max(DEPTH * 2);
        let depth = u128::from(rate / DEPTH) * MICRO;
        let paid = now.saturating_sub(self.settled).as_micros().saturating_mul(u128::from(rate));
        self.owed = self.owed.saturating_sub(paid).min(depth);
        self.settled = now;
        // Half of it at a time, so that parts are no crumbs.
        let over = self.owed.saturating_sub(depth / 2);
        if over > 0 {
            return Err(Duration::from_micros(over.div_ceil(u128::from(rate)) as u64));
        }
        let part = u128::from(length).min((depth - self.owed) / MICRO);
        self.owed += part * MICRO;
        Ok(part as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a greedy taker gets in a time from `now` on, and the longest wait.
    fn taken(bucket: &mut Bucket, rate: u64, now: &mut Duration, time: Duration) -> (u64, Duration) {
        let (end, mut sum, mut longest) = (*now + time, 0, Duration::ZERO);
        while *now < end {
            match bucket.deal(16 << 10, rate, *now) {
                Ok(part) => sum += part,
                Err(wait) => {
                    longest = longest.max(wait);
                    *now += wait;
                }
            }
        }
        (sum, longest)
    }

    #[test]
    fn what_is_dealt_out_is_the_rate_and_a_quarter_of_a_second() {
        let eighth = Duration::from_millis(125);
        for rate in [1_000, 8_000, 250_000, 2_500_000, 125_000_000] {
            let (mut bucket, mut now) = (Bucket::default(), Duration::ZERO);
            let (sum, longest) = taken(&mut bucket, rate, &mut now, Duration::from_secs(10));
            assert!((rate * 10..=rate * 10 + rate / 2).contains(&sum), "{sum} bytes at {rate} a second");
            assert!(longest <= eighth + Duration::from_micros(1), "{longest:?} at {rate}");
            now += Duration::from_secs(3600);
            let (sum, _) = taken(&mut bucket, rate, &mut now, Duration::from_secs(1));
            assert!(sum <= rate + rate / 2, "an hour without use is not saved: {sum} bytes at {rate} a second");
        }
    }

    #[test]
    fn a_rate_that_changes_counts_at_once_and_what_was_owed_keeps_nobody_waiting() {
        let (mut bucket, mut now) = (Bucket::default(), Duration::ZERO);
        taken(&mut bucket, 2_500_000, &mut now, Duration::from_secs(1));
        let (sum, longest) = taken(&mut bucket, 2_000, &mut now, Duration::from_secs(2));
        assert!((3_000..=4_750).contains(&sum) && longest <= Duration::from_millis(126), "{sum} bytes, {longest:?}");
        let (sum, _) = taken(&mut bucket, 2_500_000, &mut now, Duration::from_secs(1));
        assert!(sum >= 2_500_000, "{sum} bytes");
    }
}
