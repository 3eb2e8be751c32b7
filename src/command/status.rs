//! `fullmetal status`: what runs on this device, what is under way, how its peer is doing.

mod say;
mod system;
mod watch;

use super::Context;
use super::asking::AgentDoor;
use clap::Args;
use fullmetal::config::{Rate, Settings};
use fullmetal::console;
use fullmetal::status::Look;
use fullmetal_proto::wire::local::PeerReport;
use serde_json::Value;
use std::fmt::Write as _;

/// How many ended actions are told of.
const ENDED_SHOWN: usize = 5;

#[derive(Args)]
pub struct StatusArgs {
    /// Go on: in place on a terminal, else a line (or JSON object) for each change, until ended.
    #[arg(long)]
    watch: bool,
}

pub fn run(context: &Context, args: &StatusArgs) -> anyhow::Result<()> {
    let settings = context.settings()?;
    if args.watch {
        return watch::run(&settings, context.json);
    }
    let look = look(&settings)?;
    if context.json { console::print_json(&look.json()) } else { console::print(&text(&look)) }
}

fn look(settings: &Settings) -> anyhow::Result<Look<'_>> {
    let report = AgentDoor::open(&settings.paths).and_then(|door| door.report()).ok();
    Look::at(settings, report.as_ref())
}

fn text(look: &Look) -> String {
    let device = &look.settings.device;
    let mut text = format!("{} of fleet {}\n", device.id, device.fleet);
    system::system_text(&mut text, &look.system, look.counted.as_ref());
    look.apps.iter().for_each(|app| app_line(&mut text, app));
    if look.apps.is_empty() {
        text.push_str("  no apps\n");
    }
    deployment_text(&mut text, &look.deployment);
    say::say_text(&mut text, &look.say);
    look.ended.iter().rev().take(ENDED_SHOWN).for_each(|ended| ended_text(&mut text, ended));
    for line in look.trouble.lines() {
        let _ = writeln!(text, "  trouble: {line}");
    }
    let _ = match &look.agent {
        Ok(true) => writeln!(text, "  agent: running"),
        Ok(false) => {
            writeln!(text, "  agent: not running; apps go on, nothing is deployed until `fullmetal agent` runs")
        }
        Err(error) => writeln!(text, "  agent: cannot tell: {error}; ask as root"),
    };
    peer_text(&mut text, &look.peer);
    text
}

fn field<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

/// One app as a line of text.
pub fn app_line(text: &mut String, app: &Value) {
    let phase = if app["stopped_by_hand"] == true { "stopped by hand" } else { field(app, "phase") };
    let commit = field(app, "commit").get(..12).unwrap_or("");
    let unsigned = if app["unsigned"] == true { "  unsigned, as the trust file allows" } else { "" };
    let _ = writeln!(text, "  {:<16} {:<12} {phase:<15} {commit}{unsigned}", field(app, "name"), field(app, "version"));
}

fn whose(deployment: &Value) -> String {
    match deployment["by_hand"] == true {
        true => "roll back by hand".to_owned(),
        false => format!("action {}", deployment["action"]),
    }
}

/// How much came, of how much, from whom; nothing when nothing is to come.
fn fetched(deployment: &Value) -> String {
    let of = |key: &str| deployment[key].as_u64().unwrap_or(0);
    let (peers, central) = (of("bytes_from_peers"), of("bytes_from_central"));
    let total = deployment["bytes_total"].as_u64().map(|total| format!(" of {}", console::bytes(total)));
    if peers + central == 0 && total.is_none() {
        return String::new();
    }
    let (all, total) = (console::bytes(peers + central), total.unwrap_or_default());
    let (peers, central) = (console::bytes(peers), console::bytes(central));
    format!(", {all}{total} ({peers} from neighbours, {central} from central)")
}

fn deployment_text(text: &mut String, deployment: &Value) {
    if deployment.is_null() {
        return;
    }
    let parts: Vec<&str> = deployment["parts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let of = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let is_coming = deployment["phase"] == "staging";
    let (whose, came) = (whose(deployment), if is_coming { fetched(deployment) } else { String::new() });
    let _ = write!(text, "  {whose}{of} is {}{came}", field(deployment, "phase"));
    let probation = &deployment["probation"];
    match (probation["elapsed_s"].as_u64(), probation["total_s"].as_u64()) {
        (Some(elapsed), Some(total)) => drop(write!(text, ": {elapsed} of {total} s")),
        (None, Some(total)) => drop(write!(text, ": {total} s, once the agent watches it")),
        _ => {}
    }
    if let Some(reason) = deployment["reason"].as_str() {
        let _ = write!(text, ": {}", reason.escape_debug());
    }
    text.push('\n');
}

fn ended_text(text: &mut String, ended: &Value) {
    let at = ended["at"].as_str().map(|at| format!(" at {at}")).unwrap_or_default();
    let _ = write!(text, "  action {} {}{at}", ended["action"], field(ended, "state"));
    if let Some(reason) = ended["reason"].as_str().filter(|reason| !reason.is_empty()) {
        let _ = write!(text, ": {}", reason.escape_debug());
    }
    text.push('\n');
}

fn peer_text(text: &mut String, peer: &anyhow::Result<PeerReport>) {
    let report = match peer {
        Ok(report) => report,
        Err(error) => {
            let _ = writeln!(text, "  peer: no answer: {}", console::one_line(error));
            return;
        }
    };
    text.push_str("  peer: running\n");
    let neighbours: Vec<String> = report.neighbours.iter().map(ToString::to_string).collect();
    let _ =
        writeln!(text, "  neighbours: {}", if neighbours.is_empty() { "none".into() } else { neighbours.join(", ") });
    let newest = report.newest.map_or("none".into(), |h| format!("epoch {} counter {}", h.epoch, h.counter));
    let _ = writeln!(text, "  announcement: {newest}");
    let (peers, central, sent) = (report.bytes_from_peers, report.bytes_from_central, report.bytes_to_peers);
    let _ = writeln!(text, "  pieces: {peers} bytes from peers, {central} from central, {sent} to peers");
    let from: Vec<_> = report.sources.iter().map(|(device, n)| format!("{} {device}", console::bytes(*n))).collect();
    if !from.is_empty() {
        let _ = writeln!(text, "  most of it from: {}", from.join(", "));
    }
    if let Some(share) = &report.central {
        let [site, own] = [share.budget_bytes_per_s, share.bytes_per_s].map(Rate::of_bytes);
        let _ = writeln!(
            text,
            "  from central: at most {site} for the site, {own} for this peer ({} fetch)",
            share.fetchers
        );
    }
    let _ = writeln!(text, "  cache: {} bytes", report.cache_bytes);
    if !report.trouble.is_empty() {
        let _ = writeln!(text, "  trouble: {}", report.trouble);
    }
}
