//! `fullmetal logs`: the last lines of an app.
//!
//! They come with the app's status, whatever runs it. A supervisor keeps only so many, in memory; where a service manager
//! keeps a journal of its own, following is its business.

use super::Context;
use anyhow::{Context as _, bail};
use clap::Args;
use fullmetal::console::{self, UsageError};
use fullmetal::host::Hosts;
use fullmetal::journal;
use fullmetal_proto::AppName;
use serde_json::json;

#[derive(Args)]
pub struct LogsArgs {
    /// The app, as `fullmetal app list` shows it.
    app: AppName,
    /// How many lines at most, the last.
    #[arg(short = 'n', value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Go on as lines come; only where a service manager keeps a journal.
    #[arg(long)]
    follow: bool,
}

pub fn run(context: &Context, args: &LogsArgs) -> anyhow::Result<()> {
    let settings = context.settings()?;
    let (paths, name) = (&settings.paths, &args.app);
    if args.follow {
        let why = "--follow: the apps of this device run under supervisors, which keep only the last lines";
        return Err(UsageError(format!("{why}; call it without --follow")).into());
    }
    let host = Hosts::of(&settings)?.open();
    let Some(status) = host.status(name).with_context(|| format!("reading what {name} does"))? else {
        let record = journal::peek(&paths.journal_dir())?.unwrap_or_default();
        if record.apps.contains_key(name) {
            bail!(
                "{name} was not started since the device booted, so that there is nothing of it; `fullmetal app start {name}`"
            );
        }
        return Err(UsageError(format!("no app {name} is installed here; see `fullmetal app list`")).into());
    };
    let lines = &status.log[status.log.len().saturating_sub(args.lines)..];
    if context.json {
        let (phase, exit) = (status.phase, status.last_exit);
        return console::print_json(&json!({ "app": name, "phase": phase, "last_exit": exit, "lines": lines }));
    }
    let shown = |line: &String| line.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>() + "\n";
    console::print(&lines.iter().map(shown).collect::<String>())
}
