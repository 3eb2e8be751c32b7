//! A store in memory, for tests of what uses one.

use super::intake::{closure, read_checked};
use super::place::place;
use super::{ObjectStore, Objects, StoreError};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{Commit, ContentHeader, DirMeta, DirTree, OstreeError};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// The in-memory twin of [`LibostreeStore`](super::LibostreeStore): same answers, nothing survives it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    visible: BTreeMap<ObjectId, Vec<u8>>,
    slice: BTreeMap<ObjectId, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn load(&self, kind: ObjectKind, checksum: &Digest) -> Result<&[u8], StoreError> {
        let object = ObjectId { kind, checksum: *checksum };
        self.visible.get(&object).map(Vec::as_slice).ok_or(StoreError::Missing { object })
    }

    fn closure(&self, id: &ObjectId, commit: &[u8]) -> Result<BTreeSet<ObjectId>, StoreError> {
        closure(id, commit, &mut |tree| self.load(tree.kind, &tree.checksum).map(<[u8]>::to_vec))
    }

    fn write_directory(&self, tree: &Digest, meta: &Digest, at: &Path) -> Result<(), StoreError> {
        fs::create_dir(at).map_err(|e| StoreError::io("creating", at, e))?;
        let listing = self.parse(ObjectKind::DirTree, tree, DirTree::parse)?;
        for file in &listing.files {
            self.write_file(&file.content, &at.join(&file.name))?;
        }
        for dir in &listing.dirs {
            self.write_directory(&dir.tree, &dir.meta, &at.join(&dir.name))?;
        }
        let mode = self.parse(ObjectKind::DirMeta, meta, DirMeta::parse)?.mode & 0o7777;
        fs::set_permissions(at, fs::Permissions::from_mode(mode)).map_err(|e| StoreError::io("creating", at, e))
    }

    fn write_file(&self, content: &Digest, at: &Path) -> Result<(), StoreError> {
        let (header, head) = self.parse(ObjectKind::File, content, ContentHeader::parse)?;
        let written = match &header.target {
            Some(target) => symlink(target, at),
            None => fs::write(at, &self.load(ObjectKind::File, content)?[head..]).and_then(|()| {
                let mode = header.mode & 0o775 | 0o600;
                fs::set_permissions(at, fs::Permissions::from_mode(mode))
            }),
        };
        written.map_err(|e| StoreError::io("creating", at, e))
    }

    fn parse<T>(
        &self,
        kind: ObjectKind,
        checksum: &Digest,
        parse: impl Fn(&[u8]) -> Result<T, OstreeError>,
    ) -> Result<T, StoreError> {
        let refused = |reason| StoreError::Refused { object: ObjectId { kind, checksum: *checksum }, reason };
        parse(self.load(kind, checksum)?).map_err(refused)
    }
}

impl Objects for MemoryStore {
    fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        Ok(ids.iter().filter(|id| !self.visible.contains_key(id)).copied().collect())
    }

    fn write(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError> {
        if self.visible.contains_key(id) {
            return Ok(());
        }
        let accepted = read_checked(id, length, stream).and_then(|bytes| {
            if id.kind == ObjectKind::Commit {
                let reached: Vec<ObjectId> = self.closure(id, &bytes)?.into_iter().collect();
                if let Some(object) = self.missing(&reached)?.first() {
                    return Err(StoreError::Missing { object: *object });
                }
            }
            Ok(bytes)
        });
        match accepted {
            Ok(bytes) => self.slice.insert(*id, bytes),
            Err(error) => {
                self.slice.clear();
                return Err(error);
            }
        };
        Ok(())
    }

    fn commit_slice(&mut self) -> Result<(), StoreError> {
        self.visible.append(&mut self.slice);
        Ok(())
    }
}

impl ObjectStore for MemoryStore {
    fn checkout(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        let commit = self.parse(ObjectKind::Commit, commit, Commit::parse)?;
        place(into, |temporary| self.write_directory(&commit.root, &commit.root_meta, temporary))
    }

    fn prune(&mut self, keep: &[Digest]) -> Result<u64, StoreError> {
        self.slice.clear();
        let mut reached = BTreeSet::new();
        for commit in keep {
            let id = ObjectId { kind: ObjectKind::Commit, checksum: *commit };
            if let Some(bytes) = self.visible.get(&id) {
                reached.extend(self.closure(&id, bytes)?);
                reached.insert(id);
            }
        }
        let size = |objects: &BTreeMap<ObjectId, Vec<u8>>| objects.values().map(|b| b.len() as u64).sum::<u64>();
        let before = size(&self.visible);
        self.visible.retain(|id, _| reached.contains(id));
        Ok(before - size(&self.visible))
    }
}
