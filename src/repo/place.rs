//! A directory that is whole or not there.

use super::StoreError;
use rustix::fs::{Mode, OFlags, RenameFlags};
use std::fs;
use std::io;
use std::path::Path;

/// How the directories under construction begin; they are hidden and swept by the next checkout beside them.
const PREFIX: &str = ".checkout-";

/// Lets `build` make a directory and moves it, synced, to `into`. Nothing happens when `into` exists.
pub(super) fn place(into: &Path, build: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let (Some(parent), Some(name)) = (into.parent(), into.file_name()) else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(StoreError::io("checking out to", into, source));
    };
    if fs::symlink_metadata(into).is_ok() {
        return Ok(());
    }
    fs::create_dir_all(parent).map_err(|e| StoreError::io("creating", parent, e))?;
    sweep(parent)?;
    let mut temporary = std::ffi::OsString::from(PREFIX);
    temporary.push(name);
    let temporary = parent.join(temporary);
    if let Err(error) = build(&temporary) {
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    publish(parent, &temporary, into).map_err(|e| StoreError::io("moving a checkout to", into, e))
}

/// Makes `from` durable, renames it to `to` and makes that durable; both are in `parent`.
pub(super) fn publish(parent: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let directory = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::syncfs(&directory)?;
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE)?;
    rustix::fs::fsync(&directory)?;
    Ok(())
}

fn sweep(parent: &Path) -> Result<(), StoreError> {
    let sweeping = |e| StoreError::io("sweeping unfinished checkouts in", parent, e);
    for entry in fs::read_dir(parent).map_err(sweeping)? {
        let entry = entry.map_err(sweeping)?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(sweeping)?;
        }
    }
    Ok(())
}
