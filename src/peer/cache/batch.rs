//! A batch on its way into the cache.

use super::{Cache, CacheError, Key};
use crate::batch::{BatchError, verify};
use fullmetal_proto::wire::PlainObject;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

/// A packed batch that is being received or packed; named only by [`BatchDraft::finish`].
///
/// How long it gets is not known when it is begun: what is written must be reserved before. Dropping it unlinks the file and
/// gives its part of the budget back.
#[derive(Debug)]
pub struct BatchDraft {
    cache: Cache,
    key: Key,
    reserved: u64,
    written: u64,
    file: File,
    path: PathBuf,
    named: bool,
}

impl BatchDraft {
    pub(super) fn start(cache: Cache, key: Key) -> Result<Self, CacheError> {
        let (file, path) = cache.temporary()?;
        Ok(BatchDraft { cache, key, reserved: 0, written: 0, file, path, named: false })
    }

    /// Sets room for `length` more bytes aside.
    pub fn reserve(&mut self, length: u64) -> Result<(), CacheError> {
        self.cache.index().reserve(length, self.cache.inner.bytes_max)?;
        self.reserved += length;
        Ok(())
    }

    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.write_all(bytes).map_err(|e| self.failed("writing", e))
    }

    /// The error for what was being done with its file.
    pub fn failed(&self, what: &'static str, source: io::Error) -> CacheError {
        CacheError::io(what, &self.path, source)
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Checks every object, syncs the bytes and gives the file its name; gives its length. For the name see
    /// [`Draft::finish`](super::Draft::finish).
    pub fn finish(mut self, objects: &[PlainObject]) -> Result<u64, CacheError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.failed("reading", e))?;
        match verify(io::BufReader::with_capacity(64 << 10, &self.file), self.written, objects) {
            Ok(()) => {}
            Err(BatchError::Disk(e)) => return Err(self.failed("reading", e)),
            Err(error) => {
                tracing::debug!(batch = %self.key.sha256, %error, "batch refused");
                return Err(CacheError::Corrupt { sha256: self.key.sha256 });
            }
        }
        self.file.sync_data().map_err(|e| self.failed("syncing", e))?;
        let target = self.cache.path(self.key);
        fs::rename(&self.path, &target).map_err(|e| CacheError::io("naming", &target, e))?;
        self.named = true;
        let mut index = self.cache.index();
        index.release(self.reserved - self.written);
        index.finished(self.key, self.written);
        Ok(self.written)
    }
}

impl Write for BatchDraft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written + bytes.len() as u64 > self.reserved {
            return Err(io::Error::other("more bytes than were reserved"));
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BatchDraft {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
            self.cache.index().release(self.reserved);
        }
    }
}
