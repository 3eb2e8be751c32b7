//! What local people say, in words.

use super::field;
use serde_json::Value;
use std::fmt::Write as _;

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
        let (who, why, since) = (field(inhibitor, "who"), field(inhibitor, "why"), field(inhibitor, "since"));
        let by = if who == "-" { String::new() } else { format!("{}: ", who.escape_debug()) };
        let (uid, pid) = (&inhibitor["uid"], &inhibitor["pid"]);
        let _ = writeln!(text, "  inhibited since {since}: {by}{} (user {uid}, process {pid})", why.escape_debug());
    }
    if let Some(until) = say["windows_closed_until_local"].as_str() {
        let _ = writeln!(text, "  outside of the local windows until {until}; what may wait does");
    }
}
