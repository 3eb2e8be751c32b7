//! What a power cut takes with it and a kill does not: bytes that were written and never synced.
//!
//! Only fsync(2) and fdatasync(2) count as syncing.

use super::call::Call;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file, whatever its name; numbers of inodes are used again, so the time of birth belongs to it.
type Inode = (u64, u64, Option<SystemTime>);

/// How long the files below a directory are on disk.
#[derive(Debug)]
pub(super) struct Synced {
    dir: PathBuf,
    lengths: BTreeMap<Inode, u64>,
}

impl Synced {
    /// What lies in `dir` now is on disk.
    pub(super) fn below(dir: &Path) -> Self {
        let lengths = files(dir).iter().map(|(_, meta)| (inode(meta), meta.len())).collect();
        Synced { dir: dir.to_owned(), lengths }
    }

    /// A call has ended.
    pub(super) fn ends(&mut self, call: &Call) {
        let file = call.synced().and_then(|descriptor| std::fs::metadata(descriptor).ok());
        if let Some(meta) = file.filter(Metadata::is_file) {
            self.lengths.insert(inode(&meta), meta.len());
        }
    }

    /// Takes from each file at least a byte of what was not synced, and says so; `draw` says how much stays.
    pub(super) fn tear(&self, draw: u64) -> anyhow::Result<()> {
        for (path, meta) in files(&self.dir) {
            let synced = self.lengths.get(&inode(&meta)).copied().unwrap_or(0);
            if let Some(unsynced) = meta.len().checked_sub(synced).filter(|bytes| *bytes > 0) {
                let file = File::options().write(true).open(&path);
                let (length, stays) = (meta.len(), synced + draw % unsynced);
                file.and_then(|f| f.set_len(stays)).with_context(|| format!("tearing {}", path.display()))?;
                eprintln!("torn {}: {synced} of {length} bytes were synced, {stays} stay", path.display());
            }
        }
        Ok(())
    }
}

fn inode(meta: &Metadata) -> Inode {
    (meta.dev(), meta.ino(), meta.created().ok())
}

/// The regular files below a directory.
fn files(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let (mut found, mut queue) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => queue.push(entry.path()),
                Ok(meta) if meta.is_file() => found.push((entry.path(), meta)),
                _ => {}
            }
        }
    }
    found
}
