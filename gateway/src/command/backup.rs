//! `backup`: what the gateway keeps, into one file, while it runs or not.

use fullmetal::config::{Paths, Settings};
use fullmetal::console::{print, print_json};
use fullmetal::identity::Clock;
use fullmetal_gateway::backup::Backup;
use std::path::Path;

pub fn backup(paths: &Paths, file: &Path, json: bool) -> anyhow::Result<()> {
    let settings = Settings::load(paths.clone())?;
    let backup = Backup::take(&settings.paths.gateway_dir(), &settings.device.fleet, Clock::new().now())?;
    backup.write(file)?;
    told(&backup, file, json, "backed up to")
}

/// What is in the file, for a person or a script.
pub(super) fn told(backup: &Backup, file: &Path, json: bool, done: &str) -> anyhow::Result<()> {
    let (state, reports, (epoch, counter)) = (&backup.state, backup.reports(), backup.state.rank);
    let (devices, actions) = (state.devices.len(), state.actions.len());
    if json {
        return print_json(&serde_json::json!({
            "fleet": backup.fleet, "made": backup.made, "rank": state.rank,
            "devices": devices, "actions": actions, "reports": reports,
        }));
    }
    print(&format!(
        "{done} {}: fleet {} at {}: announcement {epoch}.{counter}, {devices} devices, {actions} actions, {reports} \
         reports\n",
        file.display(),
        backup.fleet,
        backup.made
    ))
}
