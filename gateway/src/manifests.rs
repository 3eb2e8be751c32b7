//! Manifests that the gateway derived: `<gateway's directory>/manifests/<sha256>`.
//!
//! Central does not have them, so they stay here while a bundle names them: the peer is given them whenever it comes.

use crate::disk::DiskError;
use fullmetal::durable::{self, Existing};
use fullmetal_proto::Digest;
use fullmetal_proto::dispatch::State;
use fullmetal_proto::wire::{Bundle, PlainManifest, open};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The most manifests that a new one is cut after.
const EARLIER_MAX: usize = 8;
/// As public as what it describes.
const FILE_MODE: u32 = 0o644;

/// The directory of derived manifests; clones share it.
#[derive(Clone, Debug)]
pub struct Manifests {
    dir: PathBuf,
}

impl Manifests {
    /// In the gateway's directory, which is made when it is not there. What no bundle of `state` names goes.
    pub fn open(gateway_dir: &Path, state: &State) -> Result<Self, DiskError> {
        let dir = gateway_dir.join("manifests");
        durable::make_dir(&dir, 0o755)?;
        durable::sweep(&dir)?;
        let manifests = Manifests { dir };
        let bundles: Result<Vec<_>, _> = state.bundles.values().map(|bytes| open::<Bundle>(bytes)).collect();
        match bundles {
            Ok(bundles) => {
                let parts = bundles.into_iter().flat_map(|b| b.document.parts);
                manifests.sweep(&parts.map(|part| part.manifest.sha256.to_string()).collect())?;
            }
            // An older gateway, for example: nothing is known to be of no use.
            Err(error) => tracing::warn!(%error, "a bundle of the state cannot be read; derived manifests stay"),
        }
        Ok(manifests)
    }

    fn sweep(&self, named: &BTreeSet<String>) -> Result<(), DiskError> {
        let dir = &self.dir;
        let failed = |action, path: &Path, source| DiskError::Io { action, path: path.to_owned(), source };
        for entry in std::fs::read_dir(dir).map_err(|e| failed("reading", dir, e))? {
            let path = entry.map_err(|e| failed("reading", dir, e))?.path();
            if !path.file_name().is_some_and(|name| named.contains(&*name.to_string_lossy())) {
                std::fs::remove_file(&path).map_err(|e| failed("removing", &path, e))?;
            }
        }
        Ok(())
    }

    /// Makes a manifest's envelope durable under its digest.
    pub fn keep(&self, envelope: &[u8]) -> Result<(), DiskError> {
        let sha256 = Digest::of(envelope);
        if self.read(&sha256).is_none() {
            let path = self.dir.join(sha256.to_string());
            durable::write(&path, envelope, FILE_MODE, Existing::Replaced)?;
        }
        Ok(())
    }

    /// All that are here, the newest first: what devices may have.
    pub fn all(&self) -> Vec<PlainManifest> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut found: Vec<(SystemTime, Digest)> = entries
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.file_name().to_str()?.parse().ok()?)))
            .collect();
        found.sort();
        let read = |(_, sha256): &(SystemTime, Digest)| Some(open::<PlainManifest>(&self.read(sha256)?).ok()?.document);
        found.iter().rev().take(EARLIER_MAX).filter_map(read).collect()
    }

    /// The envelope of this digest, if it is here and whole.
    pub fn read(&self, sha256: &Digest) -> Option<Vec<u8>> {
        let path = self.dir.join(sha256.to_string());
        match std::fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == *sha256 => Some(bytes),
            Ok(_) => {
                tracing::error!(path = %path.display(), "a derived manifest is damaged; deciding for the same commit again mends it");
                None
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::error!(path = %path.display(), %error, "reading a derived manifest");
                }
                None
            }
        }
    }
}
