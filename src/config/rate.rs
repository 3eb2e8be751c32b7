//! Rates as people write them: `2 Mbit/s`.

use std::fmt;
use std::str::FromStr;

/// What a unit is in bits a second.
const UNITS: [(&str, u64); 4] = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];
/// Digits after the point that are read.
const PLACES: usize = 6;
/// In bits a second; a rate of which all products with times that matter fit into 64 bits.
const MAX: u64 = 1_000_000_000_000;

/// Bits a second. One that is read is at least [`Rate::MIN`] and at most 1000 Gbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// The least rate, 64 kbit/s. Of that one of four fetchers gets 2 kB/s: a piece of 2 MiB takes a quarter of an hour,
    /// and servers and proxies that end connections which take nothing for a minute begin to end these.
    pub const MIN: Rate = Rate(64_000);

    /// In bytes a second.
    pub const fn bytes_per_s(self) -> u64 {
        self.0 / 8
    }

    /// Of bytes a second, to be shown.
    pub const fn of_bytes(per_s: u64) -> Self {
        Rate(per_s.saturating_mul(8))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let unit = UNITS.iter().find(|(name, _)| *name == text[end..].trim_start());
        let number = fixed(&text[..end]);
        let (Some((_, unit)), Some(number)) = (unit, number) else {
            return Err(format!("{text:?} is no rate; write \"2 Mbit/s\" (bit/s, kbit/s, Mbit/s, Gbit/s)"));
        };
        let bits = number.saturating_mul(u128::from(*unit)) / 10u128.pow(PLACES as u32);
        match u64::try_from(bits).unwrap_or(u64::MAX) {
            0 => Err("nothing would ever come; `origin = false` keeps this peer from central".to_owned()),
            bits if bits < Rate::MIN.0 => Err(format!("the least is {}: less keeps no transfer alive", Rate::MIN)),
            bits if bits > MAX => Err(format!("the most is {}", Rate(MAX))),
            bits => Ok(Rate(bits)),
        }
    }
}

/// In the largest unit in which it is at least one, with at most one digit after the point.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit).unwrap_or(UNITS[3]);
        match self.0 % unit * 10 / unit {
            0 => write!(f, "{} {name}", self.0 / unit),
            tenths => write!(f, "{}.{tenths} {name}", self.0 / unit),
        }
    }
}

/// A number in units of its [`PLACES`]th digit after the point; further ones are dropped.
fn fixed(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(PLACES).collect();
    format!("{whole}{fraction}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_exactly_and_shown_shortly() {
        let cases = [
            ("20 Mbit/s", 2_500_000, "20 Mbit/s"),
            ("0.5Gbit/s", 62_500_000, "500 Mbit/s"),
            (" 1.55 Mbit/s ", 193_750, "1.5 Mbit/s"),
            ("64 kbit/s", 8_000, "64 kbit/s"),
            ("64000 bit/s", 8_000, "64 kbit/s"),
            ("1000 Gbit/s", 125_000_000_000, "1000 Gbit/s"),
        ];
        for (text, bytes, shown) in cases {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.bytes_per_s(), rate.to_string().as_str()), (bytes, shown), "{text}");
        }
        assert_eq!(Rate::of_bytes(12).to_string(), "96 bit/s");
    }

    #[test]
    fn what_is_no_rate_is_refused_with_what_would_be_right() {
        for text in
            ["", "fast", "2", "2 MB/s", "2 mbit/s", "-2 Mbit/s", "1. Mbit/s", ".5 Mbit/s", "1.2.3 Mbit/s", "2 Mbit/s x"]
        {
            let refused = text.parse::<Rate>().unwrap_err();
            assert!(refused.contains("write \"2 Mbit/s\""), "{text}: {refused}");
        }
        let huge = format!("{} Gbit/s", "9".repeat(20));
        let cases = [
            ("0 Mbit/s", "`origin = false`"),
            ("63.9 kbit/s", "the least is 64 kbit/s"),
            ("1001 Gbit/s", "the most is 1000 Gbit/s"),
            (&huge, "the most is"),
        ];
        for (text, word) in cases {
            let refused = text.parse::<Rate>().unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }
}
