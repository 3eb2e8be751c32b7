//! The number of the newest start or stop of an app.
//!
//! An agent may be killed between spawning a supervisor and seeing it take its lock. Its successor raises the number
//! before it looks at the lock, and a supervisor reads it after it took the lock: either the successor finds that
//! supervisor, or the supervisor finds that its start was called off.

use super::{HostError, Layout};
use std::fs;
use std::io::{self, ErrorKind};

/// The number; 0 before the first start.
pub(super) fn read(layout: &Layout) -> Result<u64, HostError> {
    let path = layout.generation();
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| HostError::io("reading", &path)(io::Error::other("not a number"))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(HostError::io("reading", &path)(e)),
    }
}

/// Raises the number and returns it.
pub(super) fn next(layout: &Layout) -> Result<u64, HostError> {
    let (path, next) = (layout.generation(), read(layout)? + 1);
    let temporary = path.with_extension("new");
    fs::write(&temporary, next.to_string()).map_err(HostError::io("writing", &temporary))?;
    fs::rename(&temporary, &path).map_err(HostError::io("replacing", &path))?;
    Ok(next)
}
