//! `fullmetal-sim compare`: two results side by side, from a simulation, a lab, or one of each.

use super::outcome::{SCHEMA, bytes, seconds, thousandths};
use super::scenario::read_bounded;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The longest result that is read in bytes.
const FILE_LEN_MAX: u64 = 64 << 20;
/// Characters of the column of names, and of one result.
const NAME_WIDTH: usize = 22;
const WIDTH: usize = 16;

/// What a person asks for.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// A result as `run --json` or `lab --json` prints it.
    #[arg(value_name = "A.json")]
    pub a: PathBuf,
    /// Another.
    #[arg(value_name = "B.json")]
    pub b: PathBuf,
    /// Print the comparison as JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// How a figure is shown.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Thousandths,
    Bytes,
    Count,
}

/// A figure: its name, where it stands in a result, its unit.
const FIGURES: [(&str, &str, Unit); 17] = [
    ("copies", "/copies_thousandths", Unit::Thousandths),
    ("time, 50 %", "/time_ms/50", Unit::Milliseconds),
    ("time, 99 %", "/time_ms/99", Unit::Milliseconds),
    ("time, 100 %", "/time_ms/100", Unit::Milliseconds),
    ("end", "/ended_at_ms", Unit::Milliseconds),
    ("devices with all", "/devices/converged", Unit::Count),
    ("devices counted", "/devices/counted", Unit::Count),
    ("uplink", "/bytes/uplink", Unit::Bytes),
    ("trunks", "/bytes/trunks", Unit::Bytes),
    ("ports", "/bytes/ports", Unit::Bytes),
    ("air", "/bytes/air", Unit::Bytes),
    ("control", "/bytes/control", Unit::Bytes),
    ("wasted", "/bytes/wasted", Unit::Bytes),
    ("requests to central", "/requests/central", Unit::Count),
    ("to neighbours", "/requests/neighbours", Unit::Count),
    ("answered by Busy", "/requests/busy", Unit::Count),
    ("bans", "/bans", Unit::Count),
];
/// Figures of a lab's hosts, of which the largest is taken.
const OF_HOSTS: [(&str, &str, Unit); 4] = [
    ("in force on the last", "in_force_ms", Unit::Milliseconds),
    ("end known of the last", "reported_ms", Unit::Milliseconds),
    ("CPU of a host, most", "cpu_ms", Unit::Milliseconds),
    ("memory of a host, most", "memory", Unit::Bytes),
];

/// Compares two results and prints what it found.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let text = if args.json { format!("{}\n", as_json(&a, &b)) } else { as_text([(&args.a, &a), (&args.b, &b)]) };
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).context("writing to standard output")
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let name = || path.display().to_string();
    let text = read_bounded(path, FILE_LEN_MAX).with_context(|| format!("reading {}", name()))?;
    let result: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", name()))?;
    match result["schema"].as_u64() {
        Some(schema) if schema == u64::from(SCHEMA) && result["time_ms"].is_object() => Ok(result),
        Some(schema) if schema != u64::from(SCHEMA) => {
            bail!("{} has schema {schema}; this program reads {SCHEMA}", name())
        }
        _ => bail!("{} is no result of `fullmetal-sim run --json` or `lab --json`", name()),
    }
}

/// All figures that at least one of the results has: name, both values, unit.
fn figures(a: &Value, b: &Value) -> Vec<(&'static str, Option<u64>, Option<u64>, Unit)> {
    let whole = FIGURES.iter().map(|(name, at, unit)| {
        let of = |result: &Value| result.pointer(at).and_then(Value::as_u64);
        (*name, of(a), of(b), *unit)
    });
    let of_hosts = OF_HOSTS.iter().map(|(name, key, unit)| {
        let of = |result: &Value| {
            let hosts = result["lab"]["hosts"].as_array().into_iter().flatten();
            hosts.filter_map(|host| host[key].as_u64()).max()
        };
        (*name, of(a), of(b), *unit)
    });
    whole.chain(of_hosts).filter(|(_, a, b, _)| a.is_some() || b.is_some()).collect()
}

fn as_json(a: &Value, b: &Value) -> Value {
    let figure = |(name, a, b, _): (&str, Option<u64>, Option<u64>, Unit)| {
        let both = a.zip(b);
        let ratio = both.filter(|(a, _)| *a > 0).map(|(a, b)| b as f64 / a as f64);
        json!({ "figure": name, "a": a, "b": b, "difference": both.map(|(a, b)| i128::from(b) - i128::from(a)), "ratio": ratio })
    };
    let of =
        |r: &Value| json!({ "scenario": r["scenario"], "world": r["world"], "seed": r["seed"], "good": r["good"] });
    let figures: Vec<Value> = figures(a, b).into_iter().map(figure).collect();
    json!({ "schema": SCHEMA, "a": of(a), "b": of(b), "figures": figures })
}

