//! Numbers with units as people write them: rates, sizes, times, shares. Exact: no floating point.

/// Bits a second and bytes a second.
const RATES: [(&str, u64, u64); 6] = [
    ("bit/s", 1, 8),
    ("kbit/s", 1_000, 8),
    ("Mbit/s", 1_000_000, 8),
    ("Gbit/s", 1_000_000_000, 8),
    ("kB/s", 1_000, 1),
    ("MB/s", 1_000_000, 1),
];
const SIZES: [(&str, u64, u64); 7] = [
    ("B", 1, 1),
    ("kB", 1_000, 1),
    ("MB", 1_000_000, 1),
    ("GB", 1_000_000_000, 1),
    ("KiB", 1 << 10, 1),
    ("MiB", 1 << 20, 1),
    ("GiB", 1 << 30, 1),
];
/// In microseconds.
const TIMES: [(&str, u64, u64); 5] =
    [("us", 1, 1), ("ms", 1_000, 1), ("s", 1_000_000, 1), ("min", 60_000_000, 1), ("h", 3_600_000_000, 1)];
/// The highest rate in bytes a second.
pub const RATE_MAX: u64 = 125_000_000_000;
/// The largest size of what is to be had in bytes.
pub const SIZE_MAX: u64 = 1_000_000_000_000;
/// The longest time in microseconds.
const TIME_MAX: u64 = 1_000 * 3_600_000_000;
/// In millionths.
const SHARES: [(&str, u64, u64); 1] = [("%", 10_000, 1)];

/// Bytes a second of "20 Mbit/s", at least one.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let rate = rate_or_none(text)?;
    if rate > 0 { Ok(rate) } else { Err(format!("{RATE}, at least {}", show_rate(1))) }
}

/// The same, or none: 0 cuts off.
pub(super) fn rate_or_none(text: &str) -> Result<u64, String> {
    quantity(text, &RATES, RATE, RATE_MAX)
}

const RATE: &str = "a rate such as \"20 Mbit/s\"";

/// Bytes of "350 MB" that are to be had.
pub(super) fn size(text: &str) -> Result<u64, String> {
    quantity(text, &SIZES, SIZE, SIZE_MAX)
}

/// Bytes that all links together may carry.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    quantity(text, &SIZES, SIZE, u64::MAX)
}

const SIZE: &str = "a size such as \"350 MB\" or \"2 MiB\"";

/// Microseconds of "0.2 ms".
pub(super) fn time(text: &str) -> Result<u64, String> {
    quantity(text, &TIMES, "a time such as \"0.2 ms\", \"30 s\" or \"5 min\"", TIME_MAX)
}

/// Millionths of "1 %", at most a million.
pub(super) fn share(text: &str) -> Result<u32, String> {
    let ppm = quantity(text, &SHARES, "a share such as \"1 %\"", 1_000_000)?;
    // At most a million, see above.
    Ok(ppm as u32)
}

/// "20 Mbit/s" of bytes a second; like its siblings what is read as the same number again.
pub(super) fn show_rate(bytes: u64) -> String {
    show(bytes, &RATES)
}

/// "2 MiB" of bytes.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

/// "30 s" of microseconds.
pub(super) fn show_time(us: u64) -> String {
    show(us, &TIMES)
}

/// "1.5 %" of millionths.
pub(super) fn show_share(ppm: u32) -> String {
    format!("{}.{:04} %", ppm / 10_000, ppm % 10_000).replace(".0000", "")
}

