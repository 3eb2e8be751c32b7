//! An action: one distribution set for one target, and what became of it.

use super::{Millis, Stamp, Window, java};

/// Characters of one message; longer ones become several.
const MESSAGE_CHARS_MAX: usize = 512;

/// Where an action is; the same words mark the entries of its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Scheduled,
    Running,
    Retrieved,
    WaitForConfirmation,
    Warning,
    Download,
    Downloaded,
    Canceling,
    Canceled,
    CancelRejected,
    Finished,
    Error,
}

impl Status {
    /// As the Management API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Scheduled => "scheduled",
            Status::Running => "running",
            Status::Retrieved => "retrieved",
            Status::WaitForConfirmation => "wait_for_confirmation",
            Status::Warning => "warning",
            Status::Download => "download",
            Status::Downloaded => "downloaded",
            Status::Canceling => "canceling",
            Status::Canceled => "canceled",
            Status::CancelRejected => "cancel_rejected",
            Status::Finished => "finished",
            Status::Error => "error",
        }
    }
}

/// How urgent an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Soft,
    Forced,
    /// Soft until then.
    TimeForced(Millis),
    DownloadOnly,
}

impl Kind {
    /// From the words of the Management API.
    pub fn from_words(word: &str, time: Option<Millis>) -> Option<Self> {
        Some(match word {
            "soft" => Kind::Soft,
            "forced" => Kind::Forced,
            "timeforced" => Kind::TimeForced(time.unwrap_or(0)),
            "downloadonly" => Kind::DownloadOnly,
            _ => return None,
        })
    }

    /// As the Management API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Soft => "soft",
            Kind::Forced => "forced",
            Kind::TimeForced(_) => "timeforced",
            Kind::DownloadOnly => "downloadonly",
        }
    }
}

/// One line of an action's history.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: u64,
    pub status: Status,
    pub messages: Vec<String>,
    /// When the server took it.
    pub reported_at: Millis,
    /// When it happened, as the device says.
    pub timestamp: Millis,
    pub code: Option<i64>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Action {
    pub id: u64,
    pub revision: u32,
    pub target: String,
    pub set: u64,
    pub kind: Kind,
    pub window: Option<Window>,
    pub active: bool,
    pub status: Status,
    pub last_code: Option<i64>,
    pub stamp: Stamp,
    pub history: Vec<Entry>,
    pub rollout: Option<u64>,
}

impl Action {
    pub(super) fn visible(&self) -> (bool, Status, Option<i64>, Kind) {
        (self.active, self.status, self.last_code, self.kind)
    }

    /// Whether somebody asked to stop it, whatever came of that.
    pub fn is_cancel(&self) -> bool {
        matches!(self.status, Status::Canceling | Status::Canceled)
    }

    /// Whether nobody has agreed yet.
    pub fn waits(&self) -> bool {
        self.status == Status::WaitForConfirmation
    }

    fn is_forced(&self, now: Millis) -> bool {
        match self.kind {
            Kind::Forced => true,
            Kind::TimeForced(time) => now >= time,
            Kind::Soft | Kind::DownloadOnly => false,
        }
    }

    /// What a device is told about fetching.
    pub fn download(&self, now: Millis) -> &'static str {
        if self.kind == Kind::DownloadOnly || self.is_forced(now) { "forced" } else { "attempt" }
    }

    /// What a device is told about installing.
    pub fn update(&self, now: Millis) -> &'static str {
        let closed = self.window.as_ref().is_some_and(|w| !w.is_open(now));
        if self.kind == Kind::DownloadOnly || closed { "skip" } else { self.download(now) }
    }

    /// The `c` of the link to a deployment: changes whenever the deployment does.
    pub fn fingerprint(&self, now: Millis) -> i32 {
        let open = self.window.as_ref().is_some_and(|w| w.is_open(now));
        let hit = matches!(self.kind, Kind::TimeForced(time) if now >= time);
        let last = if open {
            1249
        } else if hit {
            1231
        } else {
            1237
        };
        java::chain(java::entity_hash("JpaAction", self.id, self.revision), last)
    }

    /// The newest messages that are not the server's own, newest first.
    pub fn messages_of_others(&self, max: usize) -> Vec<&str> {
        let mut entries: Vec<&Entry> = self.history.iter().collect();
        entries.sort_by_key(|e| std::cmp::Reverse(e.timestamp));
        let messages = entries.iter().flat_map(|e| e.messages.iter());
        messages.filter(|m| !m.starts_with(super::SERVER)).map(String::as_str).take(max).collect()
    }
}

/// A message in pieces that the history can hold.
pub(super) fn pieces(message: &str) -> Vec<String> {
    let chars: Vec<char> = message.chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(MESSAGE_CHARS_MAX).map(|c| c.iter().collect()).collect()
}
