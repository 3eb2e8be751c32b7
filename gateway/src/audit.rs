//! The audit log: one JSON object a line, only ever appended to. Decision, rows, reports: who was told what
//! when, and what came of it.
//!
//! The core may hand out an entry or a report again after a crash; what the last part of the log already
//! has is not written twice. What people do at the gateway itself (a confirmation, a restore) has a line too.
//! A line that a power cut tore is cut off at the next start.

use fullmetal::durable::sync_dir;
use fullmetal_proto::dispatch::Entry;
use fullmetal_proto::wire::Report;
use fullmetal_proto::{DeviceId, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Its name in the gateway's directory.
const FILE: &str = "audit.jsonl";

/// How much of the log's end is searched for what is there already.
const TAIL_LEN: u64 = 8 << 20;

/// Lines that are remembered, for what comes again: more than the reports that a gateway spools.
const KEYS_MAX: usize = 200_000;

/// The log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("audit log {path}: {source}", path = .path.display())]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Entry(u64),
    Report(DeviceId, u64),
}

/// The open log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    there: BTreeSet<Key>,
    /// The same in the order of their lines.
    order: VecDeque<Key>,
    /// Lines were written that may not be on disk.
    unsynced: bool,
}

impl Audit {
    /// Opens the log in the gateway's directory, making it when it is not there.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        let path = dir.join(FILE);
        let err = |source| AuditError { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(err)?;
        sync_dir(dir).map_err(|e| err(e.source))?;
        let order = VecDeque::from(mend(&mut file).map_err(err)?);
        let there = order.iter().cloned().collect();
        Ok(Audit { path, file, there, order, unsynced: false })
    }

    /// Writes an entry unless it is there; durable after [`Audit::sync`].
    pub fn entry(&mut self, entry: &Entry) -> Result<(), AuditError> {
        let line = json!({ "at": entry.at.to_string(), "entry": entry.id, "event": entry.event });
        self.append_once(Key::Entry(entry.id), &line)
    }

    /// Writes a report unless it is there; durable after [`Audit::sync`].
    pub fn report(&mut self, at: Timestamp, report: &Report) -> Result<(), AuditError> {
        let mut body = serde_json::to_value(report).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("certificate");
        }
        let line = json!({ "at": at.to_string(), "report": body });
        self.append_once(Key::Report(report.device.clone(), report.counter), &line)
    }

    /// The number of the next entry, as far as the last part of the log tells: a state that was lost may have used more
    /// numbers than the one in its place knows of.
    pub fn next_entry(&self) -> u64 {
        match self.there.range(..=Key::Entry(u64::MAX)).next_back() {
            Some(Key::Entry(id)) => id.saturating_add(1),
            _ => 1,
        }
    }

    /// Writes what a person did at the gateway, under its name; durable when this returns.
    pub fn deed(&mut self, at: Timestamp, name: &str, what: Value) -> Result<(), AuditError> {
        self.append(&json!({ "at": at.to_string(), name: what }))?;
        self.sync()
    }

    fn append_once(&mut self, key: Key, line: &Value) -> Result<(), AuditError> {
        if self.there.contains(&key) {
            return Ok(());
        }
        self.append(line)?;
        self.there.insert(key.clone());
        self.order.push_back(key);
        if self.order.len() > KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.there.remove(&oldest);
        }
        Ok(())
    }

    fn append(&mut self, line: &Value) -> Result<(), AuditError> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|source| AuditError { path: self.path.clone(), source })?;
        self.unsynced = true;
        Ok(())
    }

    /// Makes durable what was written.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        if std::mem::take(&mut self.unsynced) {
            self.file.sync_data().map_err(|source| AuditError { path: self.path.clone(), source })?;
        }
        Ok(())
    }
}

/// Cuts off a torn last line; gives the keys of the last lines.
fn mend(file: &mut File) -> io::Result<Vec<Key>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_LEN);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL_LEN).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        tracing::warn!(
            bytes = tail.len() - whole,
            "the audit log ends with a torn line, which is cut off and written anew"
        );
        file.set_len(start + whole as u64)?;
    }
    Ok(tail[..whole].split(|b| *b == b'\n').filter_map(key_of).collect())
}

fn key_of(line: &[u8]) -> Option<Key> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if let Some(id) = value.get("entry").and_then(Value::as_u64) {
        return Some(Key::Entry(id));
    }
    let report = value.get("report")?;
    let device = report.get("device")?.as_str()?.parse().ok()?;
    Some(Key::Report(device, report.get("counter")?.as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::dispatch::Event;

    fn entry(id: u64) -> Entry {
        Entry { id, at: Timestamp::from_secs(1_795_528_440), event: Event::Withdrawn { action: 3 } }
    }

    #[test]
    fn a_line_that_comes_again_after_a_crash_is_not_doubled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        Audit::open(dir.path()).unwrap().entry(&entry(1)).unwrap();
        let mut again = Audit::open(dir.path()).unwrap();
        again.entry(&entry(1)).unwrap();
        again.entry(&entry(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"at":"2026-11-24T13:54:00Z","entry":1,"event":{"withdrawn":{"action":3}}}"#
        );
    }

    #[test]
    fn a_torn_line_is_cut_off_and_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        Audit::open(dir.path()).unwrap().entry(&entry(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at\":\"2026-11-24T13:5").unwrap();
        let mut again = Audit::open(dir.path()).unwrap();
        again.entry(&entry(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
