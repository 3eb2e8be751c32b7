//! Verified content under its name: the frames, batches and blobs that this peer serves.
//!
//! `<dir>/frames/<sha256>`, `<dir>/blobs/<sha256>` and `<dir>/batches/<id>`; what is being written lies in `<dir>/tmp`. A file
//! gets its name only after its bytes were hashed (a batch's objects each) and synced, so a file under its name is what the name says
//! (or rotted since: whoever reads it hashes again). All files belong to the peer's unprivileged user.

mod batch;
mod draft;
mod index;
#[cfg(test)]
mod tests;

pub use batch::{BatchDraft, MakeRoom};
pub use draft::Draft;

use crate::durable;
use fullmetal_proto::Digest;
use index::Index;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest file on the shelves of frames and blobs; longer ones are no content of ours and go at the scan.
const FILE_LEN_MAX: u64 = 8 << 20;
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";

/// What kind of content a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// Frames of packs.
    Frames,
    /// Batches of whole objects, packed; named by the batch's id.
    Batches,
    /// Announcements, commit objects, signatures, manifest chunks, reports, receipts.
    Blobs,
}

impl Shelf {
    const ALL: [Shelf; 3] = [Shelf::Frames, Shelf::Batches, Shelf::Blobs];

    fn folder(self) -> &'static str {
        match self {
            Shelf::Frames => "frames",
            Shelf::Batches => "batches",
            Shelf::Blobs => "blobs",
        }
    }

    fn file_len_max(self) -> u64 {
        match self {
            Shelf::Frames | Shelf::Blobs => FILE_LEN_MAX,
            Shelf::Batches => u64::MAX,
        }
    }
}

/// Names one file of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Where.
    pub shelf: Shelf,
    /// Its name: the hash of its bytes, or the id of the batch.
    pub sha256: Digest,
}

impl Key {
    /// The key of a frame.
    pub fn frame(sha256: Digest) -> Self {
        Key { shelf: Shelf::Frames, sha256 }
    }

    /// The key of a batch.
    pub fn batch(id: Digest) -> Self {
        Key { shelf: Shelf::Batches, sha256: id }
    }

    /// The key of a blob.
    pub fn blob(sha256: Digest) -> Self {
        Key { shelf: Shelf::Blobs, sha256 }
    }
}

/// Why the cache cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Another process has it.
    #[error("cache {} is in use by another peer; give each peer a directory of its own", path.display())]
    Locked {
        /// The cache directory.
        path: PathBuf,
    },
    /// Files that we make there would be of no use to the user whose it is.
    #[error(
        "cache {} belongs to user {owner}, this peer runs as user {own}: run it as user {owner}, or give the directory to \
         user {own} (`chown -R {own} {}`)",
        path.display(),
        path.display()
    )]
    Owner {
        /// The cache directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// The operating system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The file system has no space left.
    #[error("the file system of {} is full: free some space or lower peer.cache_bytes_max", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
    },
    /// The budget is used up by content that must stay.
    #[error("the cache needs {needed} bytes but {kept} of its {max} are kept or in use; raise peer.cache_bytes_max")]
    NoRoom {
        /// What was to be added.
        needed: u64,
        /// What may not be evicted.
        kept: u64,
        /// The budget.
        max: u64,
    },
    /// The process is ending.
    #[error("the cache is closing")]
    Stopping,
    /// The bytes are not what the name says.
    #[error("the bytes received for {sha256} have another hash or length")]
    Corrupt {
        /// The expected digest.
        sha256: Digest,
    },
}

impl CacheError {
    /// The error that a [`BatchDraft`] put into a writer's, or what `other` makes of one that is none.
    pub fn within(error: io::Error, other: impl FnOnce(io::Error) -> Self) -> Self {
        error.downcast().unwrap_or_else(other)
    }

    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let path = path.to_owned();
        if full { CacheError::DiskFull { path } } else { CacheError::Io { what, path, source } }
    }
}

