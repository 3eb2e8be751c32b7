//! `restore`: a back-up becomes the state of a gateway that does not run.

use anyhow::Context as _;
use fullmetal::config::{Paths, Settings};
use fullmetal::identity::Clock;
use fullmetal_gateway::audit::Audit;
use fullmetal_gateway::backup::Backup;
use fullmetal_gateway::disk::Disk;
use std::path::Path;

pub fn restore(paths: &Paths, file: &Path, json: bool) -> anyhow::Result<()> {
    let settings = Settings::load(paths.clone())?;
    let dir = settings.paths.gateway_dir();
    let disk = Disk::open(&dir)?;
    let backup = Backup::read(file, &settings.device.fleet).with_context(|| format!("restoring {}", file.display()))?;
    backup.restore(&disk)?;
    let what = serde_json::json!({ "made": backup.made, "rank": backup.state.rank });
    Audit::open(&dir)?.deed(Clock::new().now(), "restore", what)?;
    super::backup::told(&backup, file, json, "restored from")
}
