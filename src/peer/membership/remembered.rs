//! Proven members on disk, so that a restart needs no discovery. Losing the file costs nothing else.

use crate::durable::{self, DurableError, Existing};
use fullmetal_proto::wire::cbor;
use fullmetal_proto::wire::transfer::KnownPeer;
use std::path::Path;

const FILE: &str = "peers";
/// Bytes of the file; 256 peers take a quarter of it.
const LEN_MAX: usize = 128 << 10;

/// What was remembered; nothing when the file is absent or not understood.
pub(super) fn load(cache: &Path) -> Vec<KnownPeer> {
    let path = cache.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "remembered peers not read");
            return Vec::new();
        }
    };
    cbor::from_slice(&bytes, LEN_MAX).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "remembered peers not understood");
        Vec::new()
    })
}

/// Replaces the file whole. What a kill leaves of it goes when the cache is opened.
pub(super) fn save(cache: &Path, peers: &[KnownPeer]) -> Result<(), DurableError> {
    durable::write(&cache.join(FILE), &cbor::to_vec(peers), 0o600, Existing::Replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nonsense_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_empty());
        let peers = vec![KnownPeer { device: "press-1".parse().unwrap(), address: "192.0.2.7:4000".into() }];
        save(dir.path(), &peers).unwrap();
        assert_eq!(load(dir.path()), peers);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
        std::fs::write(dir.path().join(FILE), b"nonsense").unwrap();
        assert!(load(dir.path()).is_empty());
    }
}
