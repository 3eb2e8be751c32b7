//! `fullmetal status`: what runs on this device, what is under way, how its peer is doing.

use super::Context;
use fullmetal::console;
use fullmetal::host::{AppHost as _, SupervisorHost, SupervisorOptions};
use fullmetal::journal;
use fullmetal::local::Connection;
use fullmetal_proto::deploy::{Phase, Record};
use fullmetal_proto::wire::local::{Client, FromPeer, PeerReport, ToPeer, VERSION};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How long the peer may take to answer.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

pub fn run(context: &Context) -> anyhow::Result<()> {
    let settings = context.settings()?;
    let record = journal::peek(&settings.paths.journal_dir())?.unwrap_or_default();
    let options = SupervisorOptions::new(context.paths.root(), &settings.device.id)?;
    let host = SupervisorHost::new(options);
    let apps: Vec<Value> = record.apps.iter().map(|(name, app)| app_json(&host, name, app)).collect();
    let peer = ask_peer(&settings.paths.peer_socket());
    if context.json {
        return console::print_json(&json!({
            "device": settings.device.id, "fleet": settings.device.fleet, "apps": apps,
            "deployment": deployment_json(&record), "ended": ended_json(&record), "peer": peer.as_ref().ok(),
        }));
    }
    let mut text = format!("{} of fleet {}\n", settings.device.id, settings.device.fleet);
    for app in &apps {
        let _ = writeln!(
            text,
            "  {:<16} {:<12} {:<10} {}",
            field(app, "name"),
            field(app, "version"),
            field(app, "phase"),
            field(app, "commit").get(..12).unwrap_or("")
        );
    }
    if apps.is_empty() {
        text.push_str("  no apps\n");
    }
    if let Some(deployment) = &record.deployment {
        let _ = writeln!(text, "  action {} is {}", deployment.wish.action, phase(&deployment.phase));
    }
    for ended in record.ended.iter().rev().take(5) {
        let _ = writeln!(text, "  action {} ended: {:?}", ended.action, ended.state);
    }
    peer_text(&mut text, &peer);
    console::print(&text)
}

fn field<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn app_json(host: &SupervisorHost, name: &fullmetal_proto::AppName, app: &fullmetal_proto::deploy::App) -> Value {
    let status = host.status(name).ok().flatten();
    json!({
        "name": name, "version": app.current.version, "commit": app.current.commit, "floor": app.floor,
        "phase": status.as_ref().map(|s| s.phase), "since": status.as_ref().map(|s| s.since),
        "restarts": status.as_ref().map(|s| s.restarts), "last_exit": status.as_ref().and_then(|s| s.last_exit),
        "previous": app.previous.as_ref().map(|p| p.version.clone()),
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

fn ended_json(record: &Record) -> Vec<Value> {
    record.ended.iter().map(|e| json!({ "action": e.action, "state": e.state })).collect()
}

fn deployment_json(record: &Record) -> Value {
    let Some(d) = &record.deployment else { return Value::Null };
    json!({
        "action": d.wish.action, "bundle": d.wish.bundle, "mode": d.wish.mode, "phase": phase(&d.phase),
        "bytes_from_peers": d.bytes_from_peers, "bytes_from_central": d.bytes_from_central,
    })
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
            let _ = writeln!(text, "  peer: {error:#}");
            return;
        }
    };
    let neighbours: Vec<String> = report.neighbours.iter().map(ToString::to_string).collect();
    let _ =
        writeln!(text, "  neighbours: {}", if neighbours.is_empty() { "none".into() } else { neighbours.join(", ") });
    let newest = report.newest.map_or("none".into(), |h| format!("epoch {} counter {}", h.epoch, h.counter));
    let _ = writeln!(text, "  announcement: {newest}");
    let (peers, central, sent) = (report.bytes_from_peers, report.bytes_from_central, report.bytes_to_peers);
    let _ = writeln!(text, "  pieces: {peers} bytes from peers, {central} from central, {sent} to peers");
    let _ = writeln!(text, "  cache: {} bytes", report.cache_bytes);
    if !report.trouble.is_empty() {
        let _ = writeln!(text, "  trouble: {}", report.trouble);
    }
}
