//! How a device stands, as JSON: what `fullmetal status --json` prints and what the agent says over D-Bus.

use crate::agent::{ended_reports, lock, probation_elapsed, wall_clock};
use crate::boot_loader::{self, Counted, Places};
use crate::config::{Paths, Settings};
use crate::console;
use crate::host::{AppHost, Hosts};
use crate::journal::{self, DirectoryDisk};
use crate::local::Connection;
use crate::sysroot::{OsDeployment, Sysroot, SysrootError};
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{self, Phase, Record};
use fullmetal_proto::wire::Report;
use fullmetal_proto::wire::asking::{AgentReport, Inhibitor, LockNote};
use fullmetal_proto::wire::local::{Client, FromPeer, PeerReport, ToPeer, VERSION};
use serde_json::{Value, json};
use std::time::Instant;

/// How long the peer may take to answer.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// All that can be seen of a device now.
pub struct Look<'a> {
    /// Which device.
    pub settings: &'a Settings,
    /// Its apps, see [`app_json`].
    pub apps: Vec<Value>,
    /// The operating system's deployments, what boots next first; none where OSTree has not deployed it.
    pub system: Result<Vec<OsDeployment>, SysrootError>,
    /// What the boot loader counts, where it can be asked.
    pub counted: Option<Counted>,
    /// The deployment under way, or null.
    pub deployment: Value,
    /// What local people say.
    pub say: Value,
    /// How the last actions ended, oldest first.
    pub ended: Vec<Value>,
    /// What keeps the agent from its work, a line each.
    pub trouble: String,
    /// Whether an agent runs.
    pub agent: std::io::Result<bool>,
    /// What the peer says of itself.
    pub peer: anyhow::Result<PeerReport>,
}

impl<'a> Look<'a> {
    /// Looks; `report` is the agent's own word, if it has one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn at(settings: &'a Settings, report: Option<&AgentReport>) -> anyhow::Result<Self> {
        let paths = &settings.paths;
        let record = journal::peek(&paths.journal_dir())?.unwrap_or_default();
        let host = Hosts::of(settings)?.open();
        Ok(Look {
            settings,
            apps: record.apps.iter().map(|(name, app)| app_json(paths, &*host, name, app)).collect(),
            system: Sysroot::of(paths.root()).map_or(Ok(Vec::new()), |sysroot| sysroot.deployments()),
            counted: counted(paths),
            deployment: deployment_json(paths, &record, report),
            say: say_json(lock::get(&paths.lock_file()), report),
            ended: ended_json(&record, &ended_reports(&paths.reports_dir())),
            trouble: std::fs::read_to_string(paths.agent_trouble()).unwrap_or_default(),
            agent: DirectoryDisk::is_in_use(&paths.journal_dir()),
            peer: ask_peer(&paths.peer_socket()),
        })
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let Look { settings, peer, .. } = self;
        json!({
            "device": settings.device.id, "fleet": settings.device.fleet, "apps": self.apps,
            "deployment": self.deployment, "ended": self.ended, "agent": { "running": self.agent.as_ref().ok() },
            "system": self.system.as_ref().ok(), "system_counted": self.counted, "system_error": self.system.as_ref().err().map(ToString::to_string),
            "peer": peer.as_ref().ok(), "peer_error": peer.as_ref().err().map(console::one_line),
            "trouble": self.trouble.lines().collect::<Vec<_>>(), "local": self.say,
        })
    }
}

/// Some loaders are asked as root only, and some devices have none that counts.
fn counted(paths: &Paths) -> Option<Counted> {
    Sysroot::of(paths.root())?;
    boot_loader::detect(&Places::below(paths.root())).ok()?.loader.counted().ok()?
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
        Phase::Arming => "rebooting into its trial",
        Phase::Proven => "proven",
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
        "parts": d.changes(), "removed": d.removed,
        "state": report.map(|r| &r.state), "bytes_total": report.map(|r| r.bytes_total).filter(|total| *total > 0),
        "bytes_from_peers": report.map_or(d.bytes_from_peers, |r| r.bytes_from_peers),
        "bytes_from_central": report.map_or(d.bytes_from_central, |r| r.bytes_from_central),
        "probation": probation, "reason": reason, "by_hand": d.by_hand,
    })
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

/// As JSON; without an agent only the lock is known.
fn say_json(lock: Option<LockNote>, report: Option<&AgentReport>) -> Value {
    let locked = lock.map(|l| json!({ "reason": l.reason, "since": l.since.to_string() }));
    let inhibitors = report.map(|r| {
        let one = |i: &Inhibitor| {
            let who = Some(&i.who).filter(|who| !who.is_empty());
            json!({ "who": who, "why": i.why, "uid": i.uid, "pid": i.pid, "since": i.since.to_string() })
        };
        r.inhibitors.iter().map(one).collect::<Vec<_>>()
    });
    let closed = report.and_then(|r| r.windows_closed_until);
    json!({
        "locked": locked, "inhibitors": inhibitors,
        "windows_closed_until": closed.map(|t| t.to_string()),
        "windows_closed_until_local": closed.map(wall_clock),
        "obstacle": report.and_then(|r| r.obstacle.clone()),
    })
}

pub(crate) fn ask_peer(socket: &std::path::Path) -> anyhow::Result<PeerReport> {
    let connection = Connection::connect(socket, None)?;
    connection.set_timeouts(Some(ANSWER_LIMIT), Some(ANSWER_LIMIT))?;
    connection.send(&ToPeer::Hello { version: VERSION, client: Client::Observer }, None)?;
    connection.send(&ToPeer::Status, None)?;
    let end = Instant::now() + ANSWER_LIMIT;
    while let Some(packet) = connection.receive::<FromPeer>()? {
        anyhow::ensure!(Instant::now() < end, "the peer says other things, but not how it is");
        if let FromPeer::Status(report) = packet.message {
            return Ok(report);
        }
    }
    anyhow::bail!("the peer closed the connection")
}
