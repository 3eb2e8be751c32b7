//! What the wall clock of this device shows.

use fullmetal_proto::Timestamp;

/// What the wall clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Days since Monday, 0 to 6.
    pub weekday: u8,
    /// Minutes since midnight, below 1440.
    pub minute: u16,
}

impl LocalTime {
    /// In the zone of this device (`TZ`, `/etc/localtime`; UTC without either).
    pub fn here(at: Timestamp) -> Self {
        let wall = wall(at);
        let weekday = wall.weekday().to_monday_zero_offset().unsigned_abs();
        let minute = u16::from(wall.hour().unsigned_abs()) * 60 + u16::from(wall.minute().unsigned_abs());
        LocalTime { weekday, minute }
    }
}

fn wall(at: Timestamp) -> jiff::civil::DateTime {
    let secs = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MAX);
    jiff::tz::TimeZone::system().to_datetime(at)
}

/// What a wall clock on this device shows, for people: `Mon 2026-11-30 22:00`.
pub fn wall_clock(at: Timestamp) -> String {
    wall(at).strftime("%a %Y-%m-%d %H:%M").to_string()
}
