//! What the supervisor tells about the app, as it goes.

use super::super::Phase;
use super::super::state::State;
use super::super::tail::Tail;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// New lines are recorded at most this often.
const RECORD_MS: u64 = 250;
/// How long the last words of an app that ended are waited for.
const LAST_WORDS_MS_MAX: u64 = 500;

/// Keeps the record on disk up to date.
pub(super) struct Recorder {
    pub(super) path: PathBuf,
    pub(super) state: State,
    pub(super) tail: Tail,
    /// When lines that are not recorded yet are to be.
    pub(super) due: Option<Instant>,
}

impl Recorder {
    pub(super) fn enter(&mut self, phase: Phase) {
        self.state.enter(phase);
        self.record();
    }

    pub(super) fn heard(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
        self.due = self.due.or_else(|| Some(Instant::now() + Duration::from_millis(RECORD_MS)));
    }

    /// Adds a line of our own to the app's.
    pub(super) fn say(&mut self, text: &str) {
        self.tail.line(&format!("fullmetal: {text}"));
    }

    /// A full disk must not take the app down with the record of it.
    pub(super) fn record(&mut self) {
        self.due = None;
        self.state.log = self.tail.lines();
        if let Err(error) = self.state.write(&self.path) {
            warn!(%error, "state not recorded");
        }
    }

    pub(super) async fn last_words(&mut self, output: &mut Option<pipe::Receiver>) {
        let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS_MAX);
        let mut buffer = [0; 4096];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|_| output.is_some()) {
            match timeout(left, read_some(output, &mut buffer)).await {
                Ok(count @ 1..) => self.tail.push(&buffer[..count]),
                Ok(0) | Err(_) => break,
            }
        }
        self.tail.end();
    }
}

/// Bytes read, 0 at the end of the stream; never ready without one.
pub(super) async fn read_some(output: &mut Option<pipe::Receiver>, buffer: &mut [u8]) -> usize {
    match output {
        Some(output) => output.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}
