//! The journal's disk on a real file system.

use super::{Disk, FILE_LEN_MAX, JournalError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions, rename};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How long an agent waits for its killed predecessor's lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_TRIES: u32 = 20;

/// Files in one directory.
#[derive(Debug)]
pub struct DirectoryDisk {
    path: PathBuf,
    /// Held open for its lock, which ends with the process.
    _lock: Option<File>,
}

impl DirectoryDisk {
    /// Opens directory `path` for this process alone; makes it, durably, when it is missing.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Disk { action: "opening journal", path: path.to_owned(), source };
        if !path.is_dir() {
            create(path).map_err(failed)?;
        }
        let lock = File::open(path).map_err(failed)?;
        for left in (0..LOCK_TRIES).rev() {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if left == 0 => return Err(JournalError::InUse { path: path.to_owned() }),
                Err(Errno::WOULDBLOCK) => sleep(LOCK_WAIT / LOCK_TRIES),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Ok(DirectoryDisk { path: path.to_owned(), _lock: Some(lock) })
    }

    /// Whether an agent has the directory open now.
    pub fn is_in_use(path: &Path) -> io::Result<bool> {
        let lock = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        // Shared, and given back at once: an agent that starts meanwhile tries again.
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Ok(true),
            other => Ok(other.map(|()| false)?),
        }
    }

    /// For reading only, beside the process that holds the lock.
    pub(super) fn unlocked(path: &Path) -> Self {
        DirectoryDisk { path: path.to_owned(), _lock: None }
    }
}

/// Makes the directory and its parents; the parents' names for them are synced.
fn create(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.is_dir()).collect();
    for directory in missing.iter().rev() {
        let mode = if *directory == path { 0o700 } else { 0o755 };
        match DirBuilder::new().mode(mode).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        if let Some(parent) = directory.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

impl Disk for DirectoryDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > FILE_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path.join(name))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
