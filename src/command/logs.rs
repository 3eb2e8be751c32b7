//! `fullmetal logs`: the last lines of an app.
//!
//! Of an app that is a unit the journal has them, and journalctl shows them. A supervisor keeps only so many, in memory; they
//! come with the app's status, as they do for programs (`--json`).

use super::Context;
use anyhow::{Context as _, bail};
use clap::Args;
use fullmetal::config::Paths;
use fullmetal::console::{self, UsageError};
use fullmetal::host::{Hosts, unit_name};
use fullmetal::journal;
use fullmetal_proto::AppName;
use serde_json::json;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[derive(Args)]
pub struct LogsArgs {
    /// The app, as `fullmetal app list` shows it.
    app: AppName,
    /// How many lines at most, the last.
    #[arg(short = 'n', value_name = "N", default_value_t = 50)]
    lines: usize,
    /// Go on as lines come; only where systemd keeps a journal.
    #[arg(long)]
    follow: bool,
}

pub fn run(context: &Context, args: &LogsArgs) -> anyhow::Result<()> {
    let settings = context.settings()?;
    let (paths, name) = (&settings.paths, &args.app);
    let hosts = Hosts::of(&settings)?;
    if matches!(hosts, Hosts::Systemd(_)) && !context.json {
        ensure_installed(paths, name)?;
        return Err(journal(args).exec()).context("becoming journalctl");
    }
    if args.follow && context.json {
        return Err(UsageError("--follow shows the journal as it is; call it without --json".to_owned()).into());
    }
    if args.follow {
        let why = "--follow: the apps of this device run under supervisors, which keep only the last lines";
        return Err(UsageError(format!("{why}; call it without --follow")).into());
    }
    let Some(status) = hosts.open().status(name).with_context(|| format!("reading what {name} does"))? else {
        ensure_installed(paths, name)?;
        bail!(
            "{name} was not started since the device booted, so that there is nothing of it; `fullmetal app start {name}`"
        );
    };
    let lines = &status.log[status.log.len().saturating_sub(args.lines)..];
    if context.json {
        let (phase, exit) = (status.phase, status.last_exit);
        return console::print_json(&json!({ "app": name, "phase": phase, "last_exit": exit, "lines": lines }));
    }
    let shown = |line: &String| line.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>() + "\n";
    console::print(&lines.iter().map(shown).collect::<String>())
}

fn ensure_installed(paths: &Paths, name: &AppName) -> anyhow::Result<()> {
    match journal::peek(&paths.journal_dir())?.unwrap_or_default().apps.contains_key(name) {
        true => Ok(()),
        false => Err(UsageError(format!("no app {name} is installed here; see `fullmetal app list`")).into()),
    }
}

/// What takes this program's place. It shows unprintable lines as such, and what systemd says of the app among the others.
fn journal(args: &LogsArgs) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--output=short-iso", &format!("--lines={}", args.lines)]);
    command.arg(format!("--unit={}", unit_name(&args.app)));
    if args.follow {
        command.arg("--follow");
    }
    command
}
