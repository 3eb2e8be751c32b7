//! The objects of a repository of libostree: looked for, read, written in slices, held by refs.

use super::StoreError;
use super::intake::{check, closure, read_checked, read_head, reading, wrong_hash};
use super::slice::{Layout, Slice};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::ContentHeader;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use ostree::glib::{self, Bytes, Variant};
use ostree::{ObjectType, RepoListRefsExtFlags, RepoMode, gio};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Content objects up to this length are read into memory; longer ones are streamed.
const IN_MEMORY_LEN_MAX: u64 = 4 << 20;
/// Bytes that are streamed at a time.
const CHUNK_LEN: usize = 256 << 10;
/// Refs under which installed commits are kept from `ostree prune`: `fullmetal/keep/<commit>`.
pub(crate) const KEEP_PREFIX: &str = "fullmetal/keep";

/// A repository of libostree that is open.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) repo: ostree::Repo,
    path: PathBuf,
    layout: Layout,
    /// Content and metadata that is not visible yet.
    slice: Option<Slice>,
    /// A commit waits in a transaction of libostree, which keeps others from pruning.
    in_transaction: bool,
}

impl Repository {
    /// Opens the repository at `path`; one of another mode is refused, `why` says what is wrong with it.
    pub(super) fn open(path: &Path, mode: RepoMode, why: &'static str) -> Result<Self, StoreError> {
        let repo = ostree::Repo::new_for_path(path);
        repo.open(gio::Cancellable::NONE).map_err(|e| StoreError::libostree("opening the repository", path, e))?;
        if repo.mode() != mode {
            let mode = format!("{:?}", repo.mode());
            return Err(StoreError::Mode { path: path.to_owned(), mode, why });
        }
        let layout = if mode == RepoMode::Bare { Layout::Bare } else { Layout::BareUser };
        Ok(Repository { repo, path: path.to_owned(), layout, slice: None, in_transaction: false })
    }

    /// The setting, as group and key, by which libostree would seal each file by fs-verity or mount them by composefs.
    pub(super) fn needs_verity(&self) -> Option<(&'static str, &'static str)> {
        let settings = [("ex-fsverity", "required"), ("ex-integrity", "fsverity"), ("ex-integrity", "composefs")];
        let config = self.repo.config();
        let is_on = |(group, key): &(&str, &str)| {
            config.string(group, key).is_ok_and(|value| ["true", "yes", "1"].contains(&value.trim()))
        };
        settings.into_iter().find(is_on)
    }

    /// See [`LibostreeStore::verify`](super::LibostreeStore::verify).
    pub(super) fn verify(&self, id: &ObjectId) -> Result<(), StoreError> {
        if !exists(&self.object_path(id))? {
            return Err(StoreError::Missing { object: *id });
        }
        let checksum = id.checksum.to_string();
        let checked = self.repo.fsck_object(object_type(id.kind), &checksum, gio::Cancellable::NONE);
        checked.map_err(self.failed("checking an object"))
    }

    /// The visible object's file, which may be a symbolic link; objects of the current slice lie elsewhere.
    pub(super) fn object_path(&self, id: &ObjectId) -> PathBuf {
        let name = object_name(id);
        self.path.join("objects").join(&name[..2]).join(&name[2..])
    }

    pub(super) fn has(&self, id: &ObjectId) -> Result<bool, StoreError> {
        if !exists(&self.object_path(id))? {
            return Ok(false);
        }
        // `ostree fsck --delete` and an interrupted `ostree pull` mark a commit whose closure has holes.
        let partial = self.path.join("state").join(format!("{}.commitpartial", id.checksum));
        Ok(id.kind != ObjectKind::Commit || !exists(&partial)?)
    }

