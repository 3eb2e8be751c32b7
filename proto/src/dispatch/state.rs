//! What the gateway must not forget: one snapshot, written whole.

use super::alarm::Alarm;
use super::io::{PartWish, Wish};
use super::seen::Seen;
use crate::wire::announcement::Row;
use crate::wire::cbor::{self, CborError};
use crate::wire::{Announcement, ExitStatus, Mode, PartKind, PartState, Report, ReportState};
use crate::{AppName, DeviceId, Digest, FleetId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// The longest encoded state in bytes.
pub const STATE_LEN_MAX: usize = 256 << 20;
/// The format that this build writes.
const VERSION: u16 = 1;

/// Everything durable but the spooled reports themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The highest (epoch, counter) used or learned.
    pub rank: (u64, u64),
    /// The newest announcement, ours or taken over.
    pub announced: Option<Announced>,
    /// The next number that is given to a wish without one.
    pub next_action: u64,
    /// Bundle envelopes by their digest.
    pub bundles: BTreeMap<Digest, ByteBuf>,
    /// The newest wish for each device.
    pub rows: BTreeMap<DeviceId, Wanted>,
    /// Devices whose row changed since the newest announcement.
    pub fresh: BTreeSet<DeviceId>,
    /// Actions by number.
    pub actions: BTreeMap<u64, Action>,
    /// Devices heard of, reporting or named.
    pub devices: BTreeMap<DeviceId, Device>,
    /// Spooled reports that were not delivered yet.
    pub undelivered: BTreeSet<(DeviceId, u64)>,
    /// Audit lines that are not known to be on disk.
    pub outbox: BTreeMap<u64, Entry>,
    /// Number of the next audit line.
    pub next_entry: u64,
    /// Why the gateway has stopped acting.
    pub alarm: Option<Alarm>,
}

impl Default for State {
    /// A gateway that has done nothing yet; numbers start at 1.
    fn default() -> Self {
        State {
            rank: (0, 0),
            announced: None,
            next_action: 1,
            bundles: BTreeMap::new(),
            rows: BTreeMap::new(),
            fresh: BTreeSet::new(),
            actions: BTreeMap::new(),
            devices: BTreeMap::new(),
            undelivered: BTreeSet::new(),
            outbox: BTreeMap::new(),
            next_entry: 1,
            alarm: None,
        }
    }
}

/// The state's bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Damaged.
    #[error("not a gateway state: {0}")]
    Cbor(#[from] CborError),
    /// Written by a newer release.
    #[error("written by a newer gateway (format {0}, this one reads up to {VERSION}); update fullmetal-gateway")]
    Version(u16),
}

impl State {
    /// The bytes that go to disk.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(&(VERSION, self))
    }

    /// Reads what [`State::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (version, body): (u16, ciborium::Value) = cbor::from_slice(bytes, STATE_LEN_MAX)?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        body.deserialized().map_err(|e| CborError::Shape(e.to_string()).into())
    }

    /// The announcement that these rows make.
    pub(super) fn compose(&self, fleet: &FleetId, announced: &Announced) -> Announcement {
        let used: BTreeSet<Digest> = self.rows.values().map(|w| w.bundle).collect();
        let index: BTreeMap<Digest, u16> = used.iter().copied().zip(0..).collect();
        let row = |(device, w): (&DeviceId, &Wanted)| {
            Some(Row(device.clone(), *index.get(&w.bundle)?, w.action, w.mode, w.valid_until))
        };
        Announcement {
            fleet: fleet.clone(),
            epoch: announced.rank.0,
            counter: announced.rank.1,
            issued: announced.issued,
            expires: announced.expires,
            bundles: used.iter().filter_map(|d| self.bundles.get(d).cloned()).collect(),
            rows: self.rows.iter().filter_map(row).collect(),
        }
    }

    /// About how long the announcement of these rows is, never less than it is.
    pub(super) fn announcement_len(&self) -> usize {
        let rows: usize = self.rows.keys().map(|d| d.as_str().len() + 40).sum();
        let used: BTreeSet<Digest> = self.rows.values().map(|w| w.bundle).collect();
        let bundles: usize = used.iter().filter_map(|d| self.bundles.get(d)).map(|b| b.len() + 5).sum();
        rows + bundles + 256
    }
}

/// The newest announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Epoch and counter.
    pub rank: (u64, u64),
    /// SHA-256 of its body.
    pub content: Digest,
    /// When it was made.
    pub issued: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
    /// Made here, not taken over.
    pub ours: bool,
}

/// The newest wish for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its action.
    pub action: u64,
    /// Its bundle.
    pub bundle: Digest,
    /// How urgently.
    pub mode: Mode,
    /// After this the switch must not begin.
    pub valid_until: Option<Timestamp>,
}

/// How far an action has come at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its bundle is not made yet; nothing is announced.
    Pending {
        /// Why the last attempt failed; empty before it.
        reason: String,
    },
    /// Its rows stand, the announcement has not left yet.
    Ready,
    /// The fleet was told.
    Announced,
    /// It could not be done; nothing was announced.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was taken back.
    Withdrawn,
}

impl Phase {
    /// Whether nobody is to be told of the action any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Phase::Withdrawn | Phase::Refused { .. })
    }
}

/// What a part is called, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Operating system or app.
    #[serde(default)]
    pub kind: PartKind,
    /// Its name.
    pub name: AppName,
    /// Its version.
    pub version: String,
    /// Its commit.
    pub commit: Digest,
}

