//! `fullmetal lock` and `fullmetal unlock`: root holds every switch back until it says otherwise.

use super::Context;
use super::asking::{AgentDoor, is_root};
use anyhow::{Context as _, ensure};
use clap::Args;
use fullmetal::agent::lock;
use fullmetal::config::Paths;
use fullmetal::console::{self, UsageError};
use fullmetal::durable;
use fullmetal::identity::system_time;
use fullmetal::journal::DirectoryDisk;
use fullmetal_proto::wire::asking::{LockNote, ToAgent, WHY_LEN_MAX, is_line};
use serde_json::json;

#[derive(Args)]
pub struct LockArgs {
    /// Why, for whoever looks at `fullmetal status`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub fn lock(context: &Context, args: LockArgs) -> anyhow::Result<()> {
    let settings = context.settings()?;
    let reason = args.reason;
    if !is_line(&reason) {
        let problem = format!("--reason: must be one line of at most {WHY_LEN_MAX} bytes");
        return Err(UsageError(problem).into());
    }
    ensure!(is_root(), "only root may lock a device: call this as root");
    let paths = &settings.paths;
    durable::make_dir(&paths.state_dir(), 0o755)?;
    lock::set(&paths.lock_file(), &LockNote { reason, since: system_time() }).context("locking")?;
    let told = tell_agent(paths)?;
    if context.json {
        return console::print_json(&json!({ "locked": true, "agent": told }));
    }
    console::print(&format!(
        "{} is locked: no deployment is switched to until `fullmetal unlock`, also after a reboot{}\n",
        settings.device.id,
        if told { "" } else { "; its agent does not run" }
    ))
}

pub fn unlock(context: &Context) -> anyhow::Result<()> {
    let settings = context.settings()?;
    ensure!(is_root(), "only root may unlock a device: call this as root");
    let paths = &settings.paths;
    let was = lock::get(&paths.lock_file()).is_some();
    lock::clear(&paths.lock_file()).context("unlocking")?;
    let told = tell_agent(paths)?;
    if context.json {
        return console::print_json(&json!({ "locked": false, "was_locked": was, "agent": told }));
    }
    let (device, what) = (&settings.device.id, if was { "is unlocked" } else { "was not locked" });
    console::print(&format!("{device} {what}\n"))
}

/// True when an agent runs and knows by now; one that starts later reads the file.
fn tell_agent(paths: &Paths) -> anyhow::Result<bool> {
    if !DirectoryDisk::is_in_use(&paths.journal_dir())? {
        return Ok(false);
    }
    let told = AgentDoor::open(paths).and_then(|door| door.ask(&ToAgent::LookAgain));
    told.context("the file is written, but the agent was not told: restart it, it reads the file at its start")?;
    Ok(true)
}
