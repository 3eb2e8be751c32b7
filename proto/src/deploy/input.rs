//! What the agent's adapter tells the machine.

use super::by_hand::Comeback;
use super::os::{LastBoot, OsView, StagedOs};
use super::record::Record;
use crate::wire::announcement::Mode;
use crate::wire::bundle::{PartKind, StartOptions};
use crate::wire::report::ExitStatus;
use crate::{AppName, Digest, Timestamp};
use std::time::Duration;

/// The two clocks at the moment of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Never jumps: intervals are measured with it, [`Deploy::next_wakeup`](super::Deploy::next_wakeup) is on it.
    pub steady: Timestamp,
    /// Max of system clock, build time and last signed time: expiry is judged by it, reports carry it.
    pub trusted: Timestamp,
}

/// Names one piece of work that an effect asks for; its answer carries it back. Answers to work that is no
/// longer wanted are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the adapter tells the machine. After each one drain [`Deploy::poll`](super::Deploy::poll).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// First of all, once: the journal's record, or none on a device where nothing ever happened. What an
    /// earlier run left half done goes on from here.
    Start {
        /// As the journal read it.
        record: Option<Box<Record>>,
        /// What local people say now.
        local: Local,
    },
    /// The disk did not take a record or a report, which is tried again: once, when such trouble begins.
    Unwritten,
    /// A verified announcement: signed by the gateway role, for this fleet. May be handed in as often as it
    /// arrives. The adapter has stored the bundle's envelope under its hash before.
    Announced {
        /// (epoch, counter).
        rank: (u64, u64),
        /// The announcement's end.
        expires: Timestamp,
        /// This device's row, if it has one.
        row: Option<Row>,
    },
    /// The record of [`Effect::Persist`](super::Effect::Persist) is durable; so are all before it.
    Persisted {
        /// The effect's number.
        seq: u64,
    },
    /// Answers [`Effect::Judge`](super::Effect::Judge): everything that signatures and hashes can prove about
    /// the bundle is proven.
    Judged {
        /// The effect's ticket.
        ticket: Ticket,
        /// All parts of the bundle.
        parts: Vec<Candidate>,
        /// Apps that leave the device with it, none of them among the parts.
        removed: Vec<AppName>,
        /// The operating system, where OSTree deployed it and its boot loader can put another one on trial.
        os: Option<OsView>,
    },
    /// Answers [`Effect::CheckSpace`](super::Effect::CheckSpace): it fits.
    Fits {
        /// The effect's ticket.
        ticket: Ticket,
        /// Piece bytes that the fetch will bring, as far as is known.
        bytes: u64,
    },
    /// During [`Effect::Fetch`](super::Effect::Fetch), as often as it likes: how much came since it began.
    FetchProgress {
        /// The effect's ticket.
        ticket: Ticket,
        /// Piece bytes from neighbours.
        bytes_from_peers: u64,
        /// Piece bytes from central.
        bytes_from_central: u64,
    },
    /// Answers [`Effect::Fetch`](super::Effect::Fetch): all objects are in the store, durably.
    Imported {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// Answers [`Effect::Checkout`](super::Effect::Checkout): all parts are checked out, durably.
    CheckedOut {
        /// The effect's ticket.
        ticket: Ticket,
        /// Parts that say in their own files that exit 0 is their success, and not that they stay.
        jobs: Vec<AppName>,
        /// The operating system that was staged.
        os: Option<StagedOs>,
    },
    /// Answers [`Effect::Switch`](super::Effect::Switch): `current` of every part is the new version,
    /// durably, and what is to be started was started.
    Switched {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// Answers [`Effect::Revert`](super::Effect::Revert): every part is as it was before, durably.
    Reverted {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// Answers [`Effect::Revert`](super::Effect::Revert) instead: some parts could not be brought back.
    NotReverted {
        /// The effect's ticket.
        ticket: Ticket,
        /// Those that are not as they were before; all others are.
        apps: Vec<AppName>,
        /// What, where, what to do; in one line.
        reason: String,
    },
    /// Answers [`Effect::Prune`](super::Effect::Prune).
    Pruned {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// Answers any work: it did not succeed.
    Failed {
        /// The effect's ticket.
        ticket: Ticket,
        /// The same work may succeed later: central or a neighbour is out of reach. Otherwise it is final.
        /// A failed switch is always rolled back, whatever this says; of a failed revert nothing is known then.
        retry: bool,
        /// What, where, what to do; in one line.
        reason: String,
    },
    /// What an app does while a new version switches or proves itself. Also that one runs which could not be
    /// brought back and meanwhile was.
    App {
        /// The app.
        name: AppName,
        /// The version that does it; the old one's last words count for nothing.
        commit: Digest,
        /// What it does.
        event: AppEvent,
    },
    /// Answers [`Effect::Os`](super::Effect::Os). Also at the start of the agent, unasked, with a ticket of 0.
    OsDone {
        /// The effect's ticket.
        ticket: Ticket,
        /// How it looks now; `None` where the root is no deployment of OSTree.
        view: Option<OsView>,
        /// After [`OsStep::Look`](super::OsStep::Look): the newest boot before this one of which the journal knows.
        last_boot: Option<LastBoot>,
    },
    /// How the operating system on trial is: by its checks, as an app's.
    Os(AppEvent),
    /// Local people say something else than before.
    Local(Local),
    /// Local root wants the previous version of an app back. The lock, which holds back what the gateway wishes, does
    /// not hold this back. [`DeployError::NoComeback`](super::DeployError::NoComeback) says why it cannot begin.
    ComeBack(Comeback),
    /// Root wants the operating system back that [`Deploy::os_to_come_back`](super::Deploy::os_to_come_back) names. Answered
    /// as [`Input::ComeBack`].
    OsComeBack {
        /// Its place in the order of releases, as its commit says.
        release: Option<u64>,
    },
    /// Root accepts the operating system that runs, which was not deployed here.
    AcceptOs,
    /// Answers [`Effect::Report`](super::Effect::Report): it lies signed and synced in the spool.
    Spooled {
        /// The report's counter.
        counter: u64,
    },
    /// The time of [`Deploy::next_wakeup`](super::Deploy::next_wakeup) has come.
    Wakeup,
}

/// A device's row in an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The deployment system's number for this device and bundle.
    pub action: u64,
    /// SHA-256 of the bundle's envelope.
    pub bundle: Digest,
    /// How urgently.
    pub mode: Mode,
    /// After this the switch must not begin.
    pub valid_until: Option<Timestamp>,
}

/// One part of a judged bundle; what it says comes from the signed bundle and the signed commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Operating system or app.
    pub kind: PartKind,
    /// The app's name.
    pub name: AppName,
    /// For people.
    pub version: String,
    /// The OSTree commit.
    pub commit: Digest,
    /// SHA-256 of the manifest's envelope.
    pub manifest: Digest,
    /// How it is started.
    pub start: StartOptions,
    /// Its place in the order of releases; a foreign commit has none.
    pub release: Option<u64>,
    /// The lowest release that may be installed once this one is proven.
    pub floor: Option<u64>,
    /// How long it is watched; the device's own setting when absent.
    pub probation: Option<Duration>,
    /// It has a health check.
    pub health: bool,
    /// It must say that it is well.
    pub notify: bool,
    /// It is installed although no build key signed it.
    pub unsigned: bool,
}

/// What local people say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// `fullmetal lock`: no switch begins, in any mode.
    pub locked: bool,
    /// An inhibitor is held or a local window is closed: no switch begins in mode `when-idle`.
    pub inhibited: bool,
}

/// What an app does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppEvent {
    /// Its main process runs.
    Running,
    /// Its health check is content.
    Healthy {
        /// When this check began, on the steady clock.
        began: Timestamp,
    },
    /// Its health check is not. Before the first [`AppEvent::Healthy`] it has until the end of the
    /// probation; after it, this is a failure.
    Unhealthy {
        /// What the check says.
        reason: String,
    },
    /// How it is cannot be asked: that is no word of the app. Neither proven nor failed until [`AppEvent::Asked`], but not
    /// for ever.
    Unasked {
        /// What is in the way.
        reason: String,
    },
    /// It can be asked again; what it answered was handed in before.
    Asked,
    /// It says by its notify socket that it is well.
    SaysWell,
    /// It says there that it is not; the first word counts.
    SaysFailed {
        /// In its words.
        reason: String,
    },
    /// Its main process ended.
    Exited {
        /// How.
        status: ExitStatus,
        /// Its last lines.
        log: Vec<String>,
    },
}
