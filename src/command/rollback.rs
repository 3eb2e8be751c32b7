//! `fullmetal rollback`: the previous version of an app, or of the operating system, comes back by hand.

use super::Context;
use super::asking::{AgentDoor, is_root};
use anyhow::{bail, ensure};
use clap::Args;
use fullmetal::agent::history::{self, Past};
use fullmetal::config::Paths;
use fullmetal::console::{self, UsageError};
use fullmetal::journal;
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{NoComeback, Record};
use fullmetal_proto::wire::ReportState;
use fullmetal_proto::wire::asking::ToAgent;
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(300);
/// How long the end of the last deployment may take to be put away.
const PUTTING_AWAY_MAX: Duration = Duration::from_secs(60);
/// How long its end may be missing when it is no longer under way.
const MISSING_MAX: Duration = Duration::from_secs(15);

#[derive(Args)]
pub struct RollbackArgs {
    /// The app, as `fullmetal app list` shows it.
    #[arg(required_unless_present = "os")]
    app: Option<AppName>,
    /// The operating system instead: the device reboots into the version before, on trial.
    #[arg(long, conflicts_with = "app")]
    os: bool,
    /// Do not wait for the end of its probation.
    #[arg(long)]
    no_wait: bool,
}

pub fn run(context: &Context, args: &RollbackArgs) -> anyhow::Result<()> {
    let paths = context.settings()?.paths;
    ensure!(is_root(), "only root may roll back: call this as root");
    let record = journal::peek(&paths.journal_dir())?.unwrap_or_default();
    let Some(app) = &args.app else { return roll_os_back(context, &paths) };
    let (from, to) = versions(&record, app)?;
    let before = newest(&paths).map_or(0, |past| past.counter);
    ask(&paths, &ToAgent::RollBack { app: app.clone() })?;
    if !context.json {
        console::print(&format!("{app} goes back from {from} to {to}\n"))?;
    }
    let end = if args.no_wait { None } else { Some(wait(&paths, before)?) };
    let reason = end.as_ref().map(|past| past.reason.clone());
    let proven = end.as_ref().map(Past::is_success);
    if context.json {
        console::print_json(&json!({
            "app": app, "from": from, "to": to, "in_force_again": proven, "reason": reason,
        }))?;
    }
    match (proven, reason) {
        (Some(false), Some(reason)) => bail!("{reason}"),
        (Some(true), _) if !context.json => console::print(&format!(
            "{app} {to} is in force again; a new deployment may bring another: `fullmetal lock` holds it back\n"
        )),
        _ => Ok(()),
    }
}

/// Asks for it once what the last deployment left is put away, which has ended for its operator already.
fn ask(paths: &Paths, what: &ToAgent) -> anyhow::Result<()> {
    let begun = Instant::now();
    let is_in_the_way = |why: &anyhow::Error| why.to_string() == NoComeback::PuttingAway.to_string();
    loop {
        match AgentDoor::open(paths)?.ask(what) {
            Err(why) if is_in_the_way(&why) && begun.elapsed() < PUTTING_AWAY_MAX => sleep(LOOK),
            answer => return answer,
        }
    }
}

/// Its end comes after a reboot.
fn roll_os_back(context: &Context, paths: &Paths) -> anyhow::Result<()> {
    ask(paths, &ToAgent::RollBackOs)?;
    // What it is depends on what runs, which the agent has looked at; it has journalled that by now.
    let begun = journal::peek(&paths.journal_dir())?.and_then(|record| record.deployment).filter(|d| d.by_hand);
    let part = begun.and_then(|deployment| deployment.os).map(|os| (os.part.name, os.part.installed.version));
    if context.json {
        let (name, to) = part.unzip();
        return console::print_json(&json!({ "os": name, "to": to, "in_force_again": null }));
    }
    let what = part.map_or_else(String::new, |(name, to)| format!(" into {name} {to}"));
    console::print(&format!(
        "the device reboots{what}, on trial, as soon as that is staged; see `fullmetal status` and, afterwards, `fullmetal history`\n"
    ))
}

/// The version in force and the one before.
fn versions(record: &Record, name: &AppName) -> anyhow::Result<(String, String)> {
    let Some(app) = record.apps.get(name) else {
        let names: Vec<&str> = record.apps.keys().map(AppName::as_str).collect();
        let there =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        return Err(UsageError(format!("no app {name} is installed here; {there}")).into());
    };
    let current = app.current.version.clone();
    match &app.previous {
        Some(previous) => Ok((current, previous.version.clone())),
        None => bail!("there is no version of {name} before {current}: deploy one"),
    }
}

fn newest(paths: &Paths) -> Option<Past> {
    let by_hand = |past: &Past| past.state == ReportState::Inventory;
    history::read(&paths.history_file()).into_iter().rfind(by_hand)
}

/// Waits for an end that is newer than `before`.
fn wait(paths: &Paths, before: u64) -> anyhow::Result<Past> {
    let mut seen = Instant::now();
    loop {
        if let Some(past) = newest(paths).filter(|past| past.counter > before) {
            return Ok(past);
        }
        let record = journal::peek(&paths.journal_dir())?.unwrap_or_default();
        if record.deployment.is_some_and(|d| d.by_hand) {
            seen = Instant::now();
        }
        if seen.elapsed() > MISSING_MAX {
            bail!("it is not known how the roll back ended; see `fullmetal status` and the agent's log");
        }
        sleep(LOOK);
    }
}
