//! `fullmetal history`: how past deployments of this device ended.

use super::Context;
use clap::Args;
use fullmetal::agent::history::{self, Past};
use fullmetal::agent::wall_clock;
use fullmetal::console;
use fullmetal_proto::wire::ReportState;
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(Args)]
pub struct HistoryArgs {
    /// How many at most, the newest.
    #[arg(short = 'n', value_name = "N", default_value_t = 20)]
    number: usize,
}

pub fn run(context: &Context, args: &HistoryArgs) -> anyhow::Result<()> {
    let settings = context.settings()?;
    let past = history::read(&settings.paths.history_file());
    let shown = &past[past.len().saturating_sub(args.number)..];
    if context.json {
        let shown: Vec<Value> = shown.iter().map(as_json).collect();
        return console::print_json(&json!({ "device": settings.device.id, "past": shown }));
    }
    let mut text = String::new();
    shown.iter().for_each(|past| as_text(&mut text, past));
    if shown.is_empty() {
        let _ = writeln!(text, "no deployment has ended on {}", settings.device.id);
    }
    console::print(&text)
}

fn as_json(past: &Past) -> Value {
    let action = Some(past.action).filter(|action| *action != 0);
    json!({
        "action": action, "state": past.state, "at": past.at.to_string(), "brought": past.brought,
        "reason": past.reason, "exit": past.exit, "bytes_from_peers": past.bytes_from_peers,
        "bytes_from_central": past.bytes_from_central, "elapsed_ms": past.elapsed_ms,
    })
}

fn as_text(text: &mut String, past: &Past) {
    let what = match past.state {
        ReportState::Succeeded => "succeeded",
        ReportState::Failed => "failed",
        ReportState::Withdrawn => "withdrawn",
        _ => "by hand",
    };
    let whose = if past.action == 0 { String::new() } else { format!(" action {}", past.action) };
    let _ = write!(text, "{}  {what:<9}{whose}", wall_clock(past.at));
    if !past.brought.is_empty() {
        let _ = write!(text, " ({})", past.brought.join(", "));
    }
    if !past.reason.is_empty() {
        let _ = write!(text, ": {}", past.reason.escape_debug());
    }
    let (peers, central) = (past.bytes_from_peers, past.bytes_from_central);
    if peers + central > 0 {
        let _ = write!(text, "; {} from neighbours, {} from central", console::bytes(peers), console::bytes(central));
    }
    if past.action != 0 {
        let _ = write!(text, "; took {}", console::seconds(past.elapsed_ms / 1000));
    }
    text.push('\n');
}
