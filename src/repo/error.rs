//! What can go wrong in a store.

use fullmetal_proto::ostree::OstreeError;
use fullmetal_proto::wire::ObjectId;
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in an object store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bytes are not what the object's name says.
    #[error("object {object} is corrupt: {why}")]
    Corrupt {
        /// Which object.
        object: ObjectId,
        /// Hash or length, for a person.
        why: &'static str,
    },
    /// The bytes are what the name says, and must not enter: hostile names, device nodes, over a limit.
    #[error("object {object} is refused")]
    Refused {
        /// Which object.
        object: ObjectId,
        /// Why.
        #[source]
        reason: OstreeError,
    },
    /// Something that should be in the store is not.
    #[error("object {object} is missing from the store; deploy again so that it is fetched")]
    Missing {
        /// Which object.
        object: ObjectId,
    },
    /// No space, no inodes or no quota left.
    #[error("no space left on the disk of {path} ({why}); free some and deploy again")]
    Full {
        /// The store.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A system call failed.
    #[error("{what} {path}")]
    Io {
        /// What was being done, such as "creating".
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// libostree failed.
    #[error("{what} in {path}")]
    Libostree {
        /// What was being done, such as "committing the transaction".
        what: &'static str,
        /// The store.
        path: PathBuf,
        /// libostree's answer.
        #[source]
        source: ostree::glib::Error,
    },
    /// The directory holds a repository that is not as it must be.
    #[error("{path} is an OSTree repository of mode {mode}: {why}")]
    Mode {
        /// The store.
        path: PathBuf,
        /// Its mode.
        mode: String,
        /// What is wrong with it and what to do.
        why: &'static str,
    },
    /// Files there must be sealed by the file system.
    #[error("no operating system can be written to {path}: {why}")]
    Verity {
        /// The store.
        path: PathBuf,
        /// Which setting says so.
        why: String,
    },
    /// Not all owners, modes and capabilities that a file can have can be given to it.
    #[error(
        "files cannot be written to {path} as they are: that needs CAP_CHOWN, CAP_FSETID and CAP_SETFCAP, see the agent's unit"
    )]
    Unable {
        /// The store.
        path: PathBuf,
    },
    /// Nothing can be written there.
    #[error("{path} is on a file system that is mounted read-only: the agent must be able to write there")]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },
}

impl StoreError {
    /// An error of a system call, or [`StoreError::Full`] when that is what it says.
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(source.kind(), StorageFull | QuotaExceeded) {
            return StoreError::Full { path: path.to_owned(), why: source.to_string() };
        }
        StoreError::Io { what, path: path.to_owned(), source }
    }

    /// An error of libostree, or [`StoreError::Full`] when that is what it says.
    ///
    /// libostree keeps `core.min-free-space-percent` (3) of the disk free and says so only in the text.
    pub(super) fn libostree(what: &'static str, path: &Path, source: ostree::glib::Error) -> Self {
        let text = source.message();
        let full = source.matches(ostree::gio::IOErrorEnum::NoSpace)
            || ["min-free-space", "No space left", "quota exceeded"].iter().any(|hint| text.contains(hint));
        if full {
            return StoreError::Full { path: path.to_owned(), why: text.to_owned() };
        }
        StoreError::Libostree { what, path: path.to_owned(), source }
    }
}
