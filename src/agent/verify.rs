//! What the gateway says is believed only with its signature, judged here again after the peer did.

use super::Agent;
use crate::config::Paths;
use anyhow::{Context as _, bail, ensure};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Input, Row};
use fullmetal_proto::wire::{Announcement, Hint, Opened, Receipt, open};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tracing::warn;

/// Judges an announcement and stores the bundle of our row.
pub fn announcement(agent: &Agent, hint: &Hint, bytes: &[u8]) -> anyhow::Result<Input> {
    ensure!(Digest::of(bytes) == hint.digest, "its bytes are not what its hint says");
    let opened: Opened<Announcement> = open(bytes)?;
    let announcement = &opened.document;
    let trust = &agent.trust;
    trust.trust.check_fleet(&announcement.fleet)?;
    trust.check_gateway(&opened.envelope)?;
    let (epoch, known) = (announcement.epoch, trust.trust.epoch);
    ensure!(epoch == known, "its epoch {epoch} is not epoch {known} of trust file version {}", trust.trust.version);
    agent.clock.raise(announcement.issued);
    let row = announcement.row(&agent.identity.device);
    let row = row
        .map(|row| {
            let bundle = announcement.bundle(row).context("its bundle")?;
            store_bundle(agent, &bundle.digest, &announcement.bundles[usize::from(row.1)])?;
            anyhow::Ok(Row { action: row.2, bundle: bundle.digest, mode: row.3, valid_until: row.4 })
        })
        .transpose()?;
    Ok(Input::Announced { rank: announcement.rank(), expires: announcement.expires, row })
}

/// The machine names bundles by hash only; a bundle it may ask for must be on disk first.
fn store_bundle(agent: &Agent, digest: &Digest, bytes: &[u8]) -> anyhow::Result<()> {
    let path = agent.settings.paths.bundle(digest);
    if path.exists() {
        return Ok(());
    }
    Ok(crate::identity::write_new(&path, bytes, 0o644)?)
}

/// Removes all bundles but these, and what a killed predecessor left half written.
pub fn keep_bundles(paths: &Paths, keep: &[Digest]) {
    let keep: BTreeSet<PathBuf> = keep.iter().map(|digest| paths.bundle(digest)).collect();
    let files = std::fs::read_dir(paths.bundles_dir()).into_iter().flatten().flatten();
    for path in files.map(|f| f.path()).filter(|p| !keep.contains(p)) {
        if let Err(error) = std::fs::remove_file(&path) {
            warn!(%error, path = %path.display(), "removing a bundle");
        }
    }
}

/// Judges a receipt; gives the counter up to which our reports have arrived.
pub fn receipt(agent: &Agent, bytes: &[u8]) -> anyhow::Result<u64> {
    let opened: Opened<Receipt> = open(bytes)?;
    agent.trust.trust.check_fleet(&opened.document.fleet)?;
    agent.trust.check_gateway(&opened.envelope)?;
    if opened.document.device != agent.identity.device {
        bail!("it is for {}", opened.document.device);
    }
    Ok(opened.document.counter)
}
