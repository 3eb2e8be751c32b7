//! `fullmetal status`: what runs on this device, what is under way, how its peer is doing.

mod say;
mod watch;

use super::Context;
use super::asking::AgentDoor;
use clap::Args;
use fullmetal::agent::{ended_reports, lock, probation_elapsed};
use fullmetal::config::{Paths, Settings};
use fullmetal::console;
use fullmetal::host::{AppHost, Hosts};
use fullmetal::journal::{self, DirectoryDisk};
use fullmetal::local::Connection;
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{self, Phase, Record};
use fullmetal_proto::wire::Report;
use fullmetal_proto::wire::asking::AgentReport;
use fullmetal_proto::wire::local::{Client, FromPeer, PeerReport, ToPeer, VERSION};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How long the peer may take to answer.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

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
    let look = Look::at(&settings)?;
    if context.json { console::print_json(&look.json()) } else { console::print(&look.text()) }
}

/// All that can be seen of a device now.
struct Look<'a> {
    settings: &'a Settings,
    apps: Vec<Value>,
    deployment: Value,
    say: Value,
    ended: Vec<Value>,
    trouble: String,
    agent: std::io::Result<bool>,
    peer: anyhow::Result<PeerReport>,
}

impl<'a> Look<'a> {
    fn at(settings: &'a Settings) -> anyhow::Result<Self> {
        let paths = &settings.paths;
        let record = journal::peek(&paths.journal_dir())?.unwrap_or_default();
        let host = Hosts::of(settings)?.open();
        let report = AgentDoor::open(paths).and_then(|door| door.report()).ok();
        Ok(Look {
            settings,
            apps: record.apps.iter().map(|(name, app)| app_json(paths, &*host, name, app)).collect(),
            deployment: deployment_json(paths, &record, report.as_ref()),
            say: say::say_json(lock::get(&paths.lock_file()), report.as_ref()),
            ended: ended_json(&record, &ended_reports(&paths.reports_dir())),
            trouble: std::fs::read_to_string(paths.agent_trouble()).unwrap_or_default(),
            agent: DirectoryDisk::is_in_use(&paths.journal_dir()),
            peer: ask_peer(&paths.peer_socket()),
        })
    }

    fn json(&self) -> Value {
        let Look { settings, peer, .. } = self;
        json!({
            "device": settings.device.id, "fleet": settings.device.fleet, "apps": self.apps,
            "deployment": self.deployment, "ended": self.ended, "agent": { "running": self.agent.as_ref().ok() },
            "peer": peer.as_ref().ok(), "peer_error": peer.as_ref().err().map(console::one_line),
            "trouble": self.trouble.lines().collect::<Vec<_>>(), "local": self.say,
        })
    }

    fn text(&self) -> String {
        let device = &self.settings.device;
        let mut text = format!("{} of fleet {}\n", device.id, device.fleet);
        self.apps.iter().for_each(|app| app_line(&mut text, app));
        if self.apps.is_empty() {
            text.push_str("  no apps\n");
        }
        deployment_text(&mut text, &self.deployment);
        say::say_text(&mut text, &self.say);
        self.ended.iter().rev().take(ENDED_SHOWN).for_each(|ended| ended_text(&mut text, ended));
        for line in self.trouble.lines() {
            let _ = writeln!(text, "  trouble: {line}");
        }
        let _ = match &self.agent {
            Ok(true) => writeln!(text, "  agent: running"),
            Ok(false) => {
                writeln!(text, "  agent: not running; apps go on, nothing is deployed until `fullmetal agent` runs")
            }
            Err(error) => writeln!(text, "  agent: cannot tell: {error}; ask as root"),
        };
        peer_text(&mut text, &self.peer);
        text
    }
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

/// One app as JSON.
pub fn app_json(paths: &Paths, host: &dyn AppHost, name: &AppName, app: &deploy::App) -> Value {
    let status = host.status(name).ok().flatten();
    json!({
        "name": name, "version": app.current.version, "commit": app.current.commit, "floor": app.floor,
        "lost": app.lost, "unsigned": app.current.unsigned,
        "phase": status.as_ref().map(|s| s.phase), "since": status.as_ref().map(|s| s.since),
        "restarts": status.as_ref().map(|s| s.restarts), "last_exit": status.as_ref().and_then(|s| s.last_exit),
        "previous": app.previous.as_ref().map(|p| p.version.clone()), "stopped_by_hand": paths.stopped(name).exists(),
    })
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Staging => "staging",
        Phase::Switching { .. } => "switching",
        Phase::Proving { .. } => "proving",
        Phase::RollingBack { .. } => "rolling back",
    }
}

