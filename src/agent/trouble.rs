//! What keeps the agent from its work, for the log and for `fullmetal status`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use tracing::{error, info, warn};

/// Whom it is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The deployment journal.
    Journal,
    /// The spool of reports.
    Reports,
    /// The peer of this device.
    Peer,
    /// The container runtime.
    Runtime,
    /// The agent's own socket.
    Door,
    /// The system bus.
    Bus,
    /// An operating system that no deployment brought.
    System,
    /// An app that proves itself and cannot be asked how it is.
    Probation,
}

/// All lasting troubles, newest word each. The file lies in memory (`/run`), so that a full disk can be told.
#[derive(Debug)]
pub struct Troubles {
    path: PathBuf,
    open: BTreeMap<Kind, String>,
}

impl Troubles {
    /// None yet; those of a predecessor are forgotten.
    pub fn new(path: PathBuf) -> Self {
        let troubles = Troubles { path, open: BTreeMap::new() };
        troubles.write();
        troubles
    }

    /// Notes that there is trouble, in one line, or that there is none any more.
    pub fn tell(&mut self, kind: Kind, trouble: Option<String>) {
        if self.open.get(&kind) == trouble.as_ref() {
            return;
        }
        match trouble {
            Some(text) => {
                error!(with = ?kind, "{text}");
                self.open.insert(kind, text.replace('\n', " "));
            }
            None => {
                info!(with = ?kind, "the trouble is over");
                self.open.remove(&kind);
            }
        }
        self.write();
    }

    fn write(&self) {
        let text: String = self.open.values().map(|t| format!("{t}\n")).collect();
        let new = self.path.with_extension("new");
        let dir = self.path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = dir.and_then(|()| std::fs::write(&new, text)).and_then(|()| std::fs::rename(&new, &self.path));
        if let Err(error) = written {
            warn!(%error, path = %self.path.display(), "trouble not written for `fullmetal status`");
        }
    }
}
