//! Signed reports on disk until the gateway has them.

use crate::durable::{make_dir, sweep, sync_dir};
use crate::identity::{Identity, write_new};
use anyhow::Context as _;
use fullmetal_proto::deploy::Outgoing;
use fullmetal_proto::wire::{Bundle, Document as _, PartState, Report, open, seal};
use std::fs::{remove_file, rename};
use std::path::{Path, PathBuf};
use tracing::warn;

/// More than this many wait only when no gateway was heard for very long; milestones go first then.
const PENDING_MAX: usize = 512;

/// How many of the lowest reports are told again.
const AGAIN_MAX: usize = 8;

/// Ends that are kept after the gateway has them.
const TOLD_MAX: usize = 8;

/// The directory of reports, one file each, named by counter and whether it is terminal.
pub struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// Opens or makes the directory, without what a killed predecessor had half written.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        make_dir(dir, 0o755)?;
        sweep(dir)?;
        Ok(Spool { dir: dir.to_owned() })
    }

    /// Signs and stores a report; gives its bytes, or those of the one of its counter that is there already.
    pub fn add(
        &self,
        identity: &Identity,
        outgoing: &Outgoing,
        parts: Vec<PartState>,
        free_bytes: Option<u64>,
    ) -> anyhow::Result<Vec<u8>> {
        let kind = if outgoing.state.is_terminal() { "end" } else { "way" };
        let path = self.dir.join(format!("{:020}.{kind}", outgoing.counter));
        if path.exists() {
            // A predecessor may have been killed before its name was durable.
            sync_dir(&self.dir)?;
            return std::fs::read(&path).with_context(|| format!("reading {}", path.display()));
        }
        // A list that could not be read must not tell the gateway that nothing older is kept.
        let oldest = self.list(&["end", "way"]).with_context(|| format!("reading {}", self.dir.display()))?;
        let oldest = oldest.first().map_or(outgoing.counter, |(first, _)| outgoing.counter.min(*first));
        let report = Report {
            fleet: identity.fleet.clone(),
            device: identity.device.clone(),
            counter: outgoing.counter,
            oldest,
            action: outgoing.action,
            bundle: outgoing.bundle,
            state: outgoing.state,
            reason: outgoing.cause.reason.clone(),
            exit: outgoing.cause.exit,
            log: outgoing.cause.log.clone(),
            parts,
            bytes_from_peers: outgoing.bytes_from_peers,
            bytes_from_central: outgoing.bytes_from_central,
            bytes_total: outgoing.bytes_total,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            bundle_major: Bundle::MAJOR,
            free_bytes,
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
        Ok(bytes)
    }

    /// All reports that wait, oldest first.
    pub fn pending(&self) -> Vec<Vec<u8>> {
        self.files(&["end", "way"]).into_iter().filter_map(|(_, path)| std::fs::read(path).ok()).collect()
    }

    /// What is told again until the gateway has it, oldest first: the ends, and the lowest of all, without which there
    /// is no receipt for what is above them.
    pub fn unacknowledged(&self) -> Vec<Vec<u8>> {
        let all = self.files(&["end", "way"]).into_iter().enumerate();
        let told = all.filter(|(i, (_, path))| *i < AGAIN_MAX || path.extension().is_some_and(|e| e == "end"));
        told.filter_map(|(_, (_, path))| std::fs::read(path).ok()).collect()
    }

    /// The gateway has all reports up to `counter`. The newest ends stay, for who asks here why.
    pub fn received(&self, counter: u64) {
        for (found, path) in self.files(&["end", "way"]) {
            let ends = path.extension().is_some_and(|e| e == "end");
            let done = |path: &Path| if ends { rename(path, path.with_extension("told")) } else { remove_file(path) };
            if found <= counter
                && let Err(error) = done(&path)
            {
                warn!(%error, path = %path.display(), "putting away a report that arrived");
            }
        }
        let told = self.files(&["told"]);
        for (_, path) in told.iter().take(told.len().saturating_sub(TOLD_MAX)) {
            let _ = remove_file(path);
        }
    }

    fn files(&self, kinds: &[&str]) -> Vec<(u64, PathBuf)> {
        self.list(kinds).unwrap_or_else(|error| {
            warn!(%error, dir = %self.dir.display(), "reports not read");
            Vec::new()
        })
    }

    fn list(&self, kinds: &[&str]) -> std::io::Result<Vec<(u64, PathBuf)>> {
        let paths: Vec<PathBuf> =
            std::fs::read_dir(&self.dir)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
        let of_kind = |p: &PathBuf| p.extension().is_some_and(|e| kinds.iter().any(|kind| e == *kind));
        let counter = |p: PathBuf| Some((p.file_stem()?.to_str()?.parse().ok()?, p));
        let mut files: Vec<_> = paths.into_iter().filter(of_kind).filter_map(counter).collect();
        files.sort();
        Ok(files)
    }

    fn thin_out(&self) {
        let files = self.files(&["end", "way"]);
        let excess = files.len().saturating_sub(PENDING_MAX);
        let milestones = files.into_iter().filter(|(_, p)| p.extension().is_some_and(|e| e == "way"));
        for (_, path) in milestones.take(excess) {
            let _ = remove_file(path);
        }
    }
}

/// The terminal reports that are still in `dir`, oldest first; whoever may not read them sees none.
pub fn ended_reports(dir: &Path) -> Vec<Report> {
    let spool = Spool { dir: dir.to_owned() };
    let bytes = spool.files(&["end", "told"]).into_iter().filter_map(|(_, path)| std::fs::read(path).ok());
    bytes.filter_map(|bytes| Some(open::<Report>(&bytes).ok()?.document)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::new_key;
    use fullmetal_proto::deploy::Cause;
    use fullmetal_proto::wire::ReportState;

    #[test]
    fn the_newest_ends_are_told_here_also_when_the_gateway_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let (device, fleet) = ("press-1".parse().unwrap(), "plant-7".parse().unwrap());
        let identity = Identity { device, fleet, key: new_key(), certificate: vec![1] };
        for counter in 1..=12 {
            let state = if counter % 2 == 0 { ReportState::Failed } else { ReportState::Fetching };
            let cause = Cause { reason: format!("why {counter}"), ..Cause::default() };
            let (action, bundle, at) = (counter / 2 + 1, Some(Default::default()), Default::default());
            let (bytes_from_peers, bytes_from_central, elapsed_ms) = (0, 0, 0);
            let report = Outgoing {
                counter,
                action,
                bundle,
                state,
                cause,
                bytes_from_peers,
                bytes_from_central,
                bytes_total: 0,
                elapsed_ms,
                at,
            };
            spool.add(&identity, &report, Vec::new(), Some(7)).unwrap();
        }
        spool.received(11);
        assert_eq!(spool.pending().len(), 1);
        let why: Vec<String> = ended_reports(dir.path()).into_iter().map(|r| r.reason).collect();
        assert_eq!(why, [2, 4, 6, 8, 10, 12].map(|n| format!("why {n}")));
        let told = || spool.files(&["told"]).len();
        assert_eq!(told(), 5);
        for counter in 1..=TOLD_MAX as u64 + 3 {
            std::fs::write(dir.path().join(format!("{:020}.told", 100 + counter)), b"").unwrap();
        }
        spool.received(11);
        assert_eq!(told(), TOLD_MAX);
    }
}