/// The journal has what is durable, the agent what came since.
fn deployment_json(paths: &Paths, record: &Record, report: Option<&AgentReport>) -> Value {
    let Some(d) = &record.deployment else { return Value::Null };
    let proving = matches!(d.phase, Phase::Proving { .. });
    let probation = proving.then(|| {
        let elapsed = probation_elapsed(paths, d.wish.action).map(|passed| passed.as_secs());
        let total = d.probation_ms.div_ceil(1000);
        json!({ "elapsed_s": elapsed.map(|passed| passed.min(total)), "total_s": total })
    });
    let reason = if let Phase::RollingBack { cause } = &d.phase { Some(&cause.reason) } else { None };
    json!({
        "action": d.wish.action, "bundle": d.wish.bundle, "mode": d.wish.mode, "phase": phase(&d.phase),
        "parts": d.parts.iter().map(|p| format!("{} {}", p.name, p.installed.version)).collect::<Vec<_>>(),
        "state": report.map(|r| &r.state), "bytes_total": report.map(|r| r.bytes_total).filter(|total| *total > 0),
        "bytes_from_peers": report.map_or(d.bytes_from_peers, |r| r.bytes_from_peers),
        "bytes_from_central": report.map_or(d.bytes_from_central, |r| r.bytes_from_central),
        "probation": probation, "reason": reason, "by_hand": d.by_hand,
    })
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

/// The reports of ended actions say why; the journal, which has fewer words, that they ended.
fn ended_json(record: &Record, reports: &[Report]) -> Vec<Value> {
    let ended = record.ended.iter().map(|ended| {
        let report = reports.iter().rev().find(|r| r.action == ended.action && r.state == ended.state);
        json!({
            "action": ended.action, "state": ended.state, "reason": report.map(|r| &r.reason),
            "exit": report.and_then(|r| r.exit), "log": report.map(|r| &r.log), "at": report.map(|r| r.at.to_string()),
        })
    });
    ended.collect()
}

fn ended_text(text: &mut String, ended: &Value) {
    let at = ended["at"].as_str().map(|at| format!(" at {at}")).unwrap_or_default();
    let _ = write!(text, "  action {} {}{at}", ended["action"], field(ended, "state"));
    if let Some(reason) = ended["reason"].as_str().filter(|reason| !reason.is_empty()) {
        let _ = write!(text, ": {}", reason.escape_debug());
    }
    text.push('\n');
}

fn ask_peer(socket: &std::path::Path) -> anyhow::Result<PeerReport> {
    let connection = Connection::connect(socket, None)?;
    connection.set_timeouts(Some(ANSWER_LIMIT), Some(ANSWER_LIMIT))?;
    connection.send(&ToPeer::Hello { version: VERSION, client: Client::Observer }, None)?;
    connection.send(&ToPeer::Status, None)?;
    while let Some(packet) = connection.receive::<FromPeer>()? {
        if let FromPeer::Status(report) = packet.message {
            return Ok(report);
        }
    }
    anyhow::bail!("the peer closed the connection")
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
    let _ = writeln!(text, "  cache: {} bytes", report.cache_bytes);
    if !report.trouble.is_empty() {
        let _ = writeln!(text, "  trouble: {}", report.trouble);
    }
}
