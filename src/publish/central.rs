//! The central repo: libostree for objects and refs, our folder beside them, one publisher at a time.

use super::error::{Doing, PublishError, on};
use super::tree::Pending;
use super::{durable, source::Content};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use fullmetal_proto::{Digest, RefName};
use ostree::gio::{self, Cancellable, prelude::*};
use ostree::glib::{self, Variant, VariantTy};
use ostree::{ObjectType, Repo, RepoMode};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// An open central repo, locked against other publishers until dropped.
pub(super) struct Central {
    repo: Repo,
    path: PathBuf,
    _lock: File,
}

impl Central {
    /// Opens the archive repo at `path`, made when missing, and waits until no other publisher has it.
    pub fn open_or_create(path: &Path) -> Result<Self, PublishError> {
        let repo = Repo::new_for_path(path);
        if !path.join("config").exists() || !path.join("objects").exists() {
            std::fs::create_dir_all(path).doing(|| on("making", path))?;
            let foreign = std::fs::read_dir(path).doing(|| on("listing", path))?.next().is_some();
            if foreign && !path.join("config").exists() {
                return Err(PublishError::NotARepo(path.to_owned()));
            }
            repo.create(RepoMode::Archive, Cancellable::NONE).doing(|| on("making the repo", path))?;
        }
        Self::finish(repo, path)
    }

    /// Opens the archive repo at `path`, which must be there.
    pub fn open(path: &Path) -> Result<Self, PublishError> {
        Self::finish(Repo::new_for_path(path), path)
    }

    fn finish(repo: Repo, path: &Path) -> Result<Self, PublishError> {
        repo.open(Cancellable::NONE).doing(|| on("opening the repo", path))?;
        if repo.mode() != RepoMode::Archive {
            return Err(PublishError::RepoMode(path.to_owned()));
        }
        let ours = path.join("fullmetal");
        durable::make_dir(&ours)?;
        let lock = File::open(&ours).doing(|| on("opening", &ours))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).doing(|| on("locking", &ours))?;
        let central = Central { repo, path: path.to_owned(), _lock: lock };
        for dir in [central.packs(), central.manifests()] {
            durable::make_dir(&dir)?;
            durable::sweep(&dir)?;
        }
        Ok(central)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of packs.
    pub fn packs(&self) -> PathBuf {
        self.path.join("fullmetal/packs")
    }

    /// The folder of manifests.
    pub fn manifests(&self) -> PathBuf {
        self.path.join("fullmetal/manifests")
    }

    /// The commit that a ref or checksum names.
    pub fn resolve(&self, rev: &str) -> Result<Option<Digest>, PublishError> {
        let found = self.repo.resolve_rev(rev, true).doing(|| format!("looking for {rev:?}"))?;
        let Some(commit) = found.and_then(|sum| sum.parse().ok()) else { return Ok(None) };
        let there = self.has(&ObjectId { kind: ObjectKind::Commit, checksum: commit })?;
        Ok(there.then_some(commit))
    }

    /// Points `name` at `commit`, synced.
    pub fn set_ref(&self, name: &RefName, commit: &Digest) -> Result<(), PublishError> {
        let sum = commit.to_string();
        let set = self.repo.set_ref_immediate(None, name.as_str(), Some(&sum), Cancellable::NONE);
        set.doing(|| format!("setting ref {name}"))
    }

    /// Whether the object is there.
    pub fn has(&self, id: &ObjectId) -> Result<bool, PublishError> {
        let has = self.repo.has_object(object_type(id.kind), &id.checksum.to_string(), Cancellable::NONE);
        has.doing(|| format!("looking for object {id}"))
    }

    /// A metadata object. Its bytes are hashed: nothing is signed or framed that is not what it is called.
    pub fn metadata(&self, id: &ObjectId) -> Result<Variant, PublishError> {
        let loaded = self.repo.load_variant(object_type(id.kind), &id.checksum.to_string());
        let variant = loaded.doing(|| format!("reading object {id}"))?;
        if Digest::of(variant.data()) != id.checksum {
            return Err(PublishError::Corrupt { object: *id, repo: self.path.clone() });
        }
        Ok(variant)
    }

