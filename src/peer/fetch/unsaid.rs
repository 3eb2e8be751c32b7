//! Bytes that came from central and were not reported yet.

use super::MOVED_BYTES;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Fewer than [`MOVED_BYTES`] wait no longer: over a thin uplink they take longer than a lease lasts, and what moves
/// must not be overtaken.
const WAIT: Duration = Duration::from_secs(1);

/// Shared by streams of one transfer.
#[derive(Debug)]
pub struct Unsaid(Mutex<(u64, Instant)>);

impl Unsaid {
    /// None yet.
    pub fn new() -> Self {
        Unsaid(Mutex::new((0, Instant::now())))
    }

    /// Some more came. Gives all of them when they are to be reported now.
    pub fn add(&self, bytes: u64) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.0 += bytes;
        let due = unsaid.0 >= MOVED_BYTES || unsaid.0 > 0 && unsaid.1.elapsed() >= WAIT;
        due.then(|| std::mem::replace(&mut *unsaid, (0, Instant::now())).0)
    }

    /// All of them, if there are any.
    pub fn take(&self) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::replace(&mut *unsaid, (0, Instant::now())).0).filter(|bytes| *bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_bytes_are_reported_at_once_and_few_after_a_second() {
        let unsaid = Unsaid::new();
        assert_eq!(unsaid.add(MOVED_BYTES - 1), None);
        assert_eq!(unsaid.add(1), Some(MOVED_BYTES));
        assert_eq!(unsaid.add(8_000), None);
        tokio::time::advance(WAIT).await;
        assert_eq!(unsaid.add(0), Some(8_000));
        tokio::time::advance(WAIT).await;
        assert_eq!(unsaid.add(0), None, "nothing moved");
        assert_eq!(unsaid.take(), None);
    }
}
