//! `fullmetal status --watch`: the same again and again, in place on a terminal, else a line for each change.

use super::{fetched, field};
use fullmetal::agent::wall_clock;
use fullmetal::config::Settings;
use fullmetal::console;
use fullmetal::identity::system_time;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Goes on until it is ended, or nobody reads any more.
pub fn run(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let in_place = std::io::stdout().is_terminal() && !json;
    let (mut rate, mut from, mut said) = (Rate::default(), RateFrom::default(), String::new());
    loop {
        let look = super::look(settings)?;
        let mut value = look.json();
        let rate = rate.of(&value["deployment"]);
        value["bytes_per_s"] = json!(rate);
        let from = from.of(&value["peer"]);
        value["bytes_per_s_from"] =
            json!(from.iter().map(|(name, rate)| json!({ "from": name, "bytes_per_s": rate })).collect::<Vec<_>>());
        let says = match (json, in_place) {
            (true, _) => serde_json::to_string(&value)?,
            (_, true) => super::text(&look) + &now(rate, &from),
            _ => line(&value),
        };
        if says != said {
            let shown = match (json, in_place) {
                (true, _) => format!("{says}\n"),
                // To the upper left, and everything away.
                (_, true) => format!("\x1b[H\x1b[2J{says}"),
                _ => format!("{}  {says}\n", wall_clock(system_time())),
            };
            if !console::print_on(&shown)? {
                return Ok(());
            }
            said = says;
        }
        sleep(LOOK);
    }
}

/// How fast it comes, and from whom.
fn now(rate: Option<u64>, from: &[(String, u64)]) -> String {
    let from: Vec<_> = from.iter().map(|(name, rate)| format!("{}/s {name}", console::bytes(*rate))).collect();
    let rate = rate.map(|rate| format!("  rate: {}/s\n", console::bytes(rate))).unwrap_or_default();
    if from.is_empty() { rate } else { format!("{rate}  now from: {}\n", from.join(", ")) }
}

/// What there is to say in one line.
fn line(value: &Value) -> String {
    let each = value["apps"].as_array().into_iter().flatten();
    let apps: Vec<String> =
        each.map(|a| format!("{} {} {}", field(a, "name"), field(a, "version"), field(a, "phase"))).collect();
    let mut line = if apps.is_empty() { "no apps".to_owned() } else { apps.join(", ") };
    let deployment = &value["deployment"];
    if deployment.is_object() {
        let state = deployment["state"].as_str().unwrap_or(field(deployment, "phase"));
        let came = if deployment["phase"] == "staging" { fetched(deployment) } else { String::new() };
        line += &format!("; {}: {state}{came}", super::whose(deployment));
    }
    if let Some(obstacle) = value["local"]["obstacle"].as_str() {
        line += &format!("; waits: {obstacle}");
    }
    if let Some(ended) = value["ended"].as_array().and_then(|ended| ended.last()).filter(|_| deployment.is_null()) {
        line += &format!("; action {} {}", ended["action"], field(ended, "state"));
    }
    if value["agent"]["running"] == false {
        line += "; agent: not running";
    }
    line
}

/// How fast pieces come.
#[derive(Default)]
struct Rate(Option<(Instant, u64)>);

impl Rate {
    /// Bytes a second since the look before; nothing while nothing comes.
    fn of(&mut self, deployment: &Value) -> Option<u64> {
        self.since(deployment["bytes_from_peers"].as_u64()? + deployment["bytes_from_central"].as_u64()?)
    }

    fn since(&mut self, bytes: u64) -> Option<u64> {
        let now = Instant::now();
        let (then, before) = self.0.replace((now, bytes))?;
        let passed = u64::try_from(now.duration_since(then).as_millis()).ok()?.max(1);
        bytes.checked_sub(before).filter(|more| *more > 0).map(|more| more.saturating_mul(1000) / passed)
    }
}

/// How fast the peer gets pieces from each neighbour and from central.
#[derive(Default)]
struct RateFrom(BTreeMap<String, Rate>);

impl RateFrom {
    /// Bytes a second since the look before, the most first; without those that send nothing.
    fn of(&mut self, peer: &Value) -> Vec<(String, u64)> {
        let neighbours = peer["sources"].as_array().into_iter().flatten();
        let neighbours = neighbours.filter_map(|s| Some((s[0].as_str()?, s[1].as_u64()?)));
        let central = peer["bytes_from_central"].as_u64().map(|bytes| ("central", bytes));
        let mut rates: Vec<_> = neighbours
            .chain(central)
            .filter_map(|(name, bytes)| {
                Some((name.to_owned(), self.0.entry(name.to_owned()).or_default().since(bytes)?))
            })
            .collect();
        rates.sort_by_key(|(_, rate)| Reverse(*rate));
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_runs_what_comes_and_what_it_waits_for() {
        let mut value = json!({
            "apps": [{ "name": "web", "version": "1", "phase": "running" }],
            "deployment": {
                "action": 7, "phase": "staging", "state": "fetching", "bytes_from_peers": 3 << 20,
                "bytes_from_central": 1 << 20, "bytes_total": 8 << 20,
            },
            "ended": [{ "action": 6, "state": "failed" }], "agent": { "running": true }, "local": {},
        });
        let came =
            "web 1 running; action 7: fetching, 4.0 MiB of 8.0 MiB (3.0 MiB from neighbours, 1.0 MiB from central)";
        assert_eq!(line(&value), came);
        value["deployment"] = Value::Null;
        assert_eq!(line(&value), "web 1 running; action 6 failed");
    }

    #[test]
    fn the_rate_is_what_came_since_the_look_before() {
        let of = |bytes: u64| json!({ "bytes_from_peers": bytes, "bytes_from_central": 0 });
        let mut rate = Rate(Some((Instant::now() - Duration::from_secs(10), 1000)));
        let seen = rate.of(&of(11_000)).unwrap();
        assert!((900..=1000).contains(&seen), "{seen}");
        assert_eq!(rate.of(&of(11_000)), None);
        assert_eq!(rate.of(&Value::Null), None);
        assert_eq!(rate.of(&of(5)), None, "another deployment");
    }

    #[test]
    fn who_sends_now_is_told_with_the_fastest_first_and_who_does_not_is_left_out() {
        let of = |[a, b, central]: [u64; 3]| json!({ "sources": [["press-1", a], ["press-2", b]], "bytes_from_central": central });
        let mut rates = RateFrom::default();
        assert!(rates.of(&of([1000, 1000, 0])).is_empty(), "nothing to compare with");
        rates.0.values_mut().for_each(|rate| rate.0.as_mut().unwrap().0 -= Duration::from_secs(10));
        let from = rates.of(&of([1000, 1_001_000, 5_000_000]));
        assert_eq!(from.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["central", "press-2"]);
        assert!(from[0].1 <= 500_000 && from[1].1 <= 100_000, "{from:?}");
        assert!(now(Some(3 << 20), &from).contains("/s central, "), "{}", now(None, &from));
    }
}
