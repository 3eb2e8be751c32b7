//! Maintenance windows: a Quartz schedule, a duration and an offset from UTC.

use super::{Millis, Refusal, Result, settings};
use serde::Deserialize;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// How far ahead an opening is looked for.
const DAYS_MAX: u32 = 3_660;

/// A window as an operator writes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Written {
    schedule: String,
    duration: String,
    timezone: String,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Window {
    pub schedule: String,
    pub duration: String,
    pub timezone: String,
    fields: Fields,
    duration_ms: Millis,
    offset: UtcOffset,
}

/// What each part of a moment may be; an empty list is anything.
#[derive(Debug, Clone)]
struct Fields {
    second: Vec<u32>,
    minute: Vec<u32>,
    hour: Vec<u32>,
    day: Vec<u32>,
    month: Vec<u32>,
    /// 1 is Sunday.
    weekday: Vec<u32>,
    year: Vec<u32>,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

fn number(text: &str, names: &[&str]) -> Option<u32> {
    let named = names.iter().position(|n| n.eq_ignore_ascii_case(text)).map(|at| at as u32 + 1);
    named.or_else(|| text.parse().ok())
}

/// `*`, `?`, `5`, `1-5`, `0/15`, `MON-FRI` and lists of these.
fn field(text: &str, range: (u32, u32), names: &[&str]) -> Option<Vec<u32>> {
    if matches!(text, "*" | "?") {
        return Some(vec![]);
    }
    let mut values = Vec::new();
    for part in text.split(',') {
        let (base, step) = part.split_once('/').map_or((part, None), |(base, step)| (base, Some(step)));
        let step = step.map_or(Some(1), |s| s.parse::<u32>().ok().filter(|s| *s > 0))?;
        let (from, to) = match base.split_once('-') {
            Some((from, to)) => (number(from, names)?, number(to, names)?),
            None if base == "*" => range,
            None if part.contains('/') => (number(base, names)?, range.1),
            None => (number(base, names)?, number(base, names)?),
        };
        if from < range.0 || to > range.1 || from > to {
            return None;
        }
        values.extend((from..=to).step_by(step as usize));
    }
    Some(values)
}

impl Fields {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (&[second, minute, hour, day, month, weekday], rest) = parts.split_first_chunk::<6>()?;
        let year = match rest {
            [] => "*",
            [year] => year,
            _ => return None,
        };
        Some(Fields {
            second: field(second, (0, 59), &[])?,
            minute: field(minute, (0, 59), &[])?,
            hour: field(hour, (0, 23), &[])?,
            day: field(day, (1, 31), &[])?,
            month: field(month, (1, 12), &MONTHS)?,
            weekday: field(weekday, (1, 7), &WEEKDAYS)?,
            year: field(year, (1970, 2099), &[])?,
        })
    }

    fn is_day(&self, date: Date) -> bool {
        let may = |allowed: &[u32], value: u32| allowed.is_empty() || allowed.contains(&value);
        may(&self.year, date.year().unsigned_abs())
            && may(&self.month, u32::from(u8::from(date.month())))
            && may(&self.day, u32::from(date.day()))
            && may(&self.weekday, u32::from(date.weekday().number_from_sunday()))
    }

    fn first_time(&self, from: Time) -> Option<Time> {
        let all = |allowed: &[u32], count: u32| if allowed.is_empty() { (0..count).collect() } else { sorted(allowed) };
        let (hours, minutes, seconds) = (all(&self.hour, 24), all(&self.minute, 60), all(&self.second, 60));
        let start = from.as_hms();
        for &h in hours.iter().filter(|h| **h >= u32::from(start.0)) {
            for &m in &minutes {
                for &s in &seconds {
                    let time = Time::from_hms(h as u8, m as u8, s as u8).ok()?;
                    if time >= from {
                        return Some(time);
                    }
                }
            }
        }
        None
    }

    /// The first moment that fits, not before `from`.
    fn first(&self, from: PrimitiveDateTime) -> Option<PrimitiveDateTime> {
        let (mut date, mut time) = (from.date(), from.time());
        for _ in 0..DAYS_MAX {
            if self.is_day(date)
                && let Some(found) = self.first_time(time)
            {
                return Some(PrimitiveDateTime::new(date, found));
            }
            date = date.next_day()?;
            time = Time::MIDNIGHT;
        }
        None
    }
}

fn sorted(values: &[u32]) -> Vec<u32> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values
}

fn offset(text: &str) -> Option<UtcOffset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    UtcOffset::from_hms(sign * hours.parse::<i8>().ok()?, sign * minutes.parse::<i8>().ok()?, 0).ok()
}