/// In the unit in which it is the least whole number.
fn show(value: u64, units: &[(&'static str, u64, u64)]) -> String {
    let whole = |(name, times, per): &(&'static str, u64, u64)| {
        let value = u128::from(value) * u128::from(*per);
        value.is_multiple_of(u128::from(*times)).then(|| (value / u128::from(*times), *name))
    };
    let least = units.iter().filter_map(whole).min_by_key(|(number, _)| *number);
    least.map_or_else(String::new, |(number, name)| format!("{number} {name}"))
}

/// `text` times 10 to the power of `places`, rounded down: "1.05" with three places is 1050. None if it is no such number,
/// or too large for one.
pub(super) fn fixed(text: &str, places: u32) -> Option<u128> {
    let (whole, fraction) = digits(text)?;
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(places as usize).collect();
    let fraction = if places == 0 { 0 } else { fraction.parse().ok()? };
    whole.parse::<u128>().ok()?.checked_mul(10u128.checked_pow(places)?)?.checked_add(fraction)
}

/// The digits before and after the point.
fn digits(text: &str) -> Option<(&str, &str)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let is_number = !whole.is_empty() && digits(whole) && digits(fraction) && !text.ends_with('.');
    is_number.then_some((whole, fraction))
}

/// Six places are enough for every unit.
const PLACES: u32 = 6;

/// Reads a quantity of at most `most`; an error says `expected`, and what is wrong.
fn quantity(text: &str, units: &[(&'static str, u64, u64)], expected: &str, most: u64) -> Result<u64, String> {
    let negative = text.trim().strip_prefix('-');
    let text = negative.unwrap_or(text).trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let unit = digits(number).and(units.iter().find(|(name, ..)| *name == unit));
    let Some((_, times, per)) = unit else {
        let names: Vec<&str> = units.iter().map(|(name, ..)| *name).collect();
        return Err(format!("{expected}; units are {}", names.join(", ")));
    };
    if negative.is_some() {
        return Err(format!("{expected}, and nothing negative"));
    }
    let value = fixed(number, PLACES).and_then(|value| value.checked_mul(u128::from(*times)));
    let value = value.map(|value| value / (10u128.pow(PLACES) * u128::from(*per)));
    let value = value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value <= most);
    value.ok_or_else(|| format!("{expected}, at most {}", show(most, units)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        assert_eq!(rate("20 Mbit/s"), Ok(2_500_000));
        assert_eq!(rate("0.5 Gbit/s"), Ok(62_500_000));
        assert_eq!(size("2 MiB"), Ok(2 << 20));
        assert_eq!(size("1.5MB"), Ok(1_500_000));
        assert_eq!(time("0.2 ms"), Ok(200));
        assert_eq!(time("2 min"), Ok(120_000_000));
        assert_eq!(share("0.5 %"), Ok(5_000));
        assert_eq!(fixed("1.05", 3), Some(1_050));
    }

    #[test]
    fn quantities_that_were_shown_are_read_as_the_same() {
        assert_eq!((show_rate(2_500_000), show_size(2 << 20)), ("20 Mbit/s".to_owned(), "2 MiB".to_owned()));
        assert_eq!((show_time(90_000_000), show_share(15_000)), ("90 s".to_owned(), "1.5000 %".to_owned()));
        for n in [0, 1, 7, 999, 1_000, 125_000, 1_048_577, 3_600_000_000] {
            assert_eq!((rate_or_none(&show_rate(n)), size(&show_size(n)), time(&show_time(n))), (Ok(n), Ok(n), Ok(n)));
        }
        assert!([0, 1, 1_234, 40_000, 1_000_000].iter().all(|n| share(&show_share(*n)) == Ok(*n)));
    }

    #[test]
    fn what_is_no_quantity_is_told_what_would_be() {
        for wrong in ["20", "20 Mb/s", "fast", "-1 Mbit/s", "1. Mbit/s", "1.2.3 Mbit/s"] {
            assert!(rate(wrong).unwrap_err().contains("20 Mbit/s"), "{wrong}");
        }
        let told = |read: Result<u64, String>, what: &str| {
            let error = read.unwrap_err();
            assert!(error.ends_with(what) && !error.contains("units are"), "{error}");
        };
        told(share("101 %").map(u64::from), "at most 100 %");
        let long = format!("{} GB", "9".repeat(60));
        for size in [size("1000.001 GB"), size("18446744073 GB"), size(&long), size("99999999999999999999 B")] {
            told(size, "at most 1000 GB");
        }
        told(rate("2000 Gbit/s"), "at most 1000 Gbit/s");
        told(rate("0 Mbit/s"), "at least 8 bit/s");
        told(rate("7 bit/s"), "at least 8 bit/s");
        told(time("1001 h"), "at most 1000 h");
        told(time("-5 s"), "and nothing negative");
    }
}
