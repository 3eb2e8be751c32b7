//! Bytes that came from central and were not reported yet.

use super::MOVED_BYTES;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fewer than [`MOVED_BYTES`] wait no longer: over a thin uplink they take longer than a lease lasts, and what moves
/// must not be overtaken.
const WAIT: Duration = Duration::from_millis(500);

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
        self.add_at(bytes, Instant::now())
    }

    fn add_at(&self, bytes: u64, now: Instant) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.0 += bytes;
        let due = unsaid.0 >= MOVED_BYTES || unsaid.0 > 0 && now.saturating_duration_since(unsaid.1) >= WAIT;
        due.then(|| std::mem::replace(&mut *unsaid, (0, now)).0)
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

    #[test]
    fn many_bytes_are_reported_at_once_and_few_after_a_second() {
        let (unsaid, begun) = (Unsaid::new(), Instant::now());
        assert_eq!(unsaid.add_at(MOVED_BYTES - 1, begun), None);
        assert_eq!(unsaid.add_at(1, begun), Some(MOVED_BYTES));
        assert_eq!(unsaid.add_at(8_000, begun), None);
        assert_eq!(unsaid.add_at(100, begun + WAIT), Some(8_100));
        assert_eq!(unsaid.add_at(0, begun + 3 * WAIT), None, "nothing moved");
        assert_eq!(unsaid.take(), None);
    }
}
