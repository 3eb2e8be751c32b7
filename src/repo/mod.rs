//! The object stores: the ports, their libostree and in-memory implementations, and the import of frames.
//!
//! Apps are checked out from a repository of ours, the operating system from the one of its sysroot, which is libostree's: there
//! only objects are written, in the same way.
//!
//! **Architecture invariants.** No object becomes visible under its name before its bytes were hashed. A
//! commit object is only accepted when everything it reaches is there, so "the commit is in the store"
//! means "it can be checked out whole". Device nodes and hostile names never enter. Everything here
//! blocks: call it from a plain thread.

mod error;
mod import;
mod intake;
mod libostree;
mod memory;
mod objects;
mod owners;
mod place;
mod slice;
mod system;
#[cfg(test)]
pub(crate) mod tests;

pub use error::StoreError;
pub use import::{Import, ImportError, Packed, Progress};
pub use libostree::LibostreeStore;
pub use memory::MemoryStore;
pub(crate) use objects::KEEP_PREFIX;
pub use owners::{Owner, ROOT, recorded_owner};
pub use system::SystemStore;

use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::io::Read;
use std::path::Path;

/// Where verified objects live.
///
/// Writing is transactional in slices: what was written since the last [`commit_slice`](Self::commit_slice) may be lost in a
/// crash or after an error, and is neither visible to [`missing`](Self::missing) nor to a checkout.
pub trait Objects: Send {
    /// Those of `ids` that are not in the store, in the same order.
    fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError>;

    /// Writes one object's canonical stream of `length` bytes into the current slice.
    ///
    /// Nothing happens when it is already there; `stream` may then be left unread. Bytes that do not hash to the
    /// checksum are [`StoreError::Corrupt`]; well-hashed but hostile ones are [`StoreError::Refused`]. A commit
    /// needs everything that it reaches to be visible: [`StoreError::Missing`] names what is not. After
    /// an error the current slice is dropped.
    fn write(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError>;

    /// The same for an object whose bytes are at hand.
    fn write_whole(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(id, bytes.len() as u64, &mut &*bytes)
    }

    /// Makes the current slice durable and visible.
    fn commit_slice(&mut self) -> Result<(), StoreError>;
}

/// Objects of apps, from which they are checked out.
pub trait ObjectStore: Objects {
    /// Checks `commit` out as the directory `into`, which is whole and durable when this returns and not there
    /// when it fails or is interrupted. Nothing happens when `into` exists. Missing parents are made.
    ///
    /// Files are without setuid and xattrs, belong to the caller, and may be hardlinks into the store: whoever writes to
    /// one or changes its owner corrupts the store. Below `rootfs/`, a store on disk that root uses gives to their owners
    /// what the commit does not give to root, files as copies.
    fn checkout(&self, commit: &Digest, into: &Path) -> Result<(), StoreError>;

    /// The same for a checkout that was there and is lost or damaged: it may take what must stay free otherwise. The app is
    /// part of what the device is for, it had the space before, and what is kept free is kept for the device to go on.
    fn checkout_again(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        self.checkout(commit, into)
    }

    /// Removes what no commit in `keep` reaches; commits that are not in the store are ignored. Returns the bytes freed in
    /// the store: hardlinked checkouts hold theirs until they are removed too. The current slice is dropped.
    fn prune(&mut self, keep: &[Digest]) -> Result<u64, StoreError>;
}

/// Whether `commit` is in the store, and with it everything that it reaches.
pub fn installed(store: &dyn Objects, commit: &Digest) -> Result<bool, StoreError> {
    let id = ObjectId { kind: ObjectKind::Commit, checksum: *commit };
    Ok(store.missing(&[id])?.is_empty())
}
