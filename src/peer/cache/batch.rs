//! A batch on its way into the cache.

use super::{Cache, CacheError, Key};
use crate::batch::{BatchError, verify};
use fullmetal_proto::wire::PlainObject;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

/// Bytes of the budget that are set aside at a time.
const RESERVE_LEN: u64 = 1 << 20;

/// Makes room for so many bytes when the cache is full, or says why not. May block.
pub type MakeRoom = Box<dyn Fn(u64, CacheError) -> Result<(), CacheError> + Send>;

/// A packed batch that is being received or packed; named only by [`BatchDraft::finish`].
///
/// How long it gets is not known when it is begun: its part of the budget grows with it. Dropping it unlinks the file and
/// gives that part back. Writing blocks; an error that holds a [`CacheError`] is the budget's.
pub struct BatchDraft {
    cache: Cache,
    key: Key,
    make_room: MakeRoom,
    reserved: u64,
    written: u64,
    file: File,
    path: PathBuf,
    named: bool,
}

impl fmt::Debug for BatchDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchDraft({:?}, {} bytes)", self.key, self.written)
    }
}

impl BatchDraft {
    pub(super) fn start(cache: Cache, key: Key, make_room: MakeRoom) -> Result<Self, CacheError> {
        let (file, path) = cache.temporary()?;
        Ok(BatchDraft { cache, key, make_room, reserved: 0, written: 0, file, path, named: false })
    }

    fn reserve(&mut self, length: u64) -> Result<(), CacheError> {
        let step = length.max(RESERVE_LEN);
        let max = self.cache.inner.bytes_max;
        let reserved = self.cache.index().reserve(step, max);
        match reserved {
            Err(full @ CacheError::NoRoom { .. }) => {
                (self.make_room)(step, full)?;
                self.cache.index().reserve(step, max)?;
            }
            other => other?,
        }
        self.reserved += step;
        Ok(())
    }

    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.write_all(bytes).map_err(|error| CacheError::within(error, |e| self.failed("writing", e)))
    }

    fn failed(&self, what: &'static str, source: io::Error) -> CacheError {
        CacheError::io(what, &self.path, source)
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Checks every object, syncs the bytes and gives the file its name; gives its length. `progress` hears of what was
    /// hashed. For the name see [`Draft::finish`](super::Draft::finish).
    pub fn finish(mut self, objects: &[PlainObject], progress: &dyn Fn(u64)) -> Result<u64, CacheError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.failed("reading", e))?;
        match verify(io::BufReader::with_capacity(64 << 10, &self.file), self.written, objects, progress) {
            Ok(()) => {}
            Err(BatchError::Disk(e)) => return Err(self.failed("reading", e)),
            Err(error) => {
                tracing::debug!(batch = %self.key.sha256, %error, "batch refused");
                return Err(CacheError::Corrupt { sha256: self.key.sha256 });
            }
        }
        self.file.sync_data().map_err(|e| self.failed("syncing", e))?;
        let target = self.cache.path(self.key);
        // Another packing of the same batch may be there, of another length: name and length change together.
        let mut index = self.cache.index();
        fs::rename(&self.path, &target).map_err(|e| CacheError::io("naming", &target, e))?;
        self.named = true;
        index.release(self.reserved - self.written);
        index.finished(self.key, self.written);
        Ok(self.written)
    }
}

impl Write for BatchDraft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.written + bytes.len() as u64;
        if end > self.reserved {
            self.reserve(end - self.reserved).map_err(io::Error::other)?;
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
