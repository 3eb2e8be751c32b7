//! Files that are whole under their name or not there: temporary, synced, renamed, directory synced.

use super::error::{Doing, PublishError, on};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// How temporary files start; a crashed publish leaves such, the next one removes them.
const PREFIX: &str = ".tmp-";

/// Makes `dir` when missing, its entry in the parent synced.
pub(super) fn make_dir(dir: &Path) -> Result<(), PublishError> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => {
            made.doing(|| on("making", dir))?;
            dir.parent().map_or(Ok(()), sync_dir)
        }
    }
}

/// Removes what a crashed publish left in `dir`; only the holder of the repo's lock may.
pub(super) fn sweep(dir: &Path) -> Result<(), PublishError> {
    for entry in fs::read_dir(dir).doing(|| on("listing", dir))? {
        let entry = entry.doing(|| on("listing", dir))?;
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            fs::remove_file(entry.path()).doing(|| on("removing", &entry.path()))?;
        }
    }
    Ok(())
}

/// A file without its final name yet, in the directory where it will be.
pub(super) fn temporary(dir: &Path) -> Result<NamedTempFile, PublishError> {
    tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir).doing(|| on("making a file in", dir))
}

/// Gives `file` its name, world-readable, unless there is one of that name already, which then stays.
pub(super) fn publish(file: NamedTempFile, path: &Path) -> Result<(), PublishError> {
    file.as_file().set_permissions(Permissions::from_mode(0o644)).doing(|| on("writing", path))?;
    file.as_file().sync_all().doing(|| on("syncing", path))?;
    match file.persist_noclobber(path) {
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => {
            other.map_err(|e| e.error).doing(|| on("writing", path))?;
        }
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// `bytes` as a new file at `path`.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let mut file = temporary(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes).doing(|| on("writing", path))?;
    publish(file, path)
}

fn sync_dir(dir: &Path) -> Result<(), PublishError> {
    File::open(dir).and_then(|d| d.sync_all()).doing(|| on("syncing", dir))
}
