//! Manifests that the gateway derived: `<gateway's directory>/manifests/<sha256>`.
//!
//! Central does not have them, so they stay here while a bundle names them: the peer is given them whenever it comes.

use crate::disk::DiskError;
use fullmetal::durable::{self, Existing};
use fullmetal_proto::Digest;
use fullmetal_proto::dispatch::State;
use fullmetal_proto::wire::{Bundle, open};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

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
        let bundles = state.bundles.values().filter_map(|bytes| open::<Bundle>(bytes).ok());
        let named: BTreeSet<String> =
            bundles.flat_map(|b| b.document.parts).map(|part| part.manifest.sha256.to_string()).collect();
        let failed = |action, path: &Path, source| DiskError::Io { action, path: path.to_owned(), source };
        for entry in std::fs::read_dir(&dir).map_err(|e| failed("reading", &dir, e))? {
            let path = entry.map_err(|e| failed("reading", &dir, e))?.path();
            if !path.file_name().is_some_and(|name| named.contains(&*name.to_string_lossy())) {
                std::fs::remove_file(&path).map_err(|e| failed("removing", &path, e))?;
            }
        }
        Ok(Manifests { dir })
    }

    /// Makes a manifest's envelope durable under its digest.
    pub fn keep(&self, envelope: &[u8]) -> Result<(), DiskError> {
        let path = self.dir.join(Digest::of(envelope).to_string());
        if !path.exists() {
            durable::write(&path, envelope, FILE_MODE, Existing::Replaced)?;
        }
        Ok(())
    }

    /// The envelope of this digest, if it is here and whole.
    pub fn read(&self, sha256: &Digest) -> Option<Vec<u8>> {
        let path = self.dir.join(sha256.to_string());
        match std::fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == *sha256 => Some(bytes),
            Ok(_) => {
                tracing::error!(path = %path.display(), "a derived manifest is damaged; the fleet's peers have it too");
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