    /// The canonical stream of an object and its length.
    pub fn stream(&self, id: &ObjectId) -> Result<(impl Read + use<>, u64), PublishError> {
        let sum = id.checksum.to_string();
        let loaded = self.repo.load_object_stream(object_type(id.kind), &sum, Cancellable::NONE);
        let (stream, length) = loaded.doing(|| format!("reading object {id}"))?;
        Ok((stream.into_read(), length))
    }

    /// Bytes of the object's file in the repo: what a plain pull transfers.
    pub fn stored_len(&self, id: &ObjectId) -> Result<u64, PublishError> {
        let sum = id.checksum.to_string();
        let size = self.repo.query_object_storage_size(object_type(id.kind), &sum, Cancellable::NONE);
        size.doing(|| format!("reading the size of object {id}"))
    }

    /// The detached metadata of a commit (`a{sv}`).
    pub fn detached(&self, commit: &Digest) -> Result<Option<Variant>, PublishError> {
        let read = self.repo.read_commit_detached_metadata(&commit.to_string(), Cancellable::NONE);
        read.doing(|| format!("reading the signatures of {commit}"))
    }

    /// Replaces the detached metadata of a commit.
    pub fn set_detached(&self, commit: &Digest, metadata: &Variant) -> Result<(), PublishError> {
        let sum = commit.to_string();
        let written = self.repo.write_commit_detached_metadata(&sum, Some(metadata), Cancellable::NONE);
        written.doing(|| format!("writing the signature of {commit}"))
    }

    /// Writes those of `objects` that are missing, all or none visible, and syncs. `done` counts objects.
    pub fn write<'o>(
        &self,
        objects: impl Iterator<Item = (&'o ObjectId, &'o Pending)>,
        mut done: impl FnMut(u64),
    ) -> Result<(), PublishError> {
        let begin = || on("writing objects to", &self.path);
        let transaction = self.repo.auto_transaction(Cancellable::NONE).doing(begin)?;
        for (i, (id, object)) in objects.enumerate() {
            if !self.has(id)? {
                self.write_one(id, object)?;
            }
            done(i as u64 + 1);
        }
        transaction.commit(Cancellable::NONE).doing(begin)?;
        Ok(())
    }

    fn write_one(&self, id: &ObjectId, object: &Pending) -> Result<(), PublishError> {
        let sum = id.checksum.to_string();
        match object {
            Pending::Metadata(bytes) => {
                let ty = VariantTy::new(variant_type(id.kind)).unwrap_or(VariantTy::VARIANT);
                let variant = Variant::from_data_with_type(bytes.clone(), ty);
                let kind = object_type(id.kind);
                let written = self.repo.write_metadata(kind, Some(&sum), &variant, Cancellable::NONE);
                written.doing(|| format!("writing object {id}")).map(drop)
            }
            Pending::File { path, header, content, length } => {
                let body = content.open(*length).doing(|| format!("reading {path} of the source"))?;
                let stream = gio::ReadInputStream::new(Cursor::new(header.clone()).chain(body));
                let total = header.len() as u64 + length;
                let written = self.repo.write_content(Some(&sum), &stream, total, Cancellable::NONE);
                written.map(drop).map_err(|e| write_error(e, path, content))
            }
        }
    }
}

/// A checksum that no longer fits means that the source changed between hashing and writing.
fn write_error(error: glib::Error, path: &str, content: &Content) -> PublishError {
    let changed = error.message().starts_with("Corrupted ") || error.message().contains("expected checksum");
    if changed && matches!(content, Content::Path(_)) {
        return PublishError::Changed(path.to_owned());
    }
    PublishError::Ostree { doing: format!("writing {path} to the repo"), error }
}

fn object_type(kind: ObjectKind) -> ObjectType {
    match kind {
        ObjectKind::File => ObjectType::File,
        ObjectKind::DirTree => ObjectType::DirTree,
        ObjectKind::DirMeta => ObjectType::DirMeta,
        ObjectKind::Commit => ObjectType::Commit,
    }
}

fn variant_type(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::DirTree => "(a(say)a(sayay))",
        ObjectKind::DirMeta => "(uuua(ayay))",
        ObjectKind::Commit | ObjectKind::File => "(a{sv}aya(say)sstayay)",
    }
}
