//! A file on its way into the cache.

use super::{Cache, CacheError, Key};
use fullmetal_proto::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

/// Content that is being received: hashed as it is written, named only by [`Draft::finish`].
///
/// Dropping it unlinks the file and gives its part of the budget back.
#[derive(Debug)]
pub struct Draft {
    cache: Cache,
    key: Key,
    length: u64,
    written: u64,
    file: File,
    path: PathBuf,
    hasher: Sha256,
    named: bool,
}

impl Draft {
    /// Expects the caller to have reserved `length` bytes.
    pub(super) fn start(cache: Cache, key: Key, length: u64) -> Result<Self, CacheError> {
        let (file, path) = cache.temporary().inspect_err(|_| cache.index().release(length))?;
        Ok(Draft { cache, key, length, written: 0, file, path, hasher: Sha256::new(), named: false })
    }

    /// Bytes that are still to come.
    pub fn missing(&self) -> u64 {
        self.length - self.written
    }

    /// Adds the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        if bytes.len() as u64 > self.missing() {
            return Err(CacheError::Corrupt { sha256: self.key.sha256 });
        }
        self.file.write_all(bytes).map_err(|e| CacheError::io("writing", &self.path, e))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Checks length and hash, syncs the bytes and gives the file its name. The name itself becomes
    /// durable with the next [`Cache::sync`]; losing it costs another download, never wrong content. Gives the length.
    pub fn finish(mut self) -> Result<u64, CacheError> {
        let found = Digest(std::mem::take(&mut self.hasher).finalize().into());
        if self.missing() != 0 || found != self.key.sha256 {
            return Err(CacheError::Corrupt { sha256: self.key.sha256 });
        }
        self.file.sync_data().map_err(|e| CacheError::io("syncing", &self.path, e))?;
        let target = self.cache.path(self.key);
        fs::rename(&self.path, &target).map_err(|e| CacheError::io("naming", &target, e))?;
        self.named = true;
        self.cache.index().finished(self.key, self.length);
        Ok(self.length)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
            self.cache.index().release(self.length);
        }
    }
}
