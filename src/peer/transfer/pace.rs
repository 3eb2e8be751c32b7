//! The least speed that a transfer must keep.

use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a transfer may take for [`MOVED_BYTES_MIN`].
const WINDOW_MS: u64 = 10_000;
/// The bytes that start a new window: less in [`WINDOW_MS`] is a stall, one byte a second too.
const MOVED_BYTES_MIN: u64 = 64 << 10;

/// Watches one transfer.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    until: Instant,
    moved: u64,
}

impl Pace {
    /// Starts the first window.
    pub fn start() -> Self {
        Pace::with_window(Duration::from_millis(WINDOW_MS))
    }

    fn with_window(window: Duration) -> Self {
        Pace { window, until: Instant::now() + window, moved: 0 }
    }

    /// Waits for one step; `None` when the window ends first.
    pub async fn keep<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.until, step).await.ok()
    }

    /// Counts what a step moved.
    pub fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
        if self.moved >= MOVED_BYTES_MIN {
            *self = Pace::with_window(self.window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const WINDOW: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_trickle_is_a_stall_and_slow_but_steady_is_not() {
        let mut drip = Pace::with_window(WINDOW);
        let begun = Instant::now();
        while drip.keep(sleep(WINDOW / 20)).await.is_some() {
            drip.moved(1);
        }
        assert!(begun.elapsed() >= WINDOW);
        let mut steady = Pace::with_window(WINDOW);
        let begun = Instant::now();
        while begun.elapsed() < WINDOW * 2 {
            assert!(steady.keep(sleep(WINDOW / 20)).await.is_some());
            steady.moved(MOVED_BYTES_MIN);
        }
    }
}