/// The cache; clones share it. Methods block on the disk: call the writing ones off the reactor.
#[derive(Clone, Debug)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    bytes_max: u64,
    index: Mutex<Index>,
    /// Held while the cache lives.
    _lock: File,
}

impl Cache {
    /// Opens or makes the cache in `dir` and takes stock of what lies there, by size only.
    ///
    /// Unfinished files of an earlier run and files that cannot be content go away.
    pub fn open(dir: &Path, bytes_max: u64) -> Result<Self, CacheError> {
        check_owner(dir, rustix::process::geteuid().as_raw())?;
        for folder in Shelf::ALL.map(Shelf::folder).into_iter().chain([TEMPORARY]) {
            let path = dir.join(folder);
            fs::create_dir_all(&path).map_err(|e| CacheError::io("making", &path, e))?;
        }
        let lock = take_lock(dir)?;
        clear(&dir.join(TEMPORARY))?;
        durable::sweep(dir).map_err(|e| CacheError::io(e.action, &e.path, e.source))?;
        let mut index = Index::default();
        for shelf in Shelf::ALL {
            scan(&dir.join(shelf.folder()), shelf, &mut index)?;
        }
        index.settle();
        let inner = Inner { dir: dir.to_owned(), bytes_max, index: Mutex::new(index), _lock: lock };
        Ok(Cache { inner: Arc::new(inner) })
    }

    /// Whether `key` is here with exactly `length` bytes. A file of another length stays until the right one
    /// takes its place or space is short: lengths come from neighbours too, and must not remove anything.
    pub fn has(&self, key: Key, length: u64) -> bool {
        self.index().length(key) == Some(length)
    }

    /// How long `key`'s file is, if it is here.
    pub fn length(&self, key: Key) -> Option<u64> {
        self.index().length(key)
    }

    /// A read-only descriptor of `key`'s file, or `None` when it is not here with that length.
    pub fn open_read(&self, key: Key, length: u64) -> Option<File> {
        if !self.has(key, length) {
            return None;
        }
        let mut index = self.index();
        let file = File::open(self.path(key)).ok().filter(|f| f.metadata().is_ok_and(|m| m.len() == length));
        match &file {
            Some(_) => index.touch(key),
            // Not when it was replaced since the question.
            None if index.length(key) == Some(length) => {
                drop(index);
                self.remove(key);
            }
            None => {}
        }
        file
    }

    /// What must go before `length` more bytes fit, oldest use first; nothing that is kept.
    ///
    /// The caller tells the swarm and then calls [`Cache::remove`] for each: what is offered to others
    /// must not vanish first.
    pub fn victims(&self, length: u64) -> Result<Vec<Key>, CacheError> {
        self.index().victims(length, self.inner.bytes_max)
    }

    /// Starts a file of exactly `length` bytes and sets that much of the budget aside.
    pub fn create(&self, key: Key, length: u64) -> Result<Draft, CacheError> {
        self.index().reserve(length, self.inner.bytes_max)?;
        Draft::start(self.clone(), key, length)
    }

    /// Starts a batch, for which `make_room` is asked when the cache is full.
    pub fn create_batch(&self, id: Digest, make_room: MakeRoom) -> Result<BatchDraft, CacheError> {
        BatchDraft::start(self.clone(), Key::batch(id), make_room)
    }

    /// Stores bytes that are at hand.
    pub fn put(&self, shelf: Shelf, bytes: &[u8]) -> Result<Key, CacheError> {
        let key = Key { shelf, sha256: Digest::of(bytes) };
        if !self.has(key, bytes.len() as u64) {
            let mut draft = self.create(key, bytes.len() as u64)?;
            draft.write(bytes)?;
            draft.finish()?;
        }
        Ok(key)
    }

    /// Forgets `key` and unlinks its file; open descriptors stay readable.
    pub fn remove(&self, key: Key) {
        if self.index().remove(key) {
            let _ = fs::remove_file(self.path(key));
        }
    }

