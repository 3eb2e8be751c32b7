//! What local people say, in words.

use super::field;
use fullmetal::agent::wall_clock;
use fullmetal_proto::wire::asking::{AgentReport, Inhibitor, LockNote};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// As JSON; without an agent only the lock is known.
pub fn say_json(lock: Option<LockNote>, report: Option<&AgentReport>) -> Value {
    let locked = lock.map(|l| json!({ "reason": l.reason, "since": l.since.to_string() }));
    let inhibitors = report.map(|r| {
        let one = |i: &Inhibitor| json!({ "why": i.why, "uid": i.uid, "pid": i.pid, "since": i.since.to_string() });
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

/// As lines of text; none when nobody says anything.
pub fn say_text(text: &mut String, say: &Value) {
    if let Some(obstacle) = say["obstacle"].as_str() {
        let _ = writeln!(text, "  waits: {obstacle}");
    }
    let lock = &say["locked"];
    if lock.is_object() {
        let reason = field(lock, "reason");
        let why = if reason.is_empty() { String::new() } else { format!(": {}", reason.escape_debug()) };
        let since = field(lock, "since");
        let _ = writeln!(text, "  locked since {since}{why}; `fullmetal unlock` lets deployments go on");
    }
    for inhibitor in say["inhibitors"].as_array().into_iter().flatten() {
        let (why, since) = (field(inhibitor, "why"), field(inhibitor, "since"));
        let (uid, pid) = (&inhibitor["uid"], &inhibitor["pid"]);
        let _ = writeln!(text, "  inhibited since {since}: {} (user {uid}, process {pid})", why.escape_debug());
    }
    if let Some(until) = say["windows_closed_until_local"].as_str() {
        let _ = writeln!(text, "  outside of the local windows until {until}; what may wait does");
    }
}
