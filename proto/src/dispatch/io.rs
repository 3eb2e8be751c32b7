//! What goes into and comes out of the gateway's core.

use super::alarm::Alarm;
use super::state::{Entry, State};
use crate::wire::{Announcement, Bundle, Mode, Part, PartKind, Proof, Report, StartOptions};
use crate::{AppName, DeviceId, Digest, FleetId, RefName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the core is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which fleet.
    pub fleet: FleetId,
    /// Generation of the gateway role in the trust file.
    pub epoch: u64,
    /// How long an announcement holds; it is renewed at half of it.
    pub expiry: Duration,
    /// How long to listen for a newer announcement, once the peer is there, before acting.
    pub settle: Duration,
    /// How long to gather wishes into one announcement.
    pub gather: Duration,
    /// Devices that are known without having been heard.
    pub devices: BTreeSet<DeviceId>,
}

impl Config {
    /// The defaults: 30 days, 5 s, 200 ms.
    pub fn new(fleet: FleetId, epoch: u64) -> Self {
        let (expiry, settle) = (Duration::from_secs(30 * 86_400), Duration::from_secs(5));
        Config { fleet, epoch, expiry, settle, gather: Duration::from_millis(200), devices: BTreeSet::new() }
    }
}

/// The ticket of who waits for no answer, as a deployment system that looks again by itself: none is given.
pub const NOBODY: u64 = 0;

/// Whom a wish is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// Every device that the gateway knows when it takes the wish.
    All,
    /// These.
    Named(BTreeSet<DeviceId>),
}

/// One part as a person or deployment system names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartWish {
    /// Operating system or app.
    #[serde(default)]
    pub kind: PartKind,
    /// The ref.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// The commit; absent: the ref's commit at central when the bundle is made.
    pub commit: Option<Digest>,
    /// The app's name; absent: the commit's, else the ref's middle word.
    pub name: Option<AppName>,
    /// For people; absent: the commit's.
    pub version: Option<String>,
    /// How it is started.
    pub start: StartOptions,
    /// How it proves itself.
    #[serde(default)]
    pub proof: Proof,
}

/// A decision: what, where, how urgently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The deployment system's own number; absent: the core gives one.
    pub action: Option<u64>,
    /// Whom it is for.
    pub targets: Targets,
    /// How urgently. `Withdraw` is [`Input::Withdraw`] instead.
    pub mode: Mode,
    /// After this the switch must not begin.
    pub valid_until: Option<Timestamp>,
    /// The parts of its bundle.
    pub parts: Vec<PartWish>,
    /// Apps that leave the devices, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<AppName>,
}

/// A verified announcement that somebody else has.
#[derive(Clone, Debug)]
pub struct Newest {
    /// SHA-256 of its body, which says what it says whoever signed it.
    pub content: Digest,
    /// The announcement.
    pub announcement: Box<Announcement>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody decided something. Answered by [`Effect::Answer`] with the ticket.
    Request {
        /// The asker's mark, returned in the answer, or [`NOBODY`]; not durable.
        ticket: u64,
        /// The decision.
        wish: Wish,
    },
    /// The bundle of an action is made and verified.
    Resolved {
        /// Which action.
        action: u64,
        /// Its bundle.
        bundle: Box<Bundle>,
    },
    /// The bundle of an action cannot be made.
    Unresolved {
        /// Which action.
        action: u64,
        /// Why, for a person.
        reason: String,
        /// Whether it may work later (central out of reach); otherwise the action is refused.
        retry: bool,
    },
    /// Somebody takes an action back. Answered by [`Effect::Answer`].
    Withdraw {
        /// The asker's mark, or [`NOBODY`].
        ticket: u64,
        /// Which action.
        action: u64,
    },
    /// A person has made sure that this is the one gateway: the alarm ends, learning starts again.
    Resume {
        /// The asker's mark.
        ticket: u64,
    },
    /// The peer has this announcement; its signature and fleet were verified.
    Highest(Newest),
    /// A newer trust file names this generation of the gateway role.
    Epoch(u64),
    /// The peer is there.
    Connected,
    /// The peer is gone.
    Disconnected,
    /// Devices that the fleet heard, with the seconds since.
    Heard(Vec<(DeviceId, u32)>),
    /// A report whose certificate, signature and fleet were verified, with its envelope.
    Report {
        /// The document.
        report: Box<Report>,
        /// The exact bytes.
        envelope: Vec<u8>,
    },
    /// The report's envelope is on disk.
    Spooled {
        /// Whose.
        device: DeviceId,
        /// Which.
        counter: u64,
    },
    /// The consumer of feedback has the report for good.
    Delivered {
        /// Whose.
        device: DeviceId,
        /// Which.
        counter: u64,
    },
    /// The audit line is on disk.
    Audited {
        /// [`Entry::id`].
        id: u64,
    },
    /// The state of that number, or a later one, is on disk.
    Persisted(u64),
    /// [`super::Dispatch::next_wakeup`] has come.
    Wakeup,
}

/// How a request ended, as far as it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The fleet is being told.
    Announced {
        /// Epoch and counter of the announcement.
        rank: (u64, u64),
        /// Named devices that were never heard of.
        unheard: Vec<DeviceId>,
    },
    /// Kept, and announced when the reason is gone.
    Pending {
        /// Why not yet.
        reason: String,
    },
    /// Not done and not kept.
    Refused {
        /// Why.
        reason: String,
    },
    /// The action was taken back; devices that had not been told need not be.
    Withdrawn {
        /// Devices whose row now says so.
        devices: u64,
    },
    /// The alarm is over.
    Resumed,
}

/// What the adapter is to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make the state durable, then [`Input::Persisted`].
    Persist {
        /// Rises with every state.
        seq: u64,
        /// All of it.
        state: Box<State>,
    },
    /// Sign the announcement and hand it to the peer. Its counter is durable.
    Announce(Box<Announcement>),
    /// The parts that the peer should help with from now on: all of them, not only new ones.
    Help(Vec<Part>),
    /// Make and verify a bundle, then [`Input::Resolved`] or [`Input::Unresolved`].
    Resolve {
        /// For which action.
        action: u64,
        /// Of what.
        parts: Vec<PartWish>,
        /// What its bundle removes.
        removed: Vec<AppName>,
    },
    /// Make the report durable, then [`Input::Spooled`].
    Spool {
        /// Whose.
        device: DeviceId,
        /// Which.
        counter: u64,
        /// The exact bytes.
        envelope: Vec<u8>,
    },
    /// Hand a durable report to whoever decided, then [`Input::Delivered`]. May repeat after a crash.
    Feedback(Box<Report>),
    /// A delivered report need not stay on disk.
    Unspool {
        /// Whose.
        device: DeviceId,
        /// Which.
        counter: u64,
    },
    /// Sign and send a receipt: all reports of the device up to the counter are durable.
    Receipt {
        /// For whom.
        device: DeviceId,
        /// Up to which.
        counter: u64,
    },
    /// Append a line to the audit log, then [`Input::Audited`]. May repeat after a crash, with the same id.
    Audit(Entry),
    /// Tell the asker.
    Answer {
        /// The asker's mark.
        ticket: u64,
        /// Its action, if one was given.
        action: Option<u64>,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something that a person must look at.
    Alarm(Alarm),
}