/// One decision and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its number is the deployment system's own, and so is the wish for its results.
    #[serde(default)]
    pub given: bool,
    /// How urgently.
    pub mode: Mode,
    /// After this the switch must not begin.
    pub valid_until: Option<Timestamp>,
    /// What was asked for; empty when it was taken over from an announcement.
    pub parts: Vec<PartWish>,
    /// Apps that are to leave, also when it was taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<AppName>,
    /// What it became.
    pub labels: Vec<Label>,
    /// Its bundle, once made.
    pub bundle: Option<Digest>,
    /// How far it is here.
    pub phase: Phase,
    /// When it was decided.
    pub at: Timestamp,
    /// How far each device is.
    pub devices: BTreeMap<DeviceId, Progress>,
}

impl Action {
    /// Whether both are of the deployment system and want the same, so that one bundle serves both.
    pub(super) fn wants_the_same_as(&self, other: &Action) -> bool {
        self.given && other.given && self.parts == other.parts && self.removed == other.removed
    }

    /// Whether it is a wish for these parts and removals, as far as it is known: of one that was taken over from an
    /// announcement only its bundle is.
    pub fn is_for(&self, parts: &[PartWish], removed: &[AppName]) -> bool {
        let same = if self.parts.is_empty() { self.brings(parts) } else { self.parts == parts };
        same && self.removed == removed
    }

    /// Whether its bundle holds just the commits that `parts` name.
    fn brings(&self, parts: &[PartWish]) -> bool {
        let wanted: BTreeSet<Option<Digest>> = parts.iter().map(|p| p.commit).collect();
        let here: BTreeSet<Option<Digest>> = self.labels.iter().map(|l| Some(l.commit)).collect();
        wanted == here && parts.len() == self.labels.len()
    }
}

/// How far one device is with one action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Counter of the newest report; 0 before the first.
    pub counter: u64,
    /// Its state.
    pub state: Option<ReportState>,
    /// Its reason.
    pub reason: String,
    /// How the app ended that failed.
    pub exit: Option<ExitStatus>,
    /// Piece bytes from neighbours.
    pub bytes_from_peers: u64,
    /// Piece bytes from central.
    pub bytes_from_central: u64,
    /// Piece bytes that its fetch under way takes in all; 0: not said.
    #[serde(default)]
    pub bytes_total: u64,
    /// Milliseconds since the device saw the row.
    pub elapsed_ms: u64,
    /// When it said so, by its clock.
    pub at: Timestamp,
    /// The newer action that took the row's place.
    pub replaced_by: Option<u64>,
}

impl Progress {
    /// Whether nothing more is expected.
    pub fn is_over(&self) -> bool {
        self.replaced_by.is_some() || self.state.is_some_and(ReportState::is_terminal)
    }

    /// Takes over what a newer report says.
    pub(super) fn take(&mut self, report: &Report) {
        self.counter = report.counter;
        self.state = Some(report.state);
        self.reason = report.reason.clone();
        self.exit = report.exit;
        self.bytes_from_peers = report.bytes_from_peers;
        self.bytes_from_central = report.bytes_from_central;
        self.bytes_total = report.bytes_total;
        self.elapsed_ms = report.elapsed_ms;
        self.at = report.at;
    }
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// When the fleet last heard it.
    pub heard: Option<Timestamp>,
    /// Which of its reports arrived.
    pub seen: Seen,
    /// The highest [`Report::oldest`] of its reports: what is below and missing is not kept by it any more.
    #[serde(default)]
    pub oldest: u64,
    /// Counter of the report that `parts` is from.
    pub parts_counter: u64,
    /// What it runs, by its newest report that says so.
    pub parts: Vec<PartState>,
    /// Counter of the report that `agent` and `free_bytes` are from.
    #[serde(default)]
    pub agent_counter: u64,
    /// The version of its agent; empty when it never said so.
    #[serde(default)]
    pub agent: String,
    /// The newest format of bundles that its agent reads, by the same report; 0: it did not say.
    #[serde(default)]
    pub bundle_major: u16,
    /// Free bytes of its object store's disk, roughly.
    #[serde(default)]
    pub free_bytes: Option<u64>,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Rises with every entry; one entry is one line, however often it is handed out.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What an audit line tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A decision was taken in.
    Decided {
        /// Its number.
        action: u64,
        /// The decision.
        wish: Wish,
    },
    /// Its bundle was made.
    Bundled {
        /// Which action.
        action: u64,
        /// The bundle.
        bundle: Digest,
        /// Its parts.
        parts: Vec<Label>,
    },
    /// It could not be done.
    Refused {
        /// Which action.
        action: u64,
        /// Why.
        reason: String,
    },
    /// It was taken back.
    Withdrawn {
        /// Which action.
        action: u64,
    },
    /// An announcement was made.
    Announced {
        /// Epoch and counter.
        rank: (u64, u64),
        /// SHA-256 of its body.
        content: Digest,
        /// Rows that are new in it: device, action, mode.
        rows: Vec<(DeviceId, u64, Mode)>,
    },
    /// Another gateway's announcement was taken over.
    TakenOver {
        /// Epoch and counter.
        rank: (u64, u64),
    },
    /// The gateway stopped acting.
    Alarm {
        /// Why.
        alarm: Alarm,
    },
    /// A person let it act again.
    Resumed,
}
