//! The status for people: two tables, reasons on lines of their own below their rows.

use super::{ActionStatus, DeviceStatus, ProgressStatus, Status};
use fullmetal_proto::dispatch::Phase;
use fullmetal_proto::wire::PartKind;
use fullmetal_proto::{AppName, DeviceId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Formatter, Write as _};

/// A row's cells, and what is to be said below it; empty when there is nothing.
type Line<const N: usize> = ([String; N], String);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "fleet {}: {}", self.fleet, self.headline())?;
        if !self.alarm_text.is_empty() {
            writeln!(f, "ALARM: {}", printable(&self.alarm_text))?;
        }
        if !self.trouble.is_empty() {
            writeln!(f, "trouble: {}", printable(&self.trouble))?;
        }
        if let Some(hawkbit) = &self.hawkbit {
            writeln!(f, "decisions come from Hawkbit at {}, tenant {}", hawkbit.url, printable(&hawkbit.tenant))?;
            if let Some((since, why)) = &hawkbit.silence {
                writeln!(f, "Hawkbit gives no usable answer since {since}: {}", printable(why))?;
            }
            for (device, action) in &hawkbit.unconfirmed {
                writeln!(
                    f,
                    "action {action} for {device} waits: `fullmetal-gateway confirm {action}`, or with --deny"
                )?;
            }
        }
        let devices = self.devices.iter().map(|(id, device)| self.device_line(id, device));
        table(f, ["DEVICE", "HEARD", "RUNS", "ACTION", "STATE"], devices.collect())?;
        let actions = self.actions.iter().rev().map(|(number, action)| action_line(*number, action));
        table(f, ["ACTION", "DECIDED", "MODE", "PHASE", "PARTS", "DEVICES"], actions.collect())
    }
}

impl Status {
    fn headline(&self) -> String {
        let way = match (self.running, self.connected, self.settled) {
            (false, ..) => "the gateway does not run; this is what it kept",
            (true, false, _) => "the gateway has no connection to its peer",
            (true, true, false) => "the gateway listens for the newest announcement",
            (true, true, true) => "the gateway runs",
        };
        let mut text = way.to_owned();
        match self.expires {
            Some(at) => {
                let _ = write!(text, "; announcement {}.{} holds until {at}", self.rank.0, self.rank.1);
            }
            None => text.push_str("; nothing announced yet"),
        }
        let _ = write!(text, "; {} reports to deliver", self.spooled);
        text
    }

    fn device_line(&self, id: &DeviceId, device: &DeviceStatus) -> Line<5> {
        let heard = device.heard_s.map_or("never".into(), |s| format!("{s} s ago"));
        let runs: Vec<String> = device.parts.iter().map(|p| named(p.kind, &p.name, &p.version)).collect();
        let runs = if runs.is_empty() { "-".into() } else { runs.join(", ") };
        let phase = device.action.and_then(|n| self.actions.get(&n)).map(|action| &action.phase);
        let action = device.action.map_or("-".into(), |n| n.to_string());
        let (state, reason) = match (&device.progress, phase) {
            (Some(progress), Some(phase)) => (progress.word(phase), progress.reason.clone()),
            _ => ("-".into(), String::new()),
        };
        ([id.to_string(), heard, runs, action, state], reason)
    }
}

impl ProgressStatus {
    /// One or two words: what the device said, and before its first word how far the action is at the gateway.
    pub fn word(&self, phase: &Phase) -> String {
        match (self.state, self.replaced_by) {
            (Some(state), _) if state.is_terminal() => name(&state),
            (_, Some(newer)) => format!("replaced by {newer}"),
            (Some(state), None) => name(&state),
            (None, None) => match phase {
                Phase::Pending { .. } => "pending".into(),
                Phase::Ready => "not announced yet".into(),
                Phase::Announced => "announced".into(),
                Phase::Refused { .. } => "refused".into(),
                Phase::Withdrawn => "taken back".into(),
            },
        }
    }
}

fn action_line(number: u64, action: &ActionStatus) -> Line<6> {
    let (phase, reason) = match &action.phase {
        Phase::Pending { reason } => ("pending".to_owned(), reason.clone()),
        Phase::Refused { reason } => ("refused".to_owned(), reason.clone()),
        other => (name(other), String::new()),
    };
    let parts = action.parts.iter().map(|p| named(p.kind, &p.name, &p.version));
    let parts: Vec<String> = parts.chain(action.removed.iter().map(|name| format!("{name} removed"))).collect();
    let cells = [number.to_string(), action.at.to_string(), name(&action.mode), phase, parts.join(", "), tally(action)];
    (cells, reason)
}