    pub(super) fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        let mut missing = Vec::new();
        for id in ids {
            if !self.has(id)? {
                missing.push(*id);
            }
        }
        Ok(missing)
    }

    pub(super) fn load(&self, id: &ObjectId) -> Result<Vec<u8>, StoreError> {
        let path = self.object_path(id);
        fs::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { object: *id },
            _ => StoreError::io("reading", &path, e),
        })
    }

    pub(super) fn failed(&self, what: &'static str) -> impl Fn(glib::Error) -> StoreError + '_ {
        move |e| StoreError::libostree(what, &self.path, e)
    }

    pub(super) fn write(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError> {
        if self.has(id)? {
            return Ok(());
        }
        let written = match id.kind {
            ObjectKind::File if length > IN_MEMORY_LEN_MAX => self.write_streamed(id, length, stream),
            _ => read_checked(id, length, stream).and_then(|bytes| self.add(id, &bytes)),
        };
        if written.is_err() {
            self.drop_slice();
        }
        written
    }

    /// Bytes at hand are worth no question whether the object is there: it takes the place of its like.
    pub(super) fn write_whole(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        let written = check(id, bytes).and_then(|()| self.add(id, bytes));
        if written.is_err() {
            self.drop_slice();
        }
        written
    }

    pub(super) fn commit_slice(&mut self) -> Result<(), StoreError> {
        let committed = self.slice.take().map_or(Ok(()), Slice::publish).and_then(|()| self.commit_transaction());
        if committed.is_err() {
            self.drop_slice();
        }
        committed
    }

    fn commit_transaction(&mut self) -> Result<(), StoreError> {
        if self.in_transaction {
            let committed = self.repo.commit_transaction(gio::Cancellable::NONE);
            committed.map_err(self.failed("committing a transaction"))?;
            self.in_transaction = false;
        }
        Ok(())
    }

    pub(super) fn drop_slice(&mut self) {
        self.slice = None;
        if std::mem::take(&mut self.in_transaction)
            && let Err(error) = self.repo.abort_transaction(gio::Cancellable::NONE)
        {
            tracing::warn!(%error, path = %self.path.display(), "aborting the transaction failed");
        }
    }

    /// Adds an object whose bytes were checked to the slice.
    fn add(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        match id.kind {
            ObjectKind::File => {
                let refused = |reason| StoreError::Refused { object: *id, reason };
                let (header, head) = ContentHeader::parse(bytes).map_err(refused)?;
                self.slice()?.add_content(object_name(id), &header, &bytes[head..])
            }
            ObjectKind::Commit => self.write_commit(id, bytes),
            _ => self.slice()?.add_metadata(object_name(id), bytes),
        }
    }

    fn slice(&mut self) -> Result<&mut Slice, StoreError> {
        let slice = match self.slice.take() {
            Some(slice) => slice,
            None => {
                let reserved = self.repo.min_free_space_bytes();
                Slice::new(&self.path, self.layout, reserved.map_err(self.failed("asking what must stay free"))?)?
            }
        };
        Ok(self.slice.insert(slice))
    }

    /// A commit is libostree's to write, with the ref that holds it.
    fn write_commit(&mut self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        if !self.in_transaction {
            self.repo.prepare_transaction(gio::Cancellable::NONE).map_err(self.failed("starting a transaction"))?;
            self.in_transaction = true;
        }
        self.accept_commit(id, bytes)?;
        let shape = ostree::metadata_variant_type(ObjectType::Commit);
        let variant = Variant::from_bytes_with_type(&Bytes::from(bytes), &shape);
        self.repo
            .write_metadata(ObjectType::Commit, Some(&id.checksum.to_string()), &variant, gio::Cancellable::NONE)
            .map(drop)
            .map_err(self.failed("writing a commit"))
    }

    /// Makes sure that everything the commit reaches is there, and keeps it from being pruned.
    fn accept_commit(&self, id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        let reached: Vec<ObjectId> = closure(id, bytes, &mut |tree| self.load(tree))?.into_iter().collect();
        if let Some(object) = self.missing(&reached)?.first() {
            return Err(StoreError::Missing { object: *object });
        }
        let checksum = id.checksum.to_string();
        self.repo.mark_commit_partial(&checksum, false).map_err(self.failed("marking a commit as whole"))?;
        self.repo.transaction_set_ref(None, &keep_ref(&checksum), Some(&checksum));
        Ok(())
    }

    fn write_streamed(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError> {
        let (head, header) = read_head(id, length, stream)?;
        let mut left = length.saturating_sub(head.len() as u64);
        let slice = self.slice()?;
        let Some(mut growing) = slice.create(object_name(id), left)? else { return Ok(()) };
        let mut hash = Sha256::new_with_prefix(&head);
        let mut chunk = vec![0; CHUNK_LEN];
        while left > 0 {
            let part = &mut chunk[..left.min(CHUNK_LEN as u64) as usize];
            stream.read_exact(part).map_err(|e| reading(id, e))?;
            hash.update(&*part);
            growing.write(part)?;
            left -= part.len() as u64;
        }
        if Digest(hash.finalize().into()) != id.checksum {
            return Err(wrong_hash(id));
        }
        slice.finish(growing, &header)
    }

    /// Holds those of `keep` that are there by a ref each.
    pub(super) fn hold(&self, keep: &[Digest]) -> Result<(), StoreError> {
        let refs = self.keep_refs()?;
        for commit in keep.iter().filter(|c| matches!(self.has(&commit_id(c)), Ok(true))) {
            let checksum = commit.to_string();
            // A full disk takes no new file, and is what a prune is to free.
            if refs.get(&keep_ref(&checksum)).is_some_and(|kept| *kept == checksum) {
                continue;
            }
            self.repo
                .set_ref_immediate(None, &keep_ref(&checksum), Some(&checksum), gio::Cancellable::NONE)
                .map_err(self.failed("keeping a commit"))?;
        }
        Ok(())
    }

    /// Drops our refs to all commits but these.
    pub(super) fn let_go_but(&self, keep: &[Digest]) -> Result<(), StoreError> {
        let refs = self.keep_refs()?;
        let unwanted = |checksum: &String| !keep.iter().any(|k| k.to_string() == *checksum);
        for name in refs.iter().filter(|(_, checksum)| unwanted(checksum)).map(|(name, _)| name) {
            let dropped = self.repo.set_ref_immediate(None, name, None, gio::Cancellable::NONE);
            dropped.map_err(self.failed("dropping a ref"))?;
        }
        Ok(())
    }

    fn keep_refs(&self) -> Result<HashMap<String, String>, StoreError> {
        let refs = self.repo.list_refs_ext(Some(KEEP_PREFIX), RepoListRefsExtFlags::NONE, gio::Cancellable::NONE);
        let refs = refs.map_err(self.failed("listing refs"))?;
        Ok(refs.into_iter().map(|(name, checksum)| (name.to_string(), checksum.to_string())).collect())
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.drop_slice();
    }
}

/// A symbolic link is there wherever it points.
pub(super) fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("looking for", path, e)),
    }
}

pub(super) fn commit_id(commit: &Digest) -> ObjectId {
    ObjectId { kind: ObjectKind::Commit, checksum: *commit }
}

/// An object's file below `objects`, without the slash after its first two digits.
fn object_name(id: &ObjectId) -> String {
    let suffix = match id.kind {
        ObjectKind::File => "file",
        kind => kind.archive_suffix(),
    };
    format!("{}.{suffix}", id.checksum)
}

fn keep_ref(checksum: &str) -> String {
    format!("{KEEP_PREFIX}/{checksum}")
}

fn object_type(kind: ObjectKind) -> ObjectType {
    match kind {
        ObjectKind::File => ObjectType::File,
        ObjectKind::DirTree => ObjectType::DirTree,
        ObjectKind::DirMeta => ObjectType::DirMeta,
        ObjectKind::Commit => ObjectType::Commit,
    }
}