impl Window {
    /// Reads a window.
    pub fn new(written: Written) -> Result<Self> {
        let Written { schedule, duration, timezone } = written;
        let fields = Fields::parse(&schedule)
            .ok_or_else(|| Refusal::schedule(format!("The schedule {schedule} is no Quartz cron expression")))?;
        let seconds = settings::seconds(&duration)
            .ok_or_else(|| Refusal::schedule(format!("The duration {duration} is not of the format HH:mm:ss")))?;
        let offset = offset(&timezone)
            .ok_or_else(|| Refusal::schedule(format!("The timezone {timezone} is no offset like +02:00")))?;
        Ok(Window { schedule, duration, timezone, fields, duration_ms: seconds * 1000, offset })
    }

    /// When the window that is open now opened, or the next one will.
    pub fn next_start(&self, now: Millis) -> Option<Millis> {
        let from = now.checked_sub(self.duration_ms)?.checked_add(1)?;
        let from = OffsetDateTime::from_unix_timestamp(from.div_ceil(1000).cast_signed()).ok()?.to_offset(self.offset);
        let start = self.fields.first(PrimitiveDateTime::new(from.date(), from.time()))?;
        u64::try_from(start.assume_offset(self.offset).unix_timestamp()).ok()?.checked_mul(1000)
    }

    /// Whether a device may install now.
    pub fn is_open(&self, now: Millis) -> bool {
        self.next_start(now).is_some_and(|start| start <= now)
    }

    /// Whether it will never open again.
    pub fn is_over(&self, now: Millis) -> bool {
        self.next_start(now).is_none()
    }
}

/// A schedule that names one moment, moved by some time; others stay as they are.
pub fn moved(schedule: &str, by_ms: i64) -> Option<String> {
    let parts: Vec<&str> = schedule.split_whitespace().collect();
    let [second, minute, hour, day, month, "?", year] = parts[..] else { return None };
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let time = Time::from_hms(hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?).ok()?;
    let moved = PrimitiveDateTime::new(date, time).checked_add(time::Duration::milliseconds(by_ms))?;
    let (date, time) = (moved.date(), moved.time());
    let (day, month, year) = (date.day(), u8::from(date.month()), date.year());
    Some(format!("{} {} {} {day} {month} ? {year}", time.second(), time.minute(), time.hour()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    /// 2026-11-23 18:14:36 UTC, a Monday.
    const NOW: Millis = 1_795_457_676_000;
    const HOUR: Millis = 3_600_000;

    fn window(schedule: &str, duration: &str, timezone: &str) -> Result<Window> {
        Window::new(Written { schedule: schedule.into(), duration: duration.into(), timezone: timezone.into() })
    }

    #[test]
    fn a_single_window_is_closed_then_open_then_over() {
        let window = window("0 14 0 24 11 ? 2026", "01:00:00", "+00:00").unwrap();
        let start = NOW + 5 * HOUR + (45 * 60 + 24 + 36 * 9) * 1000 - 324_000 + 14 * 60_000;
        assert_eq!(window.next_start(NOW), Some(start));
        assert!(!window.is_open(start - 1));
        assert!(window.is_open(start) && window.is_open(start + HOUR - 1));
        assert!(window.is_over(start + HOUR));
    }

    #[test]
    fn a_window_of_every_night_keeps_its_own_time_zone() {
        // 22:00 in UTC+4 is 18:00 UTC.
        let window = window("0 0 22 ? * MON-FRI", "00:30:00", "+04:00").unwrap();
        assert!(window.is_open(NOW));
        assert!(!window.is_open(NOW + HOUR));
        // Saturday and Sunday have none.
        let friday = NOW + 4 * 24 * HOUR;
        assert!(window.is_open(friday) && !window.is_open(friday + 24 * HOUR));
        assert_eq!(window.next_start(friday + HOUR), Some(NOW / HOUR * HOUR + 7 * 24 * HOUR));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in ["", "0 0 22 ? *", "x 0 22 ? * *", "0 60 22 ? * *", "0 0 22 ? * 8", "0 0/0 * ? * *", "0 0 5-2 ? * *"]
        {
            assert!(window(bad, "01:00:00", "+00:00").is_err(), "{bad}");
        }
        assert!(window("0 0 22 ? * *", "1h", "+00:00").is_err());
        assert!(window("0 0 22 ? * *", "01:00:00", "CET").is_err());
    }

    #[test]
    fn a_moment_moves_over_the_end_of_a_month() {
        assert_eq!(moved("0 14 0 30 11 ? 2026", 24 * 3_600_000).unwrap(), "0 14 0 1 12 ? 2026");
        assert_eq!(moved("0 0/1 * * * ? *", 1), None);
    }
}
