//! The repository of the sysroot, of mode `bare`: an operating system's objects with their real owners, modes and xattrs.
//!
//! It is libostree's and everybody's who calls `ostree admin`: each of these may prune it of what no ref and no deployment
//! reaches, between two slices of ours too. A commit of ours is held by a ref from the moment that it is there; of what was taken
//! before, the import hears when it writes the commit. Nothing is checked out here, pruned or let go: see [`crate::sysroot`].

use super::objects::Repository;
use super::slice::Slice;
use super::{Objects, StoreError};
use fullmetal_proto::wire::ObjectId;
use ostree::RepoMode;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::thread::{CapabilitySet, capabilities};
use std::io::Read;
use std::path::Path;

/// Without these a file would be written as another than its object is, and of a setgid bit nobody would be told.
const NEEDED: CapabilitySet = CapabilitySet::CHOWN.union(CapabilitySet::FSETID).union(CapabilitySet::SETFCAP);

/// The objects of operating systems. To write them needs root: they have their owners.
#[derive(Debug)]
pub struct SystemStore {
    objects: Repository,
}

impl SystemStore {
    /// Opens the repository at `path`.
    ///
    /// # Errors
    /// When there is none, or one into which no operating system can be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let why = "operating systems are deployed from one of mode bare only, as `ostree admin init-fs` makes it";
        let objects = Repository::open(path, RepoMode::Bare, why)?;
        if let Some((group, key)) = objects.needs_verity() {
            let why = format!(
                "its configuration asks for {group}.{key}, and objects are written without it: set it to false"
            );
            return Err(StoreError::Verity { path: path.to_owned(), why });
        }
        let mount = statvfs(path).map_err(|e| StoreError::io("looking at", path, e.into()))?;
        if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(StoreError::ReadOnly { path: path.to_owned() });
        }
        let able = capabilities(None).map_err(|e| StoreError::io("asking what may be written to", path, e.into()))?;
        if !able.effective.contains(NEEDED) {
            return Err(StoreError::Unable { path: path.to_owned() });
        }
        // One thread of the agent writes here, and opens it anew each time.
        Slice::remove_left(path)?;
        Ok(SystemStore { objects })
    }
}

impl Objects for SystemStore {
    fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        self.objects.missing(ids)
    }

    fn write(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError> {
        self.objects.write(id, length, stream)
    }

    fn write_whole(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        self.objects.write_whole(id, bytes)
    }

    fn commit_slice(&mut self) -> Result<(), StoreError> {
        self.objects.commit_slice()
    }
}