    /// Replaces the set of keys that eviction must leave alone.
    pub fn keep(&self, keys: BTreeSet<Key>) {
        self.index().keep(keys);
    }

    /// Adds keys to that set.
    pub fn keep_also(&self, keys: impl IntoIterator<Item = Key>) {
        self.index().keep_also(keys);
    }

    /// Bytes that lie here.
    pub fn bytes(&self) -> u64 {
        self.index().bytes()
    }

    /// Makes the names of finished files durable: one directory sync for all files since the last call.
    pub fn sync(&self) -> Result<(), CacheError> {
        let dirty = self.index().take_dirty();
        for shelf in dirty {
            sync_directory(&self.inner.dir.join(shelf.folder()))?;
        }
        Ok(())
    }

    /// An empty file in the cache's file system without a name, and its own read-only descriptor.
    pub fn scratch(&self) -> Result<(File, File), CacheError> {
        let (writer, path) = self.temporary()?;
        let reader = File::open(&path).map_err(|e| CacheError::io("opening", &path, e));
        let _ = fs::remove_file(&path);
        Ok((writer, reader?))
    }

    /// The error for a file of [`Cache::scratch`] that could not be read or written.
    pub fn scratch_error(&self, source: io::Error) -> CacheError {
        CacheError::io("writing a file in", &self.inner.dir.join(TEMPORARY), source)
    }

    /// Durably replaces the small file `name` beside the shelves.
    pub fn write_note(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let (mut file, temporary) = self.temporary()?;
        let path = self.inner.dir.join(name);
        let written = io::Write::write_all(&mut file, bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(e) = written {
            let _ = fs::remove_file(&temporary);
            return Err(CacheError::io("writing", &path, e));
        }
        sync_directory(&self.inner.dir)
    }

    /// The small file `name`, if it is there.
    pub fn read_note(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.inner.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CacheError::io("reading", &path, e)),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: Key) -> PathBuf {
        self.inner.dir.join(key.shelf.folder()).join(key.sha256.to_string())
    }

    fn temporary(&self) -> Result<(File, PathBuf), CacheError> {
        let dir = self.inner.dir.join(TEMPORARY);
        let made = tempfile::Builder::new().prefix("draft-").tempfile_in(&dir);
        let (file, path) = made.map_err(|e| CacheError::io("making a file in", &dir, e))?.into_parts();
        let path = path.keep().map_err(|e| CacheError::io("making a file in", &dir, e.error))?;
        Ok((file, path))
    }
}

/// A peer that root starts by mistake must leave no files that the peer's own user cannot use.
fn check_owner(dir: &Path, own: u32) -> Result<(), CacheError> {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata(dir) {
        Ok(found) if found.uid() != own => Err(CacheError::Owner { path: dir.to_owned(), owner: found.uid(), own }),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(CacheError::io("looking at", dir, e)),
    }
}

fn take_lock(dir: &Path) -> Result<File, CacheError> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| CacheError::io("opening", &path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CacheError::Locked { path: dir.to_owned() }),
        Err(e) => Err(CacheError::io("locking", &path, e.into())),
    }
}

fn clear(dir: &Path) -> Result<(), CacheError> {
    for entry in fs::read_dir(dir).map_err(|e| CacheError::io("reading", dir, e))?.flatten() {
        fs::remove_file(entry.path()).map_err(|e| CacheError::io("removing", &entry.path(), e))?;
    }
    Ok(())
}

fn scan(dir: &Path, shelf: Shelf, index: &mut Index) -> Result<(), CacheError> {
    for entry in fs::read_dir(dir).map_err(|e| CacheError::io("reading", dir, e))?.flatten() {
        let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
        let meta = entry.metadata().ok().filter(|m| m.is_file() && (1..=shelf.file_len_max()).contains(&m.len()));
        match (digest, meta) {
            (Some(sha256), Some(meta)) => index.found(Key { shelf, sha256 }, meta.len(), meta.modified().ok()),
            _ => {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    Ok(())
}

fn sync_directory(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| CacheError::io("syncing", dir, e))
}
