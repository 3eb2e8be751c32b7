//! Back-ups: the gateway's whole state in one file.
//!
//! A line `fullmetal-gateway-backup 1 <SHA-256 of the rest, in hex>`, then one CBOR map. In it are the snapshot and the
//! spooled reports as they lie on disk. Keys and tokens are not in it, nor the audit log, which is only appended to: any copy
//! of that is a back-up of it.

use crate::disk::{self, Disk, DiskError};
use fullmetal::durable::{self, DurableError, Existing};
use fullmetal_proto::dispatch::{Alarm, State, StateError};
use fullmetal_proto::wire::cbor::{self, CborError};
use fullmetal_proto::wire::{OpenError, Report, open};
use fullmetal_proto::{DeviceId, Digest, FleetId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The longest back-up in bytes.
pub const BACKUP_LEN_MAX: usize = 512 << 20;
/// More than the reports that a gateway spools.
const ITEMS_MAX: usize = 110_000;
/// What a back-up begins with, and the format that this build writes.
const MAGIC: &str = "fullmetal-gateway-backup";
const VERSION: u32 = 1;
/// The longest first line.
const HEAD_LEN_MAX: usize = 128;
/// What the fleet runs is in it: it is for its owner.
const FILE_MODE: u32 = 0o600;
/// Numbers that are passed over after a restore: the lost state may have given them, and a device does none twice.
const NUMBERS_SKIPPED: u64 = 1000;

/// Why there is no back-up, or why it cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The gateway's directory.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The back-up could not be written.
    #[error("{0}")]
    Durable(#[from] DurableError),
    /// No gateway has run here.
    #[error("{path} has no state: no gateway has run here yet", path = .0.display())]
    Nothing(PathBuf),
    /// It could not be read.
    #[error("reading {path}: {source}", path = .path.display())]
    Read {
        /// The back-up.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Too large, to write or to read.
    #[error("it would be over the limit of {BACKUP_LEN_MAX} bytes; let reports be delivered first")]
    TooLong,
    /// Something else.
    #[error("not a back-up of a gateway")]
    Other,
    /// Written by a newer release.
    #[error("written by a newer gateway (format {0}, this one reads {VERSION}); update fullmetal-gateway")]
    Newer(u32),
    /// Bytes were changed or are missing.
    #[error("damaged: its bytes are not those that its first line names; take another back-up")]
    Damaged,
    /// The content makes no sense.
    #[error("damaged: {0}")]
    Shape(#[from] CborError),
    /// The snapshot in it.
    #[error("its state: {0}")]
    State(#[from] StateError),
    /// A report in it.
    #[error("a report in it: {0}")]
    Report(#[from] OpenError),
    /// Of another fleet.
    #[error("it is of fleet {theirs}, this gateway is of fleet {ours}")]
    Fleet {
        /// In the back-up.
        theirs: FleetId,
        /// In the configuration.
        ours: FleetId,
    },
}

/// Everything in a back-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Body {
    fleet: FleetId,
    made: Timestamp,
    state: ByteBuf,
    reports: Vec<ByteBuf>,
}

/// The state of a gateway at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// Whose.
    pub fleet: FleetId,
    /// When it was taken.
    pub made: Timestamp,
    /// The snapshot.
    pub state: State,
    /// The spool.
    reports: Vec<(DeviceId, u64, ByteBuf)>,
}

impl Backup {
    /// Of the directory of a gateway, which may run: the snapshot is read first, since whatever is missing from the spool
    /// after that is a report that was delivered meanwhile, and what is new in it is counted at the restore.
    pub fn take(dir: &Path, fleet: &FleetId, made: Timestamp) -> Result<Self, BackupError> {
        let state = disk::read_state(dir)?.ok_or_else(|| BackupError::Nothing(dir.to_owned()))?;
        let reports = disk::read_spool(dir)?.into_iter().filter_map(|bytes| named(bytes.into()).ok()).collect();
        Ok(Backup { fleet: fleet.clone(), made, state, reports })
    }

    /// Makes the file, or puts it in the place of an older one.
    pub fn write(&self, path: &Path) -> Result<(), BackupError> {
        Ok(durable::write(path, &self.encode()?, FILE_MODE, Existing::Replaced)?)
    }

    /// Reads the file of a gateway of `fleet`.
    pub fn read(path: &Path, fleet: &FleetId) -> Result<Self, BackupError> {
        let err = |source| BackupError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).and_then(|f| f.take(BACKUP_LEN_MAX as u64 + 1).read_to_end(&mut bytes)).map_err(err)?;
        Self::decode(&bytes, fleet)
    }

    /// How many reports are in it.
    pub fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Makes it the state in a gateway's directory. Reports on disk stay: they are signed facts, old or new. The snapshot
    /// is replaced last and in one step; before that, reports which the old one has seen already are to it as if delivered.
    pub fn restore(&self, disk: &Disk) -> Result<(), BackupError> {
        let reports: Vec<_> = self.reports.iter().map(|(d, c, bytes)| (d, *c, bytes.as_slice())).collect();
        disk.spool(&reports)?;
        let mut state = self.state.clone();
        state.alarm = Some(Alarm::Restored);
        state.next_action = state.next_action.saturating_add(NUMBERS_SKIPPED);
        Ok(disk.save_state(&state)?)
    }

    fn encode(&self) -> Result<Vec<u8>, BackupError> {
        let body = cbor::to_vec(&Body {
            fleet: self.fleet.clone(),
            made: self.made,
            state: ByteBuf::from(self.state.encode()),
            reports: self.reports.iter().map(|(_, _, bytes)| bytes.clone()).collect(),
        });
        let mut bytes = format!("{MAGIC} {VERSION} {}\n", Digest::of(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        if bytes.len() > BACKUP_LEN_MAX { Err(BackupError::TooLong) } else { Ok(bytes) }
    }

    fn decode(bytes: &[u8], ours: &FleetId) -> Result<Self, BackupError> {
        if bytes.len() > BACKUP_LEN_MAX {
            return Err(BackupError::TooLong);
        }
        let (digest, body) = head(bytes)?;
        if Digest::of(body) != digest {
            return Err(BackupError::Damaged);
        }
        let body: Body = cbor::from_slice_of_items(body, BACKUP_LEN_MAX, ITEMS_MAX)?;
        if body.fleet != *ours {
            return Err(BackupError::Fleet { theirs: body.fleet, ours: ours.clone() });
        }
        let reports = body.reports.into_iter().map(named).collect::<Result<_, _>>()?;
        Ok(Backup { fleet: body.fleet, made: body.made, state: State::decode(&body.state)?, reports })
    }
}

/// A report with what its file is called by. Signatures were checked before it was spooled.
fn named(bytes: ByteBuf) -> Result<(DeviceId, u64, ByteBuf), BackupError> {
    let report = open::<Report>(&bytes)?.document;
    Ok((report.device, report.counter, bytes))
}

/// Splits off the first line.
fn head(bytes: &[u8]) -> Result<(Digest, &[u8]), BackupError> {
    let end = bytes.iter().take(HEAD_LEN_MAX).position(|b| *b == b'\n').ok_or(BackupError::Other)?;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| BackupError::Other)?;
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(BackupError::Other);
    }
    let version: u32 = words.next().and_then(|w| w.parse().ok()).ok_or(BackupError::Damaged)?;
    if version > VERSION {
        return Err(BackupError::Newer(version));
    }
    if version < VERSION {
        return Err(BackupError::Damaged);
    }
    let digest = words.next().and_then(|w| w.parse().ok()).ok_or(BackupError::Damaged)?;
    Ok((digest, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> FleetId {
        "plant".parse().unwrap()
    }

    fn backup() -> Backup {
        let state = State { rank: (1, 7), next_action: 3, ..State::default() };
        Backup { fleet: fleet(), made: Timestamp::from_secs(1_795_528_440), state, reports: vec![] }
    }

    #[test]
    fn it_comes_back_as_it_was_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        backup().write(&path).unwrap();
        backup().write(&path).unwrap();
        assert_eq!(Backup::read(&path, &fleet()).unwrap(), backup());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let good = backup().encode().unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Backup::decode(&bad, &fleet()).is_err(), "byte {at}");
            assert!(Backup::decode(&good[..at], &fleet()).is_err(), "cut at {at}");
        }
        assert!(Backup::decode(&[good.as_slice(), b"x"].concat(), &fleet()).is_err());
    }

    #[test]
    fn what_cannot_be_restored_is_named() {
        let good = backup().encode().unwrap();
        let text = |bytes: &[u8], fleet: &str| Backup::decode(bytes, &fleet.parse().unwrap()).unwrap_err().to_string();
        assert!(text(&good, "other").contains("of fleet plant, this gateway is of fleet other"));
        assert!(text(b"fullmetal-gateway-backup 2 what comes then\n", "plant").contains("newer gateway (format 2"));
        assert!(text(b"\x7fELF", "plant").contains("not a back-up"));
        let many = cbor::to_vec(&vec![0u8; ITEMS_MAX + 2]);
        let head = format!("{MAGIC} 1 {}\n", Digest::of(&many));
        assert!(text(&[head.as_bytes(), &many].concat(), "plant").contains("over the limit"));
    }

    #[test]
    fn a_restored_state_listens_first_and_gives_no_number_twice() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        backup().restore(&disk).unwrap();
        let state = disk.load_state().unwrap();
        assert_eq!((state.rank, state.alarm, state.next_action), ((1, 7), Some(Alarm::Restored), 1003));
    }
}
