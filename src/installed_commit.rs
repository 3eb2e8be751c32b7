//! What a commit says that is in this device's object store.

use crate::config::Paths;
use crate::untrusted;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::Commit;
use fullmetal_proto::wire::bundle::COMMIT_LEN_MAX;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::io;
use std::path::Path;

/// Reads the commit's own object and hashes it: its bytes are those that the build key has signed.
///
/// # Errors
/// When it is not there or damaged, with its path.
pub fn read(paths: &Paths, commit: &Digest) -> io::Result<Commit> {
    read_from(&paths.repo(), commit)
}

/// The same of any repository whose objects are not compressed, such as the sysroot's.
pub fn read_from(repo: &Path, commit: &Digest) -> io::Result<Commit> {
    let object = ObjectId { kind: ObjectKind::Commit, checksum: *commit };
    let path = repo.join(object.archive_path());
    let told = |error: io::Error| io::Error::new(error.kind(), format!("reading {}: {error}", path.display()));
    let bytes = untrusted::read(&path, COMMIT_LEN_MAX).map_err(told)?;
    if Digest::of(&bytes) != *commit {
        return Err(told(io::Error::other("it is damaged")));
    }
    Commit::parse(&bytes).map_err(|error| told(io::Error::other(error)))
}

/// Commits for tests of what they ask for.
#[cfg(test)]
#[cfg(feature = "store")]
pub(crate) mod tests {
    use super::*;
    use ostree::glib::{Variant, VariantTy};
    use std::fs;

    /// Puts a commit into the store below `paths` whose metadata is this text of GVariant.
    pub(crate) fn committed(paths: &Paths, metadata: &str) -> Digest {
        let kind = VariantTy::new("(a{sv}aya(say)sstayay)").unwrap();
        let sum = format!("[{}]", vec!["byte 0"; 32].join(", "));
        let text = format!("({{{metadata}}}, @ay [], @a(say) [], '', '', uint64 0, {sum}, {sum})");
        let variant = Variant::parse(Some(kind), &text).unwrap();
        let bytes = variant.data();
        let commit = Digest::of(bytes);
        let object = ObjectId { kind: ObjectKind::Commit, checksum: commit };
        let path = paths.repo().join(object.archive_path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        commit
    }

    #[test]
    fn a_commit_is_read_and_a_damaged_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let commit = committed(&paths, "'fullmetal.after': <['db']>, 'fullmetal.notify': <true>");
        let asks = read(&paths, &commit).unwrap().metadata.asks;
        assert!(asks.notify && asks.after == ["db".parse().unwrap()]);
        let other = Digest::of(b"other");
        let at = |commit| paths.repo().join(ObjectId { kind: ObjectKind::Commit, checksum: commit }.archive_path());
        assert!(read(&paths, &other).is_err());
        fs::create_dir_all(at(other).parent().unwrap()).unwrap();
        fs::copy(at(commit), at(other)).unwrap();
        assert!(read(&paths, &other).unwrap_err().to_string().ends_with("is damaged"));
    }
}
