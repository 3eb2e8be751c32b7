//! What the gateway keeps below `var/lib/fullmetal/gateway/`: `state`, `spool/<device>@<counter>`, `lock`; `manifests/` is
//! [`crate::manifests`]'s.
//!
//! Every file is written beside its place, synced, renamed, and its directory synced: under its name it is
//! either absent or whole.

use fullmetal::durable::{self, DurableError, Existing, NewFile};
use fullmetal_proto::DeviceId;
use fullmetal_proto::dispatch::{State, StateError};
use fullmetal_proto::wire::{Report, open};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Nothing in them is secret: a person without rights may ask for the status of a gateway that does not run.
const FILE_MODE: u32 = 0o644;

/// What can go wrong with the gateway's files.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("{action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file could not be made durable.
    #[error("{0}")]
    Durable(#[from] DurableError),
    /// The state cannot be read.
    #[error("{path}: {source}; restore it from a backup, or move it away to learn anew from the fleet", path = .path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// Why.
        source: StateError,
    },
    /// Another gateway runs on the same directory.
    #[error("another gateway runs on {path}; only one may", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// The gateway's directory, held by one process.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    _lock: File,
}

impl Disk {
    /// Takes the directory, making it when it is not there.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        let spool = dir.join("spool");
        durable::make_dir(&spool, 0o755)?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(io("opening", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                durable::sweep(dir)?;
                durable::sweep(&spool)?;
                Ok(Disk { dir: dir.to_owned(), _lock: lock })
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(DiskError::Locked { path: dir.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(io("locking", &path)(source)),
        }
    }

    /// The state of the last run; a new one when there was none.
    pub fn load_state(&self) -> Result<State, DiskError> {
        Ok(read_state(&self.dir)?.unwrap_or_default())
    }

    /// Makes the state durable.
    pub fn save_state(&self, state: &State) -> Result<(), DiskError> {
        Ok(durable::write(&self.dir.join("state"), &state.encode(), FILE_MODE, Existing::Replaced)?)
    }

    /// Makes reports durable: device, counter, envelope. However many they are, their directory is synced once.
    pub fn spool(&self, reports: &[(&DeviceId, u64, &[u8])]) -> Result<(), DiskError> {
        let dir = self.dir.join("spool");
        for (device, counter, envelope) in reports {
            let mut new = NewFile::in_dir(&dir)?;
            let path = self.spool_path(device, *counter);
            new.file().write_all(envelope).map_err(io("writing", &path))?;
            new.name(&path, FILE_MODE, Existing::Replaced)?;
        }
        if !reports.is_empty() {
            durable::sync_dir(&dir)?;
        }
        Ok(())
    }

    /// Forgets a report. That it is gone need not be durable.
    pub fn unspool(&self, device: &DeviceId, counter: u64) -> Result<(), DiskError> {
        let path = self.spool_path(device, counter);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("removing", &path)(e)),
            _ => Ok(()),
        }
    }

    /// The reports on disk, whose signatures were checked before they got there.
    pub fn spooled(&self) -> Result<Vec<Report>, DiskError> {
        let dir = self.dir.join("spool");
        let mut reports = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(io("reading", &dir))? {
            let path = entry.map_err(io("reading", &dir))?.path();
            let bytes = std::fs::read(&path).map_err(io("reading", &path))?;
            match open::<Report>(&bytes) {
                Ok(opened) => reports.push(opened.document),
                Err(error) => tracing::error!(path = %path.display(), %error, "a spooled report cannot be read"),
            }
        }
        reports.sort_by(|a, b| (&a.device, a.counter).cmp(&(&b.device, b.counter)));
        Ok(reports)
    }

    fn spool_path(&self, device: &DeviceId, counter: u64) -> PathBuf {
        self.dir.join("spool").join(format!("{device}@{counter}"))
    }
}

/// The state in a gateway's directory, without taking it; `None` before the first.
pub fn read_state(dir: &Path) -> Result<Option<State>, DiskError> {
    let path = dir.join("state");
    match std::fs::read(&path) {
        Ok(bytes) => State::decode(&bytes).map(Some).map_err(|source| DiskError::State { path, source }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io("reading", &path)(e)),
    }
}

/// The reports in a gateway's directory, without taking it; what is being written or goes meanwhile is left out.
pub fn read_spool(dir: &Path) -> Result<Vec<Vec<u8>>, DiskError> {
    let dir = dir.join("spool");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(io("reading", &dir))? {
        let entry = entry.map_err(io("reading", &dir))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    let read = paths.iter().map(|path| (path, std::fs::read(path)));
    let kept = read.filter(|(_, bytes)| !bytes.as_ref().is_err_and(gone));
    kept.map(|(path, bytes)| bytes.map_err(io("reading", path))).collect()
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> DiskError + use<'a> {
    move |source| DiskError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_comes_back_and_a_half_written_one_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        assert_eq!(disk.load_state().unwrap(), State::default());
        let state = State { next_action: 7, ..State::default() };
        disk.save_state(&state).unwrap();
        std::fs::write(dir.path().join(".tmp-1"), b"torn").unwrap();
        drop(disk);
        let disk = Disk::open(dir.path()).unwrap();
        assert_eq!(disk.load_state().unwrap(), state);
        assert!(!dir.path().join(".tmp-1").exists());
    }

    #[test]
    fn reports_that_come_together_are_each_in_a_file_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let (one, two) = ("press-1".parse().unwrap(), "press-2".parse().unwrap());
        disk.spool(&[(&one, 1, b"first"), (&two, 1, b"second"), (&one, 2, b"third")]).unwrap();
        let spool = dir.path().join("spool");
        let read = |name: &str| String::from_utf8(std::fs::read(spool.join(name)).unwrap()).unwrap();
        assert_eq!(["press-1@1", "press-2@1", "press-1@2"].map(read), ["first", "second", "third"]);
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 3);
    }

    #[test]
    fn a_damaged_state_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("state"), b"nonsense").unwrap();
        let message = disk.load_state().unwrap_err().to_string();
        assert!(message.contains("/state: not a gateway state") && message.contains("backup"), "{message}");
    }

    #[test]
    fn a_directory_has_one_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let first = Disk::open(dir.path()).unwrap();
        assert!(matches!(Disk::open(dir.path()), Err(DiskError::Locked { .. })));
        drop(first);
        Disk::open(dir.path()).unwrap();
    }
}
