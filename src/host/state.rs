//! The record that a supervisor keeps for whoever asks: `state.json`.

use super::{App, AppStatus, HostError, Phase};
use crate::identity::system_time;
use fullmetal_proto::wire::report::ExitStatus;
use fullmetal_proto::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use tracing::warn;

/// Written whole under a temporary name and renamed; it lies in memory, so nothing is synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) commit: Digest,
    pub(super) generation: u64,
    /// The process that wrote it.
    pub(super) supervisor: i32,
    pub(super) job: bool,
    pub(super) phase: Phase,
    pub(super) since_ms: u64,
    pub(super) restarts: u32,
    pub(super) last_exit: Option<ExitStatus>,
    pub(super) log: Vec<String>,
}

impl State {
    /// Of an app that is about to be started by the process `supervisor`.
    pub(super) fn new(app: &App, generation: u64, supervisor: i32) -> Self {
        State {
            commit: app.commit,
            generation,
            supervisor,
            job: app.job,
            phase: Phase::Starting,
            since_ms: 0,
            restarts: 0,
            last_exit: None,
            log: Vec::new(),
        }
    }
    /// The record at `path`; one that cannot be understood is as good as none.
    pub(super) fn read(path: &Path) -> Result<Option<State>, HostError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(HostError::io("reading", path)(e)),
        };
        let parsed = serde_json::from_slice(&bytes);
        if let Err(error) = &parsed {
            warn!(path = %path.display(), %error, "state record ignored");
        }
        Ok(parsed.ok())
    }

    /// Replaces the record at `path`.
    pub(super) fn write(&self, path: &Path) -> Result<(), HostError> {
        let temporary = path.with_extension("json.new");
        let bytes = serde_json::to_vec(self).map_err(io::Error::from).map_err(HostError::io("encoding", path))?;
        fs::write(&temporary, bytes).map_err(HostError::io("writing", &temporary))?;
        fs::rename(&temporary, path).map_err(HostError::io("replacing", path))
    }

    /// Enters a phase now.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since_ms = system_time().as_millis();
    }

    /// Whether it is a job that has done its work.
    pub(super) fn done(&self) -> bool {
        self.job && self.phase == Phase::Exited && self.last_exit == Some(ExitStatus::Code(0))
    }

    /// What it says about the app, given whether its supervisor lives.
    pub(super) fn status(self, supervised: bool) -> AppStatus {
        let ended = self.phase == Phase::Stopped || self.done();
        AppStatus {
            phase: if supervised || ended { self.phase } else { Phase::Lost },
            commit: self.commit,
            job: self.job,
            generation: self.generation,
            since: Timestamp::from_millis(self.since_ms),
            restarts: self.restarts,
            last_exit: self.last_exit,
            log: self.log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: Phase, job: bool, last_exit: Option<ExitStatus>) -> State {
        let (commit, log) = (Digest::of(b"c"), vec!["\"quoted\"".to_owned()]);
        State { commit, generation: 3, supervisor: 7, job, phase, since_ms: 5, restarts: 2, last_exit, log }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert!(State::read(&path).unwrap().is_none());
        let written = state(Phase::Exited, false, Some(ExitStatus::Signal(9)));
        written.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(written));
        fs::write(&path, b"{").unwrap();
        assert_eq!(State::read(&path).unwrap(), None);
    }

    #[test]
    fn without_its_supervisor_an_app_is_lost_unless_it_had_ended() {
        let phase = |s: State, supervised| s.status(supervised).phase;
        assert_eq!(phase(state(Phase::Running, false, None), true), Phase::Running);
        assert_eq!(phase(state(Phase::Running, false, None), false), Phase::Lost);
        assert_eq!(phase(state(Phase::Stopped, false, None), false), Phase::Stopped);
        assert_eq!(phase(state(Phase::Exited, true, Some(ExitStatus::Code(0))), false), Phase::Exited);
        assert_eq!(phase(state(Phase::Exited, true, Some(ExitStatus::Code(1))), false), Phase::Lost);
        assert_eq!(phase(state(Phase::Exited, false, Some(ExitStatus::Code(0))), false), Phase::Lost);
    }
}
