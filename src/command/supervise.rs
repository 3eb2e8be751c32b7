//! `fullmetal supervise`: started by the agent for each app, never by people.

use anyhow::Context as _;
use fullmetal::config::Paths;
use fullmetal::host::App;
use fullmetal::host::supervise::SuperviseArgs;
use fullmetal_proto::{AppName, DeviceId, Digest};
use std::path::{PathBuf, absolute};
use std::time::Duration;

#[derive(clap::Args)]
pub struct SuperviseCommand {
    /// The device that the app runs on.
    #[arg(long)]
    device: DeviceId,
    /// The app.
    #[arg(long)]
    name: AppName,
    /// Which checkout of it.
    #[arg(long)]
    commit: Digest,
    /// The number of this start.
    #[arg(long)]
    generation: u64,
    /// Exit 0 is its success and its end.
    #[arg(long)]
    job: bool,
    /// Milliseconds from SIGTERM to SIGKILL.
    #[arg(long)]
    grace_ms: u64,
    /// The container runtime.
    #[arg(long)]
    runc: PathBuf,
}

/// Supervises until told to stop. Call it outside of any async runtime.
pub fn run(paths: &Paths, args: SuperviseCommand) -> anyhow::Result<()> {
    let app = App { name: args.name, commit: args.commit, job: args.job };
    let grace = Duration::from_millis(args.grace_ms);
    let root = absolute(paths.root()).context("finding the root directory")?;
    let (device, generation, runc) = (args.device, args.generation, args.runc);
    Ok(fullmetal::host::supervise::run(SuperviseArgs { root, device, app, generation, grace, runc })?)
}
