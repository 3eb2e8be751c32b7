//! The central repo: libostree for objects and refs, our folder beside them, one publisher at a time.

use super::error::{Doing, PublishError, on};
use super::writer::object_type;
use crate::durable::{self, Existing, NewFile};
use fullmetal_proto::ostree::{ContentHeader, content_head_len};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use fullmetal_proto::{Digest, RefName};
use ostree::gio::{Cancellable, prelude::*};
use ostree::glib::Variant;
use ostree::{Repo, RepoMode};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How many refs are looked through for objects that they share with a release.
const HEADS_MAX: usize = 64;

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
            durable::make_dir(path, 0o755)?;
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
        durable::make_dir(&ours, 0o755)?;
        let lock = File::open(&ours).doing(|| on("opening", &ours))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).doing(|| on("locking", &ours))?;
        let central = Central { repo, path: path.to_owned(), _lock: lock };
        for dir in [central.packs(), central.manifests()] {
            durable::make_dir(&dir, 0o755)?;
            durable::sweep(&dir)?;
        }
        Ok(central)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a finished file its name, world-readable, durably. What has the name already is the same and stays.
    pub fn keep(&self, file: NewFile, path: &Path) -> Result<(), PublishError> {
        match file.name(path, 0o644, Existing::Refused) {
            Err(error) if error.is_taken() => {}
            other => other?,
        }
        Ok(path.parent().map_or(Ok(()), durable::sync_dir)?)
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

    /// Whether `name` is one of the repo's own refs.
    pub fn is_ref(&self, name: &RefName) -> bool {
        self.path.join("refs/heads").join(name.as_str()).is_file()
    }

    /// What refs name, in the order of these, each once; at most [`HEADS_MAX`].
    pub fn heads(&self) -> Result<Vec<Digest>, PublishError> {
        let refs = self.repo.list_refs(None, Cancellable::NONE).doing(|| "listing refs".to_owned())?;
        let refs: BTreeMap<_, _> = refs.into_iter().collect();
        let mut heads: Vec<Digest> = Vec::new();
        for commit in refs.values().filter_map(|commit| commit.parse().ok()) {
            if heads.len() < HEADS_MAX && !heads.contains(&commit) {
                heads.push(commit);
            }
        }
        Ok(heads)
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
    pub fn metadata(&self, id: &ObjectId) -> Result<Vec<u8>, PublishError> {
        let loaded = self.repo.load_variant(object_type(id.kind), &id.checksum.to_string());
        let variant = loaded.doing(|| format!("reading object {id}"))?;
        if Digest::of(variant.data()) != id.checksum {
            return Err(self.corrupt(id));
        }
        Ok(variant.data().to_vec())
    }

    /// What is said about an object that is not what its name says.
    pub fn corrupt(&self, id: &ObjectId) -> PublishError {
        PublishError::Corrupt { object: *id, repo: self.path.clone() }
    }

    /// The header of a file's stream, the header's length, and the stream's.
    pub fn head(&self, id: &ObjectId) -> Result<(ContentHeader, u64, u64), PublishError> {
        let unfit = |problem| PublishError::Unfit { object: *id, problem };
        let (mut stream, length) = self.stream(id)?;
        let mut head = vec![0u8; 4];
        stream.read_exact(&mut head).map_err(|_| self.corrupt(id))?;
        head.resize(content_head_len([head[0], head[1], head[2], head[3]]).map_err(unfit)?, 0);
        stream.read_exact(&mut head[4..]).map_err(|_| self.corrupt(id))?;
        let (header, end) = ContentHeader::parse(&head).map_err(unfit)?;
        Ok((header, end as u64, length))
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
}
