//! `[expect]`: what must come out.

use super::section::Section;
use super::{ScenarioError, units};

/// What is measured. Copies in thousandths, times in microseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes over the uplink by bytes of one copy.
    Copies,
    /// When half of the devices had everything.
    Time50,
    /// When 99 % had.
    Time99,
    /// When all had.
    Time100,
    /// Bytes over the uplink.
    Uplink,
    /// Bytes over all weak links between halls.
    Trunks,
    /// Bytes into all ports.
    Ports,
    /// Bytes that were fetched and thrown away.
    Wasted,
    /// Requests to central.
    Requests,
    /// The most devices that fetched from central at a time.
    Fetchers,
    /// Whether all that were on at the end had everything (1 or 0).
    Converged,
    /// Whether each device that was on at the end had its one terminal report at the gateway (1 or 0).
    Reported,
}

/// How it must stand to the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `=`
    Equal,
}

/// One line of `[expect]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its key.
    pub key: &'static str,
    /// As it was written.
    pub text: String,
    /// What is measured.
    pub measure: Measure,
    /// How it must stand to the limit.
    pub relation: Relation,
    /// The limit in the measure's unit.
    pub limit: u64,
}

impl Expectation {
    /// `everyone_converged = true`, and on demand `everyone_reported = true`.
    pub fn of_all(reported: bool) -> Vec<Self> {
        let is_true = |(key, measure)| {
            let relation = Relation::Equal;
            Expectation { key, text: true.to_string(), measure, relation, limit: 1 }
        };
        TRUTHS.into_iter().take(1 + usize::from(reported)).map(is_true).collect()
    }
}

const TRUTHS: [(&str, Measure); 2] =
    [("everyone_converged", Measure::Converged), ("everyone_reported", Measure::Reported)];

type Unit = fn(&str) -> Result<u64, String>;

const COMPARED: [(&str, Measure, Unit); 10] = [
    ("copies", Measure::Copies, thousandths),
    ("time_50", Measure::Time50, units::time),
    ("time_99", Measure::Time99, units::time),
    ("time_100", Measure::Time100, units::time),
    ("uplink", Measure::Uplink, units::bytes),
    ("trunks", Measure::Trunks, units::bytes),
    ("ports", Measure::Ports, units::bytes),
    ("wasted", Measure::Wasted, units::bytes),
    ("requests", Measure::Requests, count),
    ("fetchers", Measure::Fetchers, count),
];

pub(super) fn read(mut section: Section<'_>) -> Result<Vec<Expectation>, ScenarioError> {
    let mut all = Vec::new();
    for (key, measure, unit) in COMPARED {
        let comparison = section.text(key, |text| {
            let (relation, rest) = relation(text).unwrap_or((Relation::Equal, ""));
            let limit = unit(rest).map_err(|expected| format!("\"<= \", \">= \" or \"= \" and {expected}"))?;
            Ok(Expectation { key, text: text.to_owned(), measure, relation, limit })
        })?;
        all.extend(comparison);
    }
    check_times(&section, &all)?;
    for (key, measure) in TRUTHS {
        if let Some(truth) = section.truth(key)? {
            let (relation, limit) = (Relation::Equal, u64::from(truth));
            all.push(Expectation { key, text: truth.to_string(), measure, relation, limit });
        }
    }
    section.finish()?;
    Ok(all)
}

/// Half of the devices never have everything later than nearly all, nor these later than all.
fn check_times(section: &Section<'_>, all: &[Expectation]) -> Result<(), ScenarioError> {
    let of = |measure: Measure| all.iter().find(move |expectation| expectation.measure == measure);
    for (sooner, later) in
        [(Measure::Time50, Measure::Time99), (Measure::Time50, Measure::Time100), (Measure::Time99, Measure::Time100)]
    {
        let (Some(sooner), Some(later)) = (of(sooner), of(later)) else { continue };
        let bounds = sooner.relation != Relation::AtMost && later.relation != Relation::AtLeast;
        if bounds && sooner.limit > later.limit {
            let expected = format!("no less than `{}` is expected to be, which is \"{}\"", sooner.key, sooner.text);
            return Err(section.bad(later.key, &expected));
        }
    }
    Ok(())
}

fn relation(text: &str) -> Option<(Relation, &str)> {
    let signs = [("<=", Relation::AtMost), (">=", Relation::AtLeast), ("=", Relation::Equal)];
    signs.into_iter().find_map(|(sign, relation)| Some((relation, text.strip_prefix(sign)?.trim())))
}

fn thousandths(text: &str) -> Result<u64, String> {
    units::fixed(text, 3).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| "a number such as 1.05".to_owned())
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number".to_owned())
}
