//! The time by which expiry is judged, on devices whose clock may be wrong.

use fullmetal_proto::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No release of this program existed before this time (2026-11-01T00:00:00Z).
const RELEASED: Timestamp = Timestamp::from_secs(1_793_491_200);
/// A system clock that is further than this ahead of the last signed time counts as unset.
const AHEAD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Trusted time: the largest of system clock, time of this build and the last signed time, unless the
/// system clock is more than a year ahead of the last signed time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    signed_ms: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that has seen no signed time yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the `issued` time of a document whose signature holds.
    pub fn raise(&self, signed: Timestamp) {
        self.signed_ms.fetch_max(signed.as_millis(), Ordering::Relaxed);
    }

    /// The trusted time.
    pub fn now(&self) -> Timestamp {
        self.judge(system_time())
    }

    /// The same where the system clock shows, or showed, this.
    pub fn judge(&self, system: Timestamp) -> Timestamp {
        judge(system, Timestamp::from_millis(self.signed_ms.load(Ordering::Relaxed)))
    }
}

/// The system clock, which may be wrong: for people, and where nothing signed is at hand.
pub fn system_time() -> Timestamp {
    Timestamp::ZERO.after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn judge(system: Timestamp, signed: Timestamp) -> Timestamp {
    let floor = signed.max(RELEASED);
    if signed > Timestamp::ZERO && system > floor.after(AHEAD_MAX) { floor } else { system.max(floor) }
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_millis(self.now().as_millis())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_at_1970_or_2100_is_replaced_by_the_last_signed_time() {
        let signed = Timestamp::from_secs(1_800_000_000);
        assert_eq!(judge(Timestamp::ZERO, signed), signed);
        assert_eq!(judge(Timestamp::from_secs(4_102_444_800), signed), signed);
        let plausible = Timestamp::from_secs(1_800_086_400);
        assert_eq!(judge(plausible, signed), plausible);
        assert_eq!(judge(Timestamp::ZERO, Timestamp::ZERO), RELEASED);
    }
}
