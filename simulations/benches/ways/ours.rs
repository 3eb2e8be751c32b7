//! Fullmetal: gateway, peers and agents, as they are installed.

use crate::figures::Figures;
use crate::release::{REF, Repos};
use crate::room::Room;
use crate::site::{Site, store};
use anyhow::Context as _;
use fullmetal_sim::lab::output_of;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Decides for all devices at once that they take it and wait with its start.
pub fn deploy(room: &mut Room, repos: &Repos) -> anyhow::Result<Figures> {
    let site = Site::start(room, &repos.fleet, 0)?;
    let begun = room.begin()?;
    site.decide(room, REF, "stage")?;
    let figures = room.wait(begun, site.file_of(&repos.commit)).and_then(|figures| {
        let option = format!("--repo={}", store(site.devices[0].root()).display());
        output_of(Command::new("ostree").args(["fsck", &option]))?;
        Ok(figures)
    });
    drop(site);
    for name in room.hosts.iter().chain([&room.gateway]).map(|host| &host.name) {
        remove(repos.fleet.dir(), name)?;
    }
    figures
}

/// So that the next one begins with nothing.
fn remove(fleet: &Path, name: &str) -> anyhow::Result<()> {
    let root = fleet.join(name);
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    ["request", "answer"].iter().try_for_each(|end| Ok(fs::remove_file(fleet.join(format!("{name}.{end}")))?))
}
