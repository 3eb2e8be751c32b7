//! The durable record of a deployment.
//!
//! One file holds the newest [`Record`], whole: it is written beside the old one, synced, renamed over it, and
//! the directory is synced. After a power cut at any point the journal holds the old or the new record, and
//! the new one once [`Journal::save`] has returned. The file is `FMRECORD`, the SHA-256 of the rest, the
//! record's CBOR; this frame is frozen like version 1 of the record itself.

mod directory;
mod memory;
#[cfg(test)]
mod tests;

pub use directory::DirectoryDisk;
pub use memory::{MemoryDisk, Survivors};

use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Record, RecordError};
use std::io;
use std::path::{Path, PathBuf};

/// The file that holds the record.
pub const RECORD_NAME: &str = "record";
/// The file that the next record is written to.
pub const NEXT_NAME: &str = "record.new";
/// No file in the journal is longer: a newer agent's record may be longer than ours.
pub const FILE_LEN_MAX: usize = 128 << 10;
const MAGIC: &[u8; 8] = b"FMRECORD";
const HEADER_LEN: usize = MAGIC.len() + 32;

/// A directory of a few small files on which the order of durable changes is known.
///
/// Everything but [`Disk::read`] may fail half done; what was synced before stays.
pub trait Disk {
    /// The file's bytes, or none when there is no such file. Longer than [`FILE_LEN_MAX`] is an error.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Creates the file or replaces its content. Neither need survive a power cut.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's content durable, not its name.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Gives `from` the name `to`, in one step, in place of what had it. Need not survive a power cut.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes all names durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// Why the journal cannot be read or written. Apps go on in every case; nothing new may be deployed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk did not do what it was asked for.
    #[error("{action} {}: {source}; run as root; see whether the disk is full, read-only or failing", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent has it open.
    #[error(
        "journal {} is in use by another agent; stop that one first (`systemctl stop fullmetal-agent`)",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file's content is not what was written.
    #[error(
        "journal {} is damaged: {problem}; apps go on as they are, nothing new is deployed. Check the disk; to \
         begin anew move the file away and restart the agent, which says what that takes",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The content is sound, but not for this agent.
    #[error("{}: {source}", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: RecordError,
    },
}

/// Keeps one record on a disk.
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    path: PathBuf,
}

impl Journal<DirectoryDisk> {
    /// Opens the journal in directory `path` for this process alone; makes the directory when it is missing.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Journal { disk: DirectoryDisk::open(path)?, path: path.to_owned() })
    }
}

/// The record in directory `path`, for a command that only looks; an agent may have it open.
pub fn peek(path: &Path) -> Result<Option<Record>, JournalError> {
    Journal { disk: DirectoryDisk::unlocked(path), path: path.to_owned() }.load()
}

impl<D: Disk> Journal<D> {
    /// A journal on any disk; `path` is only for messages.
    pub fn on(disk: D, path: &Path) -> Self {
        Journal { disk, path: path.to_owned() }
    }

    /// The newest record, or none where nothing was ever saved.
    pub fn load(&self) -> Result<Option<Record>, JournalError> {
        let path = self.path.join(RECORD_NAME);
        match self.disk.read(RECORD_NAME) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => decode(&bytes, path).map(Some),
            Err(source) => Err(JournalError::Disk { action: "reading", path, source }),
        }
    }

    /// Puts `record` in the place of the one before. When it returns, the record is durable.
    pub fn save(&mut self, record: &Record) -> Result<(), JournalError> {
        let (next, path) = (self.path.join(NEXT_NAME), self.path.join(RECORD_NAME));
        let bytes = encode(record).map_err(|source| JournalError::Record { path: path.clone(), source })?;
        let disk = |action, path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Disk { action, path, source }
        };
        self.disk.write(NEXT_NAME, &bytes).map_err(disk("writing", &next))?;
        self.disk.sync(NEXT_NAME).map_err(disk("syncing", &next))?;
        self.disk.rename(NEXT_NAME, RECORD_NAME).map_err(disk("replacing", &path))?;
        self.disk.sync_names().map_err(disk("syncing", &self.path))
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, RecordError> {
    let body = record.encode()?;
    Ok([MAGIC.as_slice(), Digest::of(&body).as_bytes(), &body].concat())
}

fn decode(bytes: &[u8], path: PathBuf) -> Result<Record, JournalError> {
    let damaged = |path, problem: &str| Err(JournalError::Damaged { path, problem: problem.into() });
    let Some((header, body)) = bytes.split_at_checked(HEADER_LEN) else {
        return damaged(path, "it is too short");
    };
    if !header.starts_with(MAGIC) {
        return damaged(path, "it does not begin like a journal");
    }
    if header[MAGIC.len()..] != *Digest::of(body).as_bytes() {
        return damaged(path, "its checksum does not match");
    }
    match Record::decode(body) {
        Ok(record) => Ok(record),
        Err(source @ RecordError::UnknownVersion { .. }) => Err(JournalError::Record { path, source }),
        Err(other) => damaged(path, &other.to_string()),
    }
}
