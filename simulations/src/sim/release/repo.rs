//! A release from a real archive-mode OSTree repository, read without libostree: ref, commit, dirtrees, and the
//! lengths of the object files.

use fullmetal_proto::ostree::{self, Commit, OstreeError, WalkError};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use fullmetal_proto::{Bitmap, Digest};
use std::path::{Path, PathBuf};

/// The longest commit object or dirtree that is read.
const METADATA_LEN_MAX: u64 = ostree::DIRTREE_LEN_MAX as u64;

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// A file of it cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Neither a ref nor a commit.
    #[error("{repo} has no ref `{rev}`, and that is no commit either")]
    Rev {
        /// The repository.
        repo: PathBuf,
        /// What was asked for.
        rev: String,
    },
    /// The commit object.
    #[error("commit {commit}")]
    Commit {
        /// Which.
        commit: Digest,
        /// What is wrong with it.
        #[source]
        source: OstreeError,
    },
    /// One of its pieces.
    #[error("a piece of {length} bytes; {} are the most", u32::MAX)]
    Piece {
        /// Its bytes.
        length: u64,
    },
    /// All pieces of all releases.
    #[error("{count} pieces in all; {} are the most", Bitmap::LEN_MAX)]
    Pieces {
        /// How many.
        count: u64,
    },
    /// Its tree.
    #[error("the tree of commit {commit}: {reason}")]
    Tree {
        /// Which.
        commit: Digest,
        /// What is wrong with it.
        reason: String,
    },
}

/// Bytes of all objects of a commit as central has them: metadata first, then files, each by checksum.
pub(super) fn sizes(repo: &Path, rev: &str) -> Result<Vec<u64>, RepoError> {
    let commit = resolve(repo, rev)?;
    let id = ObjectId { kind: ObjectKind::Commit, checksum: commit };
    let bytes = read(&repo.join(id.archive_path()))?;
    let parsed = Commit::parse(&bytes).map_err(|source| RepoError::Commit { commit, source })?;
    let mut load =
        |tree: &Digest| read(&repo.join(ObjectId { kind: ObjectKind::DirTree, checksum: *tree }.archive_path()));
    let reached = ostree::closure(&parsed, &mut load).map_err(|error| match error {
        WalkError::Load { source, .. } => source,
        WalkError::Object { object, source } => {
            RepoError::Tree { commit, reason: format!("object {object}: {source}") }
        }
    })?;
    let (files, metadata): (Vec<&ObjectId>, Vec<&ObjectId>) = reached.iter().partition(|o| o.kind == ObjectKind::File);
    let all = std::iter::once(&id).chain(metadata).chain(files);
    all.map(|object| length(&repo.join(object.archive_path()))).collect()
}

fn resolve(repo: &Path, rev: &str) -> Result<Digest, RepoError> {
    if let Ok(commit) = rev.parse() {
        return Ok(commit);
    }
    let unknown = || RepoError::Rev { repo: repo.to_owned(), rev: rev.to_owned() };
    let safe = !rev.starts_with('/') && !rev.split('/').any(|word| word.is_empty() || word == "..");
    let text = std::fs::read_to_string(repo.join("refs/heads").join(rev)).ok().filter(|_| safe);
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(unknown)
}

fn length(path: &Path) -> Result<u64, RepoError> {
    let metadata = std::fs::metadata(path).map_err(|source| RepoError::Read { path: path.to_owned(), source })?;
    Ok(metadata.len().max(1))
}

fn read(path: &Path) -> Result<Vec<u8>, RepoError> {
    let failed = |source| RepoError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > METADATA_LEN_MAX {
        return Err(failed(std::io::Error::other(format!("{length} bytes are over the limit of {METADATA_LEN_MAX}"))));
    }
    std::fs::read(path).map_err(failed)
}
