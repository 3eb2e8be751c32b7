//! Signed reports on disk until the gateway has them.

use super::durable::{create_dir, sync_dir};
use crate::identity::{Identity, write_new};
use anyhow::Context as _;
use fullmetal_proto::deploy::Outgoing;
use fullmetal_proto::wire::{PartState, Report, seal};
use std::path::{Path, PathBuf};
use tracing::warn;

/// More than this many wait only when no gateway was heard for very long; milestones go first then.
const PENDING_MAX: usize = 512;

/// The directory of reports, one file each, named by counter and whether it is terminal.
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// Opens or makes the directory.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        create_dir(dir)?;
        Ok(Spool { dir: dir.to_owned() })
    }

    /// Signs and stores a report; `None` when one of its counter is there already.
    pub fn add(
        &self,
        identity: &Identity,
        outgoing: &Outgoing,
        parts: Vec<PartState>,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let kind = if outgoing.state.is_terminal() { "end" } else { "way" };
        let path = self.dir.join(format!("{:020}.{kind}", outgoing.counter));
        if path.exists() {
            // A predecessor may have been killed before its name was durable.
            sync_dir(&self.dir)?;
            return Ok(None);
        }
        let report = Report {
            fleet: identity.fleet.clone(),
            device: identity.device.clone(),
            counter: outgoing.counter,
            oldest: self.files().first().map_or(outgoing.counter, |(first, _)| outgoing.counter.min(*first)),
            action: outgoing.action,
            bundle: outgoing.bundle,
            state: outgoing.state,
            reason: outgoing.cause.reason.clone(),
            exit: outgoing.cause.exit,
            log: outgoing.cause.log.clone(),
            parts,
            bytes_from_peers: outgoing.bytes_from_peers,
            bytes_from_central: outgoing.bytes_from_central,
            elapsed_ms: outgoing.elapsed_ms,
            at: outgoing.at,
            certificate: identity.certificate.clone().into(),
        };
        let bytes = seal(&report, &[&identity.key]).context("making a report")?;
        match write_new(&path, &bytes, 0o600) {
            Ok(()) => {}
            Err(error) => return Err(error).context("spooling a report"),
        }
        self.thin_out();
        Ok(Some(bytes))
    }

    /// All reports that wait, oldest first.
    pub fn pending(&self) -> Vec<Vec<u8>> {
        self.files().into_iter().filter_map(|(_, path)| std::fs::read(path).ok()).collect()
    }

    /// All terminal reports that wait, oldest first.
    pub fn ends(&self) -> Vec<Vec<u8>> {
        let ends = self.files().into_iter().filter(|(_, path)| path.extension().is_some_and(|e| e == "end"));
        ends.filter_map(|(_, path)| std::fs::read(path).ok()).collect()
    }

    /// The gateway has all reports up to `counter`.
    pub fn received(&self, counter: u64) {
        for (found, path) in self.files() {
            if found <= counter
                && let Err(error) = std::fs::remove_file(&path)
            {
                warn!(%error, path = %path.display(), "removing a report that arrived");
            }
        }
    }

    fn files(&self) -> Vec<(u64, PathBuf)> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut files: Vec<(u64, PathBuf)> = entries
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "end" || e == "way"))
            .filter_map(|p| Some((p.file_stem()?.to_str()?.parse().ok()?, p)))
            .collect();
        files.sort();
        files
    }

    fn thin_out(&self) {
        let files = self.files();
        let excess = files.len().saturating_sub(PENDING_MAX);
        let milestones = files.into_iter().filter(|(_, p)| p.extension().is_some_and(|e| e == "way"));
        for (_, path) in milestones.take(excess) {
            let _ = std::fs::remove_file(path);
        }
    }
}
