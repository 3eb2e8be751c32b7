//! What a version asks for: its commit object in the store says so, which a build key signed.

use crate::config::Paths;
use fullmetal_proto::ostree::{Asks, Commit, Grant};
use fullmetal_proto::wire::bundle::COMMIT_LEN_MAX;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use fullmetal_proto::{AppName, Digest};
use std::fs::{self, File};
use std::io::{self, Read as _};
use tracing::warn;

/// In the tree of a FullMetalUpdate app that draws on the screen.
const SCREEN_USED: &str = "screen.used";

/// What the commit asks for, and the marker of FullMetalUpdate in its tree.
///
/// Without the object it asks for nothing: it is given no devices, and the policy's bounds are its limits.
pub(super) fn in_checkout(paths: &Paths, name: &AppName, commit: &Digest) -> Asks {
    let mut asks = by_commit(paths, commit).unwrap_or_else(|error| {
        warn!(app = %name, %error, "what the commit asks for is not known");
        Asks::default()
    });
    let marker = paths.checkout(name, commit).join(SCREEN_USED);
    if fs::symlink_metadata(marker).is_ok() && !asks.grants.contains(&Grant::Screen) {
        asks.grants.push(Grant::Screen);
    }
    asks
}

/// What the commit asks for, by its object in the store.
pub(super) fn by_commit(paths: &Paths, commit: &Digest) -> io::Result<Asks> {
    let object = ObjectId { kind: ObjectKind::Commit, checksum: *commit };
    let path = paths.repo().join(object.archive_path());
    let mut bytes = Vec::new();
    File::open(&path)?.take(COMMIT_LEN_MAX + 1).read_to_end(&mut bytes)?;
    if Digest::of(&bytes) != *commit {
        return Err(io::Error::other(format!("{} is damaged", path.display())));
    }
    Ok(Commit::parse(&bytes).map_err(io::Error::other)?.metadata.asks)
}

/// Commits for tests of what they ask for.
#[cfg(test)]
#[cfg(feature = "store")]
pub(crate) mod tests {
    use super::*;
    use ostree::glib::{Variant, VariantTy};

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
        let asks = by_commit(&paths, &commit).unwrap();
        assert!(asks.notify && asks.after == ["db".parse().unwrap()]);
        let other = Digest::of(b"other");
        let at = |commit| paths.repo().join(ObjectId { kind: ObjectKind::Commit, checksum: commit }.archive_path());
        assert!(by_commit(&paths, &other).is_err());
        fs::create_dir_all(at(other).parent().unwrap()).unwrap();
        fs::copy(at(commit), at(other)).unwrap();
        assert!(by_commit(&paths, &other).unwrap_err().to_string().ends_with("is damaged"));
    }
}
