//! `restore`: a back-up becomes the state of a gateway that does not run.

use anyhow::Context as _;
use fullmetal::config::{Paths, Settings};
use fullmetal_gateway::backup::Backup;
use fullmetal_gateway::disk::Disk;
use std::path::Path;

pub fn restore(paths: &Paths, file: &Path, json: bool) -> anyhow::Result<()> {
    let settings = Settings::load(paths.clone())?;
    let disk = Disk::open(&settings.paths.gateway_dir())?;
    let backup = Backup::read(file, &settings.device.fleet).with_context(|| format!("restoring {}", file.display()))?;
    backup.restore(&disk)?;
    super::backup::told(&backup, file, json, "restored from")
}
