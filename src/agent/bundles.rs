//! Bundles on disk, by their hash: the machine names them by hash only.
//!
//! Only the deciding thread calls this, so that a bundle which has just come is never taken for one that nobody needs.

use crate::config::Paths;
use crate::identity::{IdentityError, write_new};
use fullmetal_proto::wire::Hint;
use fullmetal_proto::{Digest, Timestamp};
use std::time::Duration;
use tracing::warn;

/// Before an announcement is tried again whose bundle the disk did not take.
pub const RETRY: Duration = Duration::from_secs(10);

/// An announcement whose bundle could not be stored.
pub struct Postponed {
    /// When it is tried again.
    pub at: Timestamp,
    pub hint: Hint,
    pub bytes: Vec<u8>,
}

/// The disk does not take the bundle; later it may.
#[derive(Debug, thiserror::Error)]
#[error("{0}; make space or repair the disk, it is tried again every 10 s")]
pub struct NotStored(IdentityError);

/// Stores a bundle durably, if it is not there.
pub fn store(paths: &Paths, digest: &Digest, bytes: &[u8]) -> Result<(), NotStored> {
    let path = paths.bundle(digest);
    if path.exists() {
        return Ok(());
    }
    write_new(&path, bytes, 0o644).map_err(NotStored)
}

/// Removes all bundles but `keep`.
pub fn prune(paths: &Paths, keep: &[Digest]) {
    let entries = std::fs::read_dir(paths.bundles_dir()).into_iter().flatten().flatten();
    let needed = |name: &str| name.parse().is_ok_and(|digest: Digest| keep.contains(&digest));
    for entry in entries.filter(|e| !needed(&e.file_name().to_string_lossy())) {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            warn!(%error, path = %entry.path().display(), "bundle not removed");
        }
    }
}
