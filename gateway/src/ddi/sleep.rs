//! How often Hawkbit wants to be asked, and when that is next.

use super::random::Random;
use std::time::Duration;

/// Where a server names no interval.
pub const SLEEP_DEFAULT: Duration = Duration::from_secs(300);
/// No interval is longer; what the configuration allows is shorter still.
pub const SLEEP_S_MAX: u64 = 366 * 86_400;
/// The longest text of an interval in bytes.
const TEXT_LEN_MAX: usize = 64;
/// Each interval is drawn out by up to a tenth, so that devices that began together drift apart.
const SPREAD: u32 = 10;

/// Reads `HH:mm:ss`, and ISO-8601 durations of weeks, days, hours, minutes and seconds (`P1DT2H`, `PT26H0.5S`), which
/// Hawkbit sends from one day up. Fractions of a second are dropped. `None`: no such thing, or over [`SLEEP_S_MAX`].
pub fn parse_sleep(text: &str) -> Option<Duration> {
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let secs = if let Some(iso) = text.strip_prefix('P') { iso_8601(iso)? } else { clock(text)? };
    (secs <= SLEEP_S_MAX).then(|| Duration::from_secs(secs))
}

fn clock(text: &str) -> Option<u64> {
    let mut fields = text.split(':');
    let (h, m, s) = (fields.next()?, fields.next()?, fields.next()?);
    let two = |field: &str| if field.len() == 2 { number(field) } else { None };
    let (h, m, s) = (number(h)?, two(m)?, two(s)?);
    if fields.next().is_some() || m > 59 || s > 59 {
        return None;
    }
    h.checked_mul(3600)?.checked_add(m * 60 + s)
}

/// What follows the `P`; years and months have no fixed length and are refused.
fn iso_8601(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let date = units(date, &[('W', 7 * 86_400), ('D', 86_400)])?;
    date.checked_add(units(time, &[('H', 3600), ('M', 60), ('S', 1)])?)
}

/// The sum of `<number><unit>` fields in the order of `units`, each at most once.
fn units(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0u64;
    let mut units = units.iter();
    while !text.is_empty() {
        let at = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (unit, size) = units.find(|(unit, _)| text[at..].starts_with(*unit))?;
        let whole = match text[..at].split_once(['.', ',']) {
            Some((whole, fraction)) if *unit == 'S' && number(fraction).is_some() => whole,
            Some(_) => return None,
            None => &text[..at],
        };
        sum = sum.checked_add(number(whole)?.checked_mul(*size)?)?;
        text = &text[at + 1..];
    }
    Some(sum)
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The bounds that the configuration sets for polling one device.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Not more often than this.
    pub min: Duration,
    /// Not less often than this.
    pub max: Duration,
}

impl Pace {
    /// The interval that is kept when the server asks for `sleep`.
    pub fn interval(&self, sleep: Duration) -> Duration {
        sleep.min(self.max).max(self.min)
    }

    /// The longest time between two polls in a row: the interval with all its jitter.
    pub fn longest(&self, sleep: Duration) -> Duration {
        let interval = self.interval(sleep);
        interval + interval / SPREAD
    }

    /// How long to wait for the next poll.
    pub fn next(&self, sleep: Duration, random: &mut Random) -> Duration {
        let interval = self.interval(sleep);
        interval + random.up_to(interval / SPREAD)
    }

    /// How long to wait after the first poll, of which there may have been many at once: anywhere within an interval.
    pub fn first(&self, sleep: Duration, random: &mut Random) -> Duration {
        random.up_to(self.interval(sleep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_are_read_and_all_others_refused() {
        let cases = [
            ("00:05:00", Some(300)),
            ("23:59:59", Some(86_399)),
            ("26:00:00", Some(93_600)),
            ("P1DT2H", Some(93_600)),
            ("P1D", Some(86_400)),
            ("P2W", Some(14 * 86_400)),
            ("PT26H", Some(93_600)),
            ("PT24H1M1.500S", Some(86_461)),
            ("PT0S", Some(0)),
            ("", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("P1", None),
            ("P1Y", None),
            ("P1M", None),
            ("PT1S1H", None),
            ("PT1H1H", None),
            ("PT1.5H", None),
            ("PT-1S", None),
            ("-PT1S", None),
            ("PT+1S", None),
            ("P400D", None),
            ("00:60:00", None),
            ("00:00:60", None),
            ("00:5:00", None),
            ("5:00", None),
            ("1:02:03:04", None),
            ("00:05:00 ", None),
            ("99999999999999999999:00:00", None),
            ("18446744073709551615:00:00", None),
        ];
        for (text, secs) in cases {
            assert_eq!(parse_sleep(text), secs.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn the_interval_is_kept_within_the_bounds_and_never_shortened() {
        let pace = Pace { min: Duration::from_secs(30), max: Duration::from_secs(3600) };
        let mut random = Random::new(7);
        for (sleep, kept) in [(300, 300), (0, 30), (100_000, 3600)] {
            let (sleep, kept) = (Duration::from_secs(sleep), Duration::from_secs(kept));
            let drawn: Vec<_> = (0..200).map(|_| pace.next(sleep, &mut random)).collect();
            assert!(drawn.iter().all(|d| *d >= kept && *d <= pace.longest(sleep)), "{sleep:?}");
            assert!(drawn.iter().max() > drawn.iter().min(), "{sleep:?}: no jitter");
            let first: Vec<_> = (0..200).map(|_| pace.first(sleep, &mut random)).collect();
            assert!(first.iter().all(|d| *d <= kept) && first.iter().any(|d| *d < kept / 4), "{sleep:?}");
        }
        let again = |seed| pace.next(SLEEP_DEFAULT, &mut Random::new(seed));
        assert!(again(1) == again(1) && again(1) != again(2));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(P?[0-9]{0,21}[WDTHMS:.,]{0,2}){0,6}|\\PC{0,70}") {
            if let Some(sleep) = parse_sleep(&text) {
                prop_assert!(sleep.as_secs() <= SLEEP_S_MAX);
            }
        }

        #[test]
        fn what_hawkbit_writes_comes_back(secs in 0u64..400 * 86_400) {
            let (d, h, m, s) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60);
            let short = format!("{h:02}:{m:02}:{s:02}");
            prop_assert_eq!(parse_sleep(&short).unwrap().as_secs(), secs % 86_400);
            let found = parse_sleep(&format!("P{d}DT{h}H{m}M{s}S"));
            prop_assert_eq!(found.map(|f| f.as_secs()), (secs <= SLEEP_S_MAX).then_some(secs));
        }
    }
}
