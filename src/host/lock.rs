//! The lock that a supervisor holds for its life.
//!
//! A record lock of `fcntl(2)`: asking who holds it neither takes it nor can be mistaken for holding it, and the
//! kernel names the holder, so that no pid file can be stale. It belongs to the process, not to descriptors that a
//! child inherits; the supervisor opens the file once.

use super::HostError;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Held until dropped or until the process ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; `None` when another process holds it.
    pub(super) fn take(path: &Path) -> Result<Option<Lock>, HostError> {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(HostError::io("opening", path))?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(e) => Err(HostError::io("locking", path)(e.into())),
        }
    }

    /// The process that holds the lock.
    pub(super) fn holder(path: &Path) -> Result<Option<Pid>, HostError> {
        let file = match File::options().write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(HostError::io("opening", path)(e)),
        };
        let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock));
        let lock = lock.map_err(|e| HostError::io("asking for the lock of", path)(e.into()))?;
        match lock.map(|l| l.pid) {
            None => Ok(None),
            Some(Some(pid)) => Ok(Some(pid)),
            Some(None) => {
                let foreign = io::Error::other("held by a process of another pid namespace");
                Err(HostError::io("asking for the lock of", path)(foreign))
            }
        }
    }
}
