//! What a commit says that is in this device's object store.

use crate::config::Paths;
use crate::untrusted;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::Commit;
use fullmetal_proto::wire::bundle::COMMIT_LEN_MAX;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::io;

/// Reads the commit's own object and hashes it: its bytes are those that the build key has signed.
///
/// # Errors
/// When it is not there or damaged, with its path.
pub fn read(paths: &Paths, commit: &Digest) -> io::Result<Commit> {
    let object = ObjectId { kind: ObjectKind::Commit, checksum: *commit };
    let path = paths.repo().join(object.archive_path());
    let told = |error: io::Error| io::Error::new(error.kind(), format!("reading {}: {error}", path.display()));
    let bytes = untrusted::read(&path, COMMIT_LEN_MAX).map_err(told)?;
    if Digest::of(&bytes) != *commit {
        return Err(told(io::Error::other("it is damaged")));
    }
    Commit::parse(&bytes).map_err(|error| told(io::Error::other(error)))
}
