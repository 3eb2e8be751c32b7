//! `fullmetal status --watch`: the same again and again, in place on a terminal, else a line for each change.

use super::{fetched, field};
use fullmetal::agent::wall_clock;
use fullmetal::config::Settings;
use fullmetal::console;
use fullmetal::identity::system_time;
use serde_json::{Value, json};
use std::io::IsTerminal as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Goes on until it is ended, or nobody reads any more.
pub fn run(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let in_place = std::io::stdout().is_terminal() && !json;
    let (mut rate, mut said) = (Rate::default(), String::new());
    loop {
        let look = super::look(settings)?;
        let mut value = look.json();
        let rate = rate.of(&value["deployment"]);
        value["bytes_per_s"] = json!(rate);
        let says = match (json, in_place) {
            (true, _) => serde_json::to_string(&value)?,
            (_, true) => {
                super::text(&look) + &rate.map(|r| format!("  rate: {}/s\n", console::bytes(r))).unwrap_or_default()
            }
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
        let bytes = deployment["bytes_from_peers"].as_u64()? + deployment["bytes_from_central"].as_u64()?;
        let now = Instant::now();
        let (then, before) = self.0.replace((now, bytes))?;
        let passed = u64::try_from(now.duration_since(then).as_millis()).ok()?.max(1);
        bytes.checked_sub(before).filter(|more| *more > 0).map(|more| more.saturating_mul(1000) / passed)
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
}
