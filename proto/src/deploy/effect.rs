//! What the machine asks of the agent's adapter.

use super::input::Ticket;
use super::os::OsStep;
use super::outbox::Outgoing;
use super::record::{Installed, Record};
use crate::wire::report::PartState;
use crate::{AppName, Digest};

/// What the adapter is to do, in this order.
///
/// Every work effect (with a ticket) is idempotent: after a crash it is asked for again, and what is done
/// already is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the record to the journal, durably, then [`Input::Persisted`](super::Input::Persisted). When that
    /// fails it is tried again until it succeeds, or until there is a newer one, which stands for all before: what
    /// relies on it waits, and what runs goes on.
    Persist {
        /// Rises with each.
        seq: u64,
        /// The whole record.
        record: Box<Record>,
    },
    /// Pull the bundle's blobs and verify all that can be: signatures, hashes, hardware. Answered by
    /// [`Input::Judged`](super::Input::Judged) or [`Input::Failed`](super::Input::Failed).
    Judge {
        /// Goes into the answer.
        ticket: Ticket,
        /// The action, for logs.
        action: u64,
        /// The bundle's hash.
        bundle: Digest,
    },
    /// Compare the space that these need with what there is. Answered by [`Input::Fits`](super::Input::Fits)
    /// or [`Input::Failed`](super::Input::Failed) with the figures.
    CheckSpace {
        /// Goes into the answer.
        ticket: Ticket,
        /// The bundle's hash.
        bundle: Digest,
        /// Those of its parts that are not in force.
        moves: Vec<Move>,
        /// The commit of its operating system, if that is not the one that runs.
        os: Option<Digest>,
    },
    /// Fetch and import these. Answered by [`Input::Imported`](super::Input::Imported) or
    /// [`Input::Failed`](super::Input::Failed); [`Input::FetchProgress`](super::Input::FetchProgress) before.
    Fetch {
        /// Goes into the answer.
        ticket: Ticket,
        /// The bundle's hash.
        bundle: Digest,
        /// Those of its parts that are not in force.
        moves: Vec<Move>,
        /// The commit of its operating system, if that is not the one that runs.
        os: Option<Digest>,
    },
    /// Check these out beside what runs. Answered by [`Input::CheckedOut`](super::Input::CheckedOut) or
    /// [`Input::Failed`](super::Input::Failed).
    Checkout {
        /// Goes into the answer.
        ticket: Ticket,
        /// Those of the bundle's parts that are not in force.
        moves: Vec<Move>,
        /// The commit of its operating system, if that is not the one that runs: it is staged, locked.
        os: Option<Digest>,
    },
    /// Bring every part to its new version: stop the old app unless it is the new one already, rename
    /// `current`, start the new one if it is to be started. Of an app that has no new version nothing is left but its
    /// checkouts and its data. One that runs already is left alone, one that
    /// ended since this boot is not started again, unless it is to be started otherwise than before. Answered by [`Input::Switched`](super::Input::Switched) or
    /// [`Input::Failed`](super::Input::Failed), also when the checkout is not there. From then on
    /// [`Input::App`](super::Input::App), beginning with what is true already.
    Switch {
        /// Goes into the answer.
        ticket: Ticket,
        /// In the bundle's order.
        moves: Vec<Move>,
    },
    /// Bring every part back to its old version, or remove it where there was none; parts that never moved
    /// stay as they are. One that fails keeps none of the others back. A version whose checkout is damaged or gone is
    /// checked out again. Answered by [`Input::Reverted`](super::Input::Reverted) or
    /// [`Input::NotReverted`](super::Input::NotReverted).
    Revert {
        /// Goes into the answer.
        ticket: Ticket,
        /// In the reverse of the bundle's order.
        moves: Vec<Move>,
    },
    /// Have this done to the operating system. Answered by [`Input::OsDone`](super::Input::OsDone) or
    /// [`Input::Failed`](super::Input::Failed).
    Os {
        /// Goes into the answer.
        ticket: Ticket,
        /// What.
        step: OsStep,
    },
    /// Reboot. Nothing answers it but [`Input::Failed`](super::Input::Failed), when it is refused.
    Reboot {
        /// Goes into the answer.
        ticket: Ticket,
        /// Whoever inhibits it is overruled.
        force: bool,
    },
    /// Stop working on this ticket; no answer is waited for.
    Cancel {
        /// Of the work that is no longer wanted.
        ticket: Ticket,
    },
    /// Sign the report, put it into the spool, durably, then [`Input::Spooled`](super::Input::Spooled). The
    /// counter names it: one that is in the spool or was sent already is left as it is.
    Report {
        /// Counter and content.
        report: Box<Outgoing>,
        /// What is in force.
        parts: Vec<PartState>,
    },
    /// Remove what is not named here from the store, the checkouts and the kept bundles. Answered by
    /// [`Input::Pruned`](super::Input::Pruned) or [`Input::Failed`](super::Input::Failed). May come before a record:
    /// it takes nothing that an older one needs, so that a full disk can free itself.
    Prune {
        /// Goes into the answer.
        ticket: Ticket,
        /// Commits of apps in force and those before them.
        commits: Vec<Digest>,
        /// The same of the operating system; `None`: nothing of it is touched.
        os: Option<Vec<Digest>>,
        /// Manifests whose frames stay in the peer's cache.
        manifests: Vec<Digest>,
        /// Bundles that are still to be deployed.
        bundles: Vec<Digest>,
    },
    /// Nothing to do: an announcement was not followed. For the log.
    Ignored {
        /// Its (epoch, counter).
        rank: (u64, u64),
        /// Why.
        why: Ignored,
    },
}

/// How one app changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The app.
    pub name: AppName,
    /// What is in force; absent when it is installed for the first time.
    pub old: Option<Installed>,
    /// What is to be; absent when the app leaves the device.
    pub new: Option<Installed>,
}

/// Why an announcement was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is the one that was handled last.
    #[error("it is known")]
    Known,
    /// A newer one was handled: an old one is played back, or a peer is behind.
    #[error("a newer one was seen, epoch {} counter {}: this one is old or played back", highest.0, highest.1)]
    Older {
        /// The newest (epoch, counter) seen.
        highest: (u64, u64),
    },
    /// It has expired, so that its new wish does not start before a newer announcement renews it.
    #[error("it has expired; nothing new starts until the gateway announces again")]
    Expired,
    /// Reports of ended actions wait for the spool; it is looked at again when they are safe.
    #[error("terminal reports wait for the spool: see why it takes none (disk full?)")]
    SpoolStuck,
}