fn as_text([(a_file, a), (b_file, b)]: [(&PathBuf, &Value); 2]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, a: String, b: String, difference: String| {
        let row = format!("{name:<NAME_WIDTH$} {a:>WIDTH$} {b:>WIDTH$}   {difference}");
        writeln!(out, "{}", row.trim_end()).unwrap_or_default();
    };
    for (name, file, result) in [("A", a_file, a), ("B", b_file, b)] {
        let word = |key: &str| result[key].as_str().unwrap_or("?").to_owned();
        let verdict = if result["good"] == true { "good" } else { "not good" };
        let text = format!(
            "{}: {} of \"{}\", seed {}, {verdict}",
            file.display(),
            word("world"),
            word("scenario"),
            result["seed"]
        );
        line(&format!("{name}  {text}"), String::new(), String::new(), String::new());
    }
    line("", "A".to_owned(), "B".to_owned(), "B against A".to_owned());
    for (name, a, b, unit) in figures(a, b) {
        let show = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| shown(value, unit));
        line(name, show(a), show(b), difference(a, b));
    }
    out
}

fn shown(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format!("{} s", seconds(value.saturating_mul(1_000))),
        Unit::Thousandths => thousandths(value),
        Unit::Bytes => bytes(value),
        Unit::Count => value.to_string(),
    }
}

/// By how much B is more than A, in per cent where there is a hundred per cent.
fn difference(a: Option<u64>, b: Option<u64>) -> String {
    match (a, b) {
        (Some(a), Some(b)) if a == b => "same".to_owned(),
        (Some(0), Some(_)) => "only B".to_owned(),
        (Some(a), Some(b)) => format!("{:+.1} %", (b as f64 / a as f64 - 1.0) * 100.0),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(world: &str, copies: u64, last: Option<u64>, wasted: Option<u64>) -> Value {
        json!({
            "schema": SCHEMA, "world": world, "scenario": "thin", "seed": 3, "good": true,
            "copies_thousandths": copies, "time_ms": { "50": 1_000, "99": last, "100": last },
            "bytes": { "uplink": 2_000_000, "wasted": wasted }, "lab": null,
        })
    }

    #[test]
    fn two_results_stand_side_by_side_with_their_difference() {
        let (a, b) = (result("simulation", 1_000, Some(20_000), Some(7)), result("lab", 1_050, Some(19_000), None));
        let (a_file, b_file) = (PathBuf::from("a.json"), PathBuf::from("b.json"));
        let text = as_text([(&a_file, &a), (&b_file, &b)]);
        for words in ["A  a.json: simulation of \"thin\", seed 3, good", "b.json: lab of", "1.000", "1.050", "+5.0 %"] {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
        let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(row("time, 100 %").contains("20.000 s") && row("time, 100 %").ends_with("-5.0 %"), "{text}");
        assert!(row("uplink").ends_with("same"));
        assert!(row("wasted").trim_end().ends_with('-'), "{text}");
        assert!(!text.contains("trunks"), "a figure that neither has is shown:\n{text}");
    }

    #[test]
    fn the_comparison_as_json_has_differences_and_ratios() {
        let found = as_json(&result("simulation", 1_000, None, Some(0)), &result("lab", 1_050, Some(5), Some(9)));
        let figure = |name: &str| found["figures"].as_array().unwrap().iter().find(|f| f["figure"] == name).cloned();
        let copies = figure("copies").unwrap();
        assert_eq!((copies["difference"].as_i64(), copies["ratio"].as_f64()), (Some(50), Some(1.05)));
        assert_eq!(figure("time, 100 %").unwrap()["difference"], Value::Null);
        assert_eq!(figure("wasted").unwrap()["ratio"], Value::Null);
        assert_eq!((&found["a"]["world"], &found["b"]["world"]), (&json!("simulation"), &json!("lab")));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = format!("{:#}", read(Path::new("/dev/zero")).unwrap_err());
        assert!(error.contains("/dev/zero") && error.contains("limit of 67108864"), "{error}");
    }

    #[test]
    fn what_is_no_result_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, says) in [("{}", "is no result"), ("nonsense", "is no JSON"), ("{\"schema\": 99}", "has schema 99")]
        {
            std::fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", read(file.path()).unwrap_err());
            assert!(error.contains(says) && error.contains(&file.path().display().to_string()), "{error}");
        }
    }
}
