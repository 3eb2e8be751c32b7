//! This peer's share of what the whole site may take of central.
//!
//! Nobody hands out shares: each peer knows from the swarm's statuses how many fetch, and takes the budget by that number. So
//! all together keep to it, as soon as they know of each other: a few hundred milliseconds after one begins, and a lease (3 s)
//! after one died. What is counted are bytes of bodies, as they are taken in here; requests, heads and packets come on top.
//!
//! What a burst can be: a quarter of a second's worth, and what comes although nobody has taken it in yet. Of HTTP/2 that is
//! half a second's worth of the budget, from 64 KiB to 1 MiB; else what the kernel buffers for a connection whose reader is
//! slow (often 64 to 128 KiB). It is no more than what was asked for: what comes in a few seconds, or one piece.

use super::bucket::Bucket;
use crate::config::{CentralBudget, LocalTime};
use fullmetal_proto::Timestamp;
use fullmetal_proto::wire::local::CentralShare;
use rustls::time_provider::TimeProvider;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// All bytes of central go through it.
#[derive(Debug)]
pub struct Uplink {
    budget: CentralBudget,
    /// By which it is known which hours these are.
    clock: Arc<dyn TimeProvider>,
    fetchers: AtomicU32,
    started: Instant,
    bucket: Mutex<Bucket>,
}

impl Uplink {
    /// Shared with nobody yet. None without a budget.
    pub(super) fn new(budget: CentralBudget, clock: Arc<dyn TimeProvider>) -> Option<Self> {
        budget.least()?;
        let (fetchers, bucket) = (AtomicU32::new(1), Mutex::default());
        Some(Uplink { budget, clock, fetchers, started: Instant::now(), bucket })
    }

    /// The least that the whole site has at any time, in bytes a second.
    pub fn least(&self) -> u64 {
        self.budget.least().map_or(u64::MAX, |rate| rate.bytes_per_s())
    }

    /// From now on so many fetch, this peer included.
    pub fn share_among(&self, fetchers: usize) {
        self.fetchers.store(u32::try_from(fetchers).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// What this peer may take now; none where these hours have no budget.
    pub fn share(&self) -> Option<CentralShare> {
        let now = self.clock.current_time().map_or(Timestamp::ZERO, |now| Timestamp::from_secs(now.as_secs()));
        let budget = self.budget.at(LocalTime::here(now))?.bytes_per_s();
        let fetchers = self.fetchers.load(Ordering::Relaxed).max(1);
        Some(CentralShare { budget_bytes_per_s: budget, bytes_per_s: budget / u64::from(fetchers), fetchers })
    }

    /// Waits until some of `length` bytes may be taken in, and says how many.
    pub(super) async fn take(&self, length: u64) -> u64 {
        loop {
            let Some(share) = self.share() else { return length };
            // Nobody holds anything while it waits: of the objects that come beside each other not all are polled all the time.
            let dealt = self.deal(length, share.bytes_per_s);
            match dealt {
                Ok(part) => return part,
                Err(wait) => sleep(wait).await,
            }
        }
    }

    fn deal(&self, length: u64, rate: u64) -> Result<u64, Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.deal(length, rate, self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Clock;
    use crate::peer::testing::PATIENCE;

    #[tokio::test]
    async fn one_that_waits_and_is_not_polled_holds_up_nobody() {
        let uplink = Uplink::new(CentralBudget::of("64 kbit/s".parse().unwrap()), Arc::new(Clock::new())).unwrap();
        assert_eq!(uplink.take(1 << 20).await, 2_000, "a quarter of a second's worth");
        let mut idle = std::pin::pin!(uplink.take(100));
        if futures::poll!(&mut idle).is_ready() {
            // This machine was away for so long that nothing is owed any more.
            return;
        }
        assert_eq!(tokio::time::timeout(PATIENCE, uplink.take(100)).await, Ok(100));
        assert_eq!(idle.await, 100);
    }
}
