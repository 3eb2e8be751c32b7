//! How past deployments of this device ended: a file of lines, for people. Nothing is decided by it, and that it cannot
//! be written holds nothing up.

use crate::durable::{self, Existing};
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::Outgoing;
use fullmetal_proto::wire::{ExitStatus, Report, ReportState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tracing::warn;

/// How many are kept at least; twice as many lie in the file at most.
const KEPT_MIN: usize = 200;
/// The longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 8 << 20;

/// One deployment that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The counter of its report.
    pub counter: u64,
    /// The deployment system's number; 0 for what root did by hand.
    pub action: u64,
    /// How it ended; an inventory for what root did by hand.
    pub state: ReportState,
    /// When, by the trusted clock.
    pub at: Timestamp,
    /// Apps that it brought and their versions, and `NAME removed`, where that is known.
    #[serde(default)]
    pub brought: Vec<String>,
    /// Why it ended so; empty when all went well.
    #[serde(default)]
    pub reason: String,
    /// How the app that failed ended.
    #[serde(default)]
    pub exit: Option<ExitStatus>,
    /// Piece bytes from neighbours.
    #[serde(default)]
    pub bytes_from_peers: u64,
    /// Piece bytes from central.
    #[serde(default)]
    pub bytes_from_central: u64,
    /// Milliseconds from its first sight to its end.
    #[serde(default)]
    pub elapsed_ms: u64,
}

/// The file, open for writing. One process has it at a time: the agent, which holds the journal.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    /// What is in the file.
    past: BTreeMap<u64, Past>,
}

impl History {
    /// Takes up what is there; ends that a predecessor spooled and did not note are noted.
    pub fn open(path: &Path, ended: Vec<Report>) -> Self {
        let past = read(path).into_iter().map(|past| (past.counter, past)).collect();
        let mut history = History { path: path.to_owned(), past };
        ended.into_iter().map(Past::from).for_each(|past| history.note(past));
        history
    }

    /// Notes an end, durably if the disk takes it; one that is noted already is left as it is.
    pub fn note(&mut self, past: Past) {
        if self.past.contains_key(&past.counter) {
            return;
        }
        self.past.insert(past.counter, past.clone());
        let written = if self.past.len() > 2 * KEPT_MIN { self.shorten() } else { self.append(&past) };
        if let Err(error) = written {
            warn!(path = %self.path.display(), error = format!("{error:#}"), "history not written");
        }
    }

    fn append(&self, past: &Past) -> anyhow::Result<()> {
        let is_new = !self.path.exists();
        let mut file = File::options().create(true).read(true).append(true).open(&self.path)?;
        // A line that was cut by a power cut must not take this one with it.
        durable::append(&mut file, format!("\n{}\n", serde_json::to_string(past)?).as_bytes())?;
        if is_new && let Some(dir) = self.path.parent() {
            durable::sync_dir(dir)?;
        }
        Ok(())
    }

    fn shorten(&mut self) -> anyhow::Result<()> {
        while self.past.len() > KEPT_MIN {
            self.past.pop_first();
        }
        let lines = self.past.values().map(|past| Ok(serde_json::to_string(past)? + "\n"));
        let text: String = lines.collect::<anyhow::Result<_>>()?;
        Ok(durable::write(&self.path, text.as_bytes(), 0o644, Existing::Replaced)?)
    }
}

/// All that is noted at `path`, oldest first. Lines that a power cut damaged are left out.
pub fn read(path: &Path) -> Vec<Past> {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(FILE_LEN_MAX).read_to_end(&mut bytes));
    let lines = bytes.split(|b| *b == b'\n');
    let mut past: Vec<Past> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    past.sort_by_key(|past| past.counter);
    past
}

impl Past {
    /// What a report says that ends something; `None` for others.
    pub fn of(report: &Outgoing, brought: Vec<String>) -> Option<Self> {
        let by_hand = report.state == ReportState::Inventory && !report.cause.reason.is_empty();
        (report.state.is_terminal() || by_hand).then(|| Past {
            counter: report.counter,
            action: report.action,
            state: report.state,
            at: report.at,
            brought,
            reason: report.cause.reason.clone(),
            exit: report.cause.exit,
            bytes_from_peers: report.bytes_from_peers,
            bytes_from_central: report.bytes_from_central,
            elapsed_ms: report.elapsed_ms,
        })
    }
}

impl Past {
    /// Whether what it brought is in force.
    pub fn is_success(&self) -> bool {
        let back_by_hand = self.state == ReportState::Inventory && self.reason.starts_with("rolled back by hand");
        self.state == ReportState::Succeeded || back_by_hand
    }

    /// One word for programs: `succeeded`, `failed` or `withdrawn`.
    pub fn outcome(&self) -> &'static str {
        match self.state {
            ReportState::Withdrawn => "withdrawn",
            _ if self.is_success() => "succeeded",
            _ => "failed",
        }
    }
}

impl From<Report> for Past {
    fn from(report: Report) -> Self {
        Past {
            counter: report.counter,
            action: report.action,
            state: report.state,
            at: report.at,
            brought: Vec::new(),
            reason: report.reason,
            exit: report.exit,
            bytes_from_peers: report.bytes_from_peers,
            bytes_from_central: report.bytes_from_central,
            elapsed_ms: report.elapsed_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn past(counter: u64) -> Past {
        Past {
            counter,
            action: counter * 10,
            state: ReportState::Failed,
            at: Timestamp::from_secs(counter),
            brought: vec!["web 2".into()],
            reason: "did not start".into(),
            exit: Some(ExitStatus::Code(3)),
            bytes_from_peers: 5,
            bytes_from_central: 6,
            elapsed_ms: 7,
        }
    }

    #[test]
    fn an_end_is_noted_once_and_survives_a_restart_and_a_line_cut_by_a_power_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let mut history = History::open(&path, Vec::new());
        history.note(past(1));
        history.note(past(1));
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(br#"{"counter":2,"act"#).unwrap();
        let mut history = History::open(&path, Vec::new());
        history.note(past(1));
        history.note(past(3));
        assert_eq!(read(&path), [past(1), past(3)]);
    }

    #[test]
    fn the_file_stays_within_its_bounds_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let mut history = History::open(&path, Vec::new());
        let last = 2 * KEPT_MIN as u64 + 5;
        (1..=last).for_each(|counter| history.note(past(counter)));
        let kept = read(&path);
        assert!((KEPT_MIN..=2 * KEPT_MIN).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last(), Some(&past(last)));
        assert_eq!(history.past.len(), kept.len());
    }

    #[test]
    fn a_disk_that_takes_nothing_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/history.jsonl");
        let mut history = History::open(&path, Vec::new());
        history.note(past(1));
        assert!(read(&path).is_empty());
    }
}