fn named(kind: PartKind, name: &AppName, version: &str) -> String {
    format!("{}{name} {version}", kind.before_name())
}

/// How many of the action's devices are how far.
fn tally(action: &ActionStatus) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for progress in action.devices.values() {
        *counts.entry(progress.word(&action.phase)).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(word, n)| format!("{n} {word}")).collect();
    counts.join(", ")
}

/// The name that a value has in JSON.
fn name(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What devices and servers say must not steer the terminal, nor turn the order of what is read.
fn printable(text: &str) -> String {
    // Unicode's Bidi_Control (UAX #9, section 2).
    let turns =
        |c| matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

/// Columns as wide as their longest cell, but for the last.
fn table<const N: usize>(f: &mut Formatter<'_>, head: [&str; N], lines: Vec<Line<N>>) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let head = (head.map(str::to_owned), String::new());
    let width = |i: usize| lines.iter().chain([&head]).map(|(cells, _)| cells[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    writeln!(f)?;
    for (cells, below) in [&head].into_iter().chain(&lines) {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "{:<width$}  ", printable(cell));
        }
        writeln!(f, "{}", line.trim_end())?;
        if !below.is_empty() {
            writeln!(f, "    {}", printable(below))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Timestamp;
    use fullmetal_proto::wire::{Mode, ReportState};

    fn action(phase: Phase, devices: &[(&str, ProgressStatus)]) -> ActionStatus {
        let devices = devices.iter().map(|(id, progress)| (id.parse().unwrap(), progress.clone())).collect();
        let at = Timestamp::from_secs(1_795_528_440);
        ActionStatus { mode: Mode::Now, phase, at, parts: vec![], removed: vec!["old".parse().unwrap()], devices }
    }

    fn status(actions: Vec<ActionStatus>, devices: &[(&str, u64, ProgressStatus)]) -> Status {
        let device = |(id, action, progress): &(&str, u64, ProgressStatus)| {
            let status =
                DeviceStatus { action: Some(*action), progress: Some(progress.clone()), ..DeviceStatus::default() };
            (id.parse().unwrap(), status)
        };
        Status {
            fleet: "plant".parse().unwrap(),
            running: true,
            connected: true,
            settled: true,
            alarm: None,
            alarm_text: String::new(),
            trouble: String::new(),
            rank: (0, 0),
            expires: None,
            spooled: 0,
            hawkbit: None,
            devices: devices.iter().map(device).collect(),
            actions: (1..).zip(actions).collect(),
        }
    }

    #[test]
    fn reasons_stand_below_their_rows_and_widen_no_column() {
        let long = "web 2 ended during its probation: ".repeat(20);
        let failed =
            ProgressStatus { state: Some(ReportState::Failed), reason: format!("{long}\x1b[2J"), ..Default::default() };
        let refused = Phase::Refused { reason: long.clone() };
        let actions = vec![action(refused, &[]), action(Phase::Announced, &[("press-1", failed.clone())])];
        let text = status(actions, &[("press-1", 2, failed)]).to_string();
        let (below, rows): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("    "));
        assert_eq!(below.len(), 2);
        assert!(below.iter().all(|line| line.contains(&long)) && !text.contains('\x1b'), "{text}");
        assert!(rows.iter().all(|line| line.chars().count() < 80), "{text}");
        assert_eq!(rows[3], "press-1  never  -     2       failed");
    }

    #[test]
    fn before_a_devices_first_word_its_state_is_that_of_the_action() {
        let silent = ProgressStatus::default();
        let cases = [
            (Phase::Pending { reason: "central is out of reach".into() }, "pending"),
            (Phase::Ready, "not announced yet"),
            (Phase::Announced, "announced"),
            (Phase::Refused { reason: "no ref".into() }, "refused"),
            (Phase::Withdrawn, "taken back"),
        ];
        for (phase, word) in cases {
            let actions = vec![action(phase, &[("press-1", silent.clone())])];
            let text = status(actions, &[("press-1", 1, silent.clone())]).to_string();
            let device = text.lines().find(|line| line.starts_with("press-1")).unwrap();
            assert!(device.ends_with(word), "{text}");
            assert!(text.contains(&format!("1 {word}")) && text.contains("old removed"), "{text}");
        }
    }
}
