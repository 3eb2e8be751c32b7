//! Windows: hours of the week, such as those in which a deployment that may wait is switched to.
//!
//! They are hours of the wall clock. Where it is set forward over a whole window, that window does not open on this
//! day; where it is set back, one is open for as long as the wall clock shows its hours.

use super::{ConfigError, LocalTime, value};
use fullmetal_proto::Timestamp;
use std::str::FromStr;
use std::time::Duration;

/// How many windows may be configured.
pub const WINDOWS_MAX: usize = 64;
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// How far ahead a change is looked for, in minutes: a week, and a day for clocks that are set.
const AHEAD_MAX: u64 = 8 * DAY as u64;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// All windows of a device; without any, it is always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

/// Some hours on some days: `Mon..Fri 22:00-05:00`, `Sat,Sun 00:00-24:00`, `12:00-12:30` (every day). One that goes over
/// midnight belongs to the day on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    days: [bool; 7],
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight, 1440 included; below `from` it is on the next day.
    to: u16,
}

impl Windows {
    /// As they were configured.
    pub fn new(windows: Vec<Window>) -> Self {
        Windows(windows)
    }

    /// Whether one is open, or none is configured.
    pub fn is_open(&self, at: LocalTime) -> bool {
        self.0.is_empty() || self.0.iter().any(|w| w.is_open(at))
    }

    /// When one opens next, to the minute; `None` when one is open, or none opens within eight days. `local` says what
    /// the wall clock shows at a time.
    pub fn opens(&self, now: Timestamp, local: impl Fn(Timestamp) -> LocalTime) -> Option<Timestamp> {
        if self.is_open(local(now)) {
            return None;
        }
        let minute = Timestamp::from_secs(now.as_secs() / 60 * 60);
        let mut later = (1..=AHEAD_MAX).map(|minutes| minute.after(Duration::from_secs(minutes * 60)));
        later.find(|at| self.is_open(local(*at)))
    }
}

/// Reads what is written for each of some windows; `key` is where they stand.
pub(super) fn each<T>(
    key: &'static str,
    texts: &[String],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    if texts.len() > WINDOWS_MAX {
        let problem = format!("are too many windows: at most {WINDOWS_MAX}");
        return Err(ConfigError::Value { key, value: texts.len().to_string(), problem });
    }
    texts.iter().map(|text| value(key, text, read(text))).collect()
}

impl Window {
    /// Whether it is open.
    pub fn is_open(&self, at: LocalTime) -> bool {
        let today = usize::from(at.weekday % 7);
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            return self.days[today] && (self.from..self.to).contains(&at.minute);
        }
        self.days[today] && self.from <= at.minute || self.days[yesterday] && at.minute < self.to
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (days, hours) = match text.split_whitespace().collect::<Vec<_>>()[..] {
            [hours] => ([true; 7], hours),
            [days_text, hours] => (days(days_text)?, hours),
            _ => return Err("a window is days and hours, such as \"Mon..Fri 22:00-05:00\"".into()),
        };
        let (from, to) = hours.split_once('-').ok_or_else(|| {
            format!("hours are from-to, such as 22:00-05:00, and {hours:?} has no \"-\"; days come before them")
        })?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        if from == to || from == DAY {
            return Err(format!("{hours:?} has no length; a whole day is 00:00-24:00"));
        }
        Ok(Window { days, from, to })
    }
}

fn days(text: &str) -> Result<[bool; 7], String> {
    let mut days = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once("..").unwrap_or((item, item));
        let (first, last) = (day(first)?, day(last)?);
        // Sat..Mon goes on into the next week.
        for i in 0..=(last + 7 - first) % 7 {
            days[(first + i) % 7] = true;
        }
    }
    Ok(days)
}

fn day(text: &str) -> Result<usize, String> {
    let found = DAYS.iter().position(|d| d.eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let alike = |day: &&&str| {
            let same = day.chars().zip(text.chars()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
            (same, std::cmp::Reverse(text.len().abs_diff(day.len())))
        };
        let nearest = DAYS.iter().rev().max_by_key(alike).filter(|day| alike(day).0 > 0);
        let meant = nearest.map(|day| format!(" (did you mean {day}?)")).unwrap_or_default();
        format!("there is no day {text:?}{meant}; days are {}, joined by \",\" or \"..\"", DAYS.join(" "))
    })
}

