//! Virtual time.

use fullmetal_proto::Timestamp;
use std::fmt;

/// Microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// When the run begins.
    pub const START: Moment = Moment(0);

    /// This many milliseconds after the start.
    pub const fn from_millis(ms: u64) -> Self {
        Moment(ms.saturating_mul(1_000))
    }

    /// This moment and `us` microseconds.
    pub const fn after(self, us: u64) -> Self {
        Moment(self.0.saturating_add(us))
    }

    /// Microseconds since `earlier`; 0 when it was later.
    pub const fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As the cores take it: whole milliseconds, the started one not counted.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(self.0 / 1_000)
    }

    /// The first moment at which a core is told `at`.
    pub const fn of_timestamp(at: Timestamp) -> Self {
        Moment::from_millis(at.as_millis())
    }
}

impl fmt::Display for Moment {
    /// Seconds with six places.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
