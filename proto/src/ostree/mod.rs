//! Bounded, panic-free parsers for OSTree's objects: commit, detached signatures, dirtree, dirmeta, the head of a content
//! stream and of an archived file, and what follows from them: closure and plan of a commit.
//!
//! They accept GVariant normal form only and check names, modes and limits while parsing, so that what comes out
//! needs no further checks. Formats: libostree's `ostree-core.h`.

mod archive;
pub mod asks;
mod commit;
mod content;
mod deployable;
mod gvariant;
mod plan;
mod signatures;
mod sizes;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use archive::ArchiveHeader;
pub use asks::{Asks, Grant, Limits};
pub use commit::{Commit, CommitMetadata};
pub use content::{ContentHeader, Xattr, content_head_len};
pub use deployable::{CommitRefusal, Deployable};
pub use plan::plan;
pub use signatures::signatures;
pub use sizes::{Size, sizes};
pub use tree::{DirEntry, DirMeta, DirTree, FileEntry};
pub use walk::{WalkError, closure};

use crate::Digest;
use crate::wire::ObjectKind;
use crate::wire::bundle::COMMIT_LEN_MAX;

/// The longest dirtree.
pub const DIRTREE_LEN_MAX: usize = 10 << 20;
/// The longest dirmeta.
pub const DIRMETA_LEN_MAX: usize = 256 << 10;
/// The longest head of a content stream: owner, mode, symlink target and xattrs.
pub const HEAD_LEN_MAX: usize = 256 << 10;
/// The most entries of one directory.
pub const ENTRIES_MAX: usize = 100_000;
/// The most xattrs of one file or directory.
pub const XATTRS_MAX: usize = 128;
/// How deep directories may nest.
pub const DEPTH_MAX: usize = 128;
/// The most files and directories that a checkout of one commit may have.
pub const PATHS_MAX: u64 = 2_000_000;

/// Why bytes are not an acceptable OSTree object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OstreeError {
    /// Not GVariant normal form of the expected type.
    #[error("not a well-formed object")]
    NotNormal,
    /// More bytes than the format allows.
    #[error("{len} bytes are over the limit of {max}")]
    TooLong {
        /// What was given.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// More elements than the format allows.
    #[error("{count} entries are over the limit of {max}")]
    TooMany {
        /// What was given.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A checksum is not 32 bytes.
    #[error("a checksum has {0} bytes instead of 32")]
    Checksum(usize),
    /// A name that would leave its directory, or that no file can have.
    #[error("a directory entry has the unsafe name {0:?}")]
    Name(String),
    /// Two entries of one name.
    #[error("a directory has two entries {0:?}")]
    DuplicateName(String),
    /// Not a regular file, symlink or directory.
    #[error(
        "mode {0:o} is neither of a regular file nor of a symlink nor of a directory: device nodes, pipes and sockets are not allowed"
    )]
    Mode(u32),
    /// A field that must be zero or empty is not.
    #[error("field {0} is not what this type of file has")]
    Field(&'static str),
    /// A metadata key that we rely on has another type, or a value outside its limits.
    #[error("commit metadata {key}: {why}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// What is wrong, for a person.
        why: String,
    },
    /// Metadata has a key twice.
    #[error("commit metadata has the key {0:?} twice")]
    DuplicateKey(String),
    /// Directories nest too deep, or the tree unfolds into too many files.
    #[error("the tree is over the limit of {DEPTH_MAX} levels or {PATHS_MAX} files")]
    TreeSize,
}

/// The longest object of a kind of metadata; of files nothing says how long they may be.
pub fn metadata_len_max(kind: ObjectKind) -> Option<usize> {
    match kind {
        ObjectKind::File => None,
        ObjectKind::DirTree => Some(DIRTREE_LEN_MAX),
        ObjectKind::DirMeta => Some(DIRMETA_LEN_MAX),
        ObjectKind::Commit => Some(COMMIT_LEN_MAX as usize),
    }
}

fn checksum(bytes: &[u8]) -> Result<Digest, OstreeError> {
    bytes.try_into().map(Digest).map_err(|_| OstreeError::Checksum(bytes.len()))
}

fn limit(bytes: &[u8], max: usize) -> Result<(), OstreeError> {
    if bytes.len() > max { Err(OstreeError::TooLong { len: bytes.len(), max }) } else { Ok(()) }
}