fn minutes(text: &str) -> Result<u16, String> {
    let parsed = text.split_once(':').filter(|(_, m)| m.len() == 2).and_then(|(h, m)| {
        let (h, m) = (h.parse::<u16>().ok()?, m.parse::<u16>().ok()?);
        (h < 24 && m < 60 || (h, m) == (24, 0)).then_some(h * 60 + m)
    });
    parsed.ok_or_else(|| format!("{text:?} is no time of day; write hours and minutes, such as 05:00 or 24:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(texts: &[&str]) -> Windows {
        Windows::new(texts.iter().map(|t| t.parse().unwrap()).collect())
    }

    fn at(day: &str, time: &str) -> LocalTime {
        LocalTime { weekday: super::day(day).unwrap().try_into().unwrap(), minute: minutes(time).unwrap() }
    }

    /// A wall clock that is one hour ahead of UTC and two from `summer` on; the epoch was on a Thursday.
    fn clock(summer: Timestamp) -> impl Fn(Timestamp) -> LocalTime {
        move |time| {
            let offset = if time < summer { 3600 } else { 7200 };
            let secs = time.as_secs() + offset;
            let (days, minute) = (secs / 86_400, secs / 60 % 1440);
            LocalTime { weekday: ((days + 3) % 7).try_into().unwrap(), minute: minute.try_into().unwrap() }
        }
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_its_last() {
        let lunch = windows(&["12:00-12:30"]);
        let open = |time| lunch.is_open(at("Wed", time));
        assert_eq!(["11:59", "12:00", "12:29", "12:30"].map(open), [false, true, true, false]);
        assert!(windows(&["Sat,Sun 00:00-24:00"]).is_open(at("Sun", "23:59")));
        assert!(windows(&[]).is_open(at("Sun", "23:59")), "none configured");
        let all = windows(&["Tue 01:00-02:00", "Wed 03:00-04:00"]);
        assert!(all.is_open(at("Wed", "03:30")) && !all.is_open(at("Wed", "01:30")));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let nights = windows(&["Mon..Fri 22:00-05:00"]);
        let cases = [
            ("Mon", "04:00", false),
            ("Mon", "22:00", true),
            ("Tue", "04:59", true),
            ("Tue", "05:00", false),
            ("Sat", "04:59", true),
            ("Sat", "22:00", false),
            ("Sun", "03:00", false),
        ];
        for (day, time, open) in cases {
            assert_eq!(nights.is_open(at(day, time)), open, "{day} {time}");
        }
        let over_the_week = windows(&["Sun..Mon 23:00-01:00"]);
        assert!(over_the_week.is_open(at("Mon", "00:30")) && over_the_week.is_open(at("Tue", "00:30")));
        assert!(!over_the_week.is_open(at("Sun", "00:30")));
    }

    #[test]
    fn the_next_opening_is_found_also_in_the_next_week() {
        let never = clock(Timestamp::MAX);
        // Thursday 1970-01-01, 01:00 on the wall.
        let start = Timestamp::from_secs(1);
        let opens = |text: &str| windows(&[text]).opens(start, &never).map(|t| t.as_secs());
        assert_eq!(opens("Thu 01:00-02:00"), None, "open now");
        assert_eq!(opens("Thu 02:30-03:00"), Some(90 * 60));
        assert_eq!(opens("Thu 00:00-01:00"), Some(7 * 86_400 - 3600));
    }

    #[test]
    fn a_clock_that_is_set_moves_the_opening_with_the_wall_and_may_skip_one() {
        // At 02:00 on the wall it becomes 03:00.
        let summer = Timestamp::from_secs(3600);
        let wall = clock(summer);
        let opens = |text: &str| windows(&[text]).opens(Timestamp::from_secs(1), &wall).map(|t| t.as_secs());
        assert_eq!(opens("05:00-06:00"), Some(3 * 3600));
        assert_eq!(opens("02:00-03:00"), Some(24 * 3600), "its hours are not on the wall that day");
        assert_eq!(opens("02:30-03:30"), Some(3600), "what is left of it");
    }

    #[test]
    fn what_is_no_window_is_refused_with_what_would_be_right() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &["Mon..Fri 22:00-05:00"]),
            ("Mo 22:00-05:00", &["\"Mo\"", "did you mean Mon?"]),
            ("Thursday 22:00-05:00", &["\"Thursday\"", "did you mean Thu?"]),
            ("Mon..Xyz 22:00-05:00", &["no day \"Xyz\"", "Mon Tue"]),
            ("Mon..Fri", &["hours are from-to", "\"Mon..Fri\""]),
            ("Mon 22-05", &["\"22\"", "05:00"]),
            ("Mon 25:00-26:00", &["\"25:00\""]),
            ("Mon 22:00-22:00", &["no length", "00:00-24:00"]),
        ];
        for (text, words) in cases {
            let refused = text.parse::<Window>().unwrap_err();
            assert!(words.iter().all(|w| refused.contains(w)), "{text}: {refused}");
        }
        assert!("mon..FRI 6:00-24:00".parse::<Window>().is_ok());
    }
}
