//! What a device must still know after a power cut: one record, written whole before anything depends on it.
//!
//! Version 1 is frozen: after an operating system was rolled back, an older agent reads what a newer one
//! wrote. Fields may be added (older agents ignore them); none may be removed or change its meaning. The
//! keys inside lists are short because the whole must stay under [`RECORD_LEN_MAX`].
//!
//! What an older agent must not ignore makes a higher version, for as long as it is there: version 2 is a deployment that
//! removes apps and has begun to switch; version 3 one whose operating system is on trial. An older agent leaves such a
//! record alone, and the apps as they are. Of an operating system on trial no agent writes a version above 3, however new it is.

use super::os::{BootId, NewOs};
use super::outbox::{Cause, Ended, Outgoing};
use crate::wire::announcement::Mode;
use crate::wire::bundle::{PartKind, StartOptions};
use crate::wire::cbor::{self, CborError};
use crate::wire::report::{PartState, ReportState};
use crate::{AppName, DeploymentId, Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest version that this agent reads.
pub const RECORD_VERSION: u16 = RECORD_VERSION_OF_TRIAL;
/// What knows operating systems on trial. Never more: when the new one goes back, the agent of the old one must read what the
/// one on trial wrote last.
const RECORD_VERSION_OF_TRIAL: u16 = 3;
/// What knows removals.
const RECORD_VERSION_OF_REMOVAL: u16 = 2;
/// The version of everything that all agents understand.
const RECORD_VERSION_MIN: u16 = 1;
/// The longest encoded record in bytes.
pub const RECORD_LEN_MAX: usize = 16 << 10;
/// How long a record of an unknown version may be and still be told apart from damage.
const UNKNOWN_LEN_MAX: usize = 4 * RECORD_LEN_MAX;

/// Everything durable that the machine knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Set when it is written, by what is in it.
    version: u16,
    /// The highest (epoch, counter) of a verified announcement: anything not above it is a replay.
    pub rank: Option<(u64, u64)>,
    /// The counter of the next report; all below were used or given to a report in `outbox`.
    pub next_counter: u64,
    /// What is installed and proven, by name.
    pub apps: BTreeMap<AppName, App>,
    /// The deployment under way.
    pub deployment: Option<Deployment>,
    /// What the newest announcement wishes and has not been taken up.
    pub next: Option<Wish>,
    /// Reports that may not have reached the spool.
    pub outbox: Vec<Outgoing>,
    /// The newest ended actions, oldest first: none of them gets a second terminal report.
    pub ended: Vec<Ended>,
    /// The operating system in force, since the first one was judged here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<System>,
    /// What apps that were removed may not fall below when they come again; the last removed last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<(AppName, u64)>,
}

/// One installed app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The version in force: proven, or first in line to come back when a new one fails.
    #[serde(rename = "c")]
    pub current: Installed,
    /// The version before it, if there was one.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Installed>,
    /// The lowest release that may still be installed.
    #[serde(rename = "f", default)]
    pub floor: u64,
    /// A roll back to `current` was given up, so that nothing of it need be in place.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// The operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// As bundles call it.
    #[serde(rename = "n")]
    pub name: AppName,
    /// Its versions.
    #[serde(rename = "v")]
    pub app: App,
}

/// One version of one app, or of the operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The OSTree commit.
    #[serde(rename = "c")]
    pub commit: Digest,
    /// For people.
    #[serde(rename = "v")]
    pub version: String,
    /// SHA-256 of its manifest's envelope: names its frames in the peer's cache.
    #[serde(rename = "m")]
    pub manifest: Digest,
    /// How it is started.
    #[serde(rename = "s", with = "start_flags")]
    pub start: StartOptions,
    /// No build key that the fleet trusts signed it: the trust file allows its ref unsigned commits.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
}

/// A row of an announcement: what the gateway wishes of this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The deployment system's number; reports carry it.
    pub action: u64,
    /// SHA-256 of the bundle's envelope.
    pub bundle: Digest,
    /// How urgently.
    pub mode: Mode,
    /// After this the switch must not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// When the announcement that says so expires: after this nothing starts on its word.
    pub expires: Timestamp,
    /// When the action was first seen; elapsed times count from here.
    pub seen: Timestamp,
}

/// The deployment under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Whose wish it is.
    pub wish: Wish,
    /// How far it is.
    pub phase: Phase,
    /// Its parts, once judged; what each replaces is in [`Record::apps`] until it is proven.
    pub parts: Vec<NewPart>,
    /// Apps that leave with it, once judged; they are in [`Record::apps`] until it is proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<AppName>,
    /// Its operating system, once judged, unless that runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<NewOs>,
    /// How often the power went between arming the boot loader and changing its entries.
    #[serde(default, skip_serializing_if = "is_none_cut")]
    pub cuts: u8,
    /// How often the device was rebooted to leave its operating system and came up on it again.
    #[serde(default, skip_serializing_if = "is_none_cut")]
    pub backs: u8,
    /// The newest boot in which an agent found that it is to be left: one that starts anew in it has not come up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<BootId>,
    /// It was withdrawn after the boot loader was armed, and before the reboot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// How long the parts are watched, in milliseconds.
    pub probation_ms: u64,
    /// The furthest milestone that was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<ReportState>,
    /// A withdrawal that came too late was answered.
    #[serde(default)]
    pub too_late: bool,
    /// Piece bytes from neighbours so far.
    #[serde(default)]
    pub bytes_from_peers: u64,
    /// Piece bytes from central so far.
    #[serde(default)]
    pub bytes_from_central: u64,
    /// Root wished it, at the device: it has neither action nor bundle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

/// One part that a deployment brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPart {
    /// The app.
    #[serde(rename = "n")]
    pub name: AppName,
    /// What becomes of it.
    #[serde(rename = "i")]
    pub installed: Installed,
    /// The floor once this is proven.
    #[serde(rename = "f", default)]
    pub floor: u64,
    /// It has a health check, without whose good word it is not proven.
    #[serde(rename = "h", default)]
    pub health: bool,
    /// It must say that it is well.
    #[serde(rename = "y", default, skip_serializing_if = "std::ops::Not::not")]
    pub notify: bool,
    /// A job by what its own unit leaves unsaid: that it still runs when its time is over proves it as exit 0 does.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub may_stay: bool,
}

/// How far a deployment is, as far as a restart must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing of what runs was touched: judging, fetching and checking out are done again, at no cost.
    Staging,
    /// The old version may be down. Goes forward when interrupted.
    Switching {
        /// How often it was interrupted.
        restarts: u8,
    },
    /// The new version is in place and watched. The probation starts again when interrupted.
    Proving {
        /// How often it was interrupted.
        restarts: u8,
    },
    /// The operating system is being put on trial, or boots for the first time. Apps are as they were.
    Arming,
    /// Its trial is over, and all is well.
    Proven,
    /// The old version comes back.
    RollingBack {
        /// Why: goes into the terminal report.
        cause: Cause,
    },
}

/// Why bytes are not a record that this agent can go on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer agent. The apps go on; nothing new may be deployed.
    #[error(
        "journal record has version {found}, this agent knows only up to {RECORD_VERSION}: apps go on as they are, \
         no new deployments until a newer agent runs here again"
    )]
    UnknownVersion {
        /// The version in it.
        found: u16,
    },
    /// Not a record.
    #[error("journal record: {0}")]
    Malformed(#[from] CborError),
    /// It would be longer than it may be.
    #[error("journal record of {len} bytes is over the limit of {RECORD_LEN_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl Default for Record {
    /// The record of a device on which nothing ever happened.
    fn default() -> Self {
        Record {
            version: RECORD_VERSION_MIN,
            rank: None,
            next_counter: 1,
            apps: BTreeMap::new(),
            deployment: None,
            next: None,
            outbox: Vec::new(),
            ended: Vec::new(),
            os: None,
            floors: Vec::new(),
        }
    }
}

impl Deployment {
    /// One that has just been taken up: nothing is known of it but whose wish it is.
    pub fn of(wish: Wish) -> Self {
        Deployment {
            wish,
            phase: Phase::Staging,
            parts: Vec::new(),
            removed: Vec::new(),
            os: None,
            cuts: 0,
            backs: 0,
            leaves: None,
            withdrawn: false,
            probation_ms: 0,
            reported: None,
            too_late: false,
            bytes_from_peers: 0,
            bytes_from_central: 0,
            by_hand: false,
        }
    }

    /// What it brings and what it takes away, a few words each, for people.
    pub fn changes(&self) -> Vec<String> {
        let os = self.os.iter().map(|os| (PartKind::Os, &os.part));
        let parts = os.chain(self.parts.iter().map(|part| (PartKind::App, part)));
        let parts = parts.map(|(kind, p)| format!("{}{} {}", kind.before_name(), p.name, p.installed.version));
        parts.chain(self.removed.iter().map(|name| format!("{name} removed"))).collect()
    }

    /// Whether an app changes with it.
    pub fn touches(&self, name: &AppName) -> bool {
        self.parts.iter().any(|part| part.name == *name) || self.removed.contains(name)
    }
}

impl Record {
    /// Its bytes, at most [`RECORD_LEN_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        // While it is staged, an older agent may judge it again, and ends it as a bundle that it cannot read.
        let begun = self.deployment.as_ref().filter(|d| d.phase != Phase::Staging);
        let version = match begun {
            Some(d) if d.os.is_some() => RECORD_VERSION_OF_TRIAL,
            Some(d) if !d.removed.is_empty() => RECORD_VERSION_OF_REMOVAL,
            _ => RECORD_VERSION_MIN,
        };
        let bytes = cbor::to_vec(&Record { version, ..self.clone() });
        if bytes.len() > RECORD_LEN_MAX {
            return Err(RecordError::TooLong { len: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads it back; an unknown version is told apart from damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let head: Head = cbor::from_slice(bytes, UNKNOWN_LEN_MAX)?;
        if !(RECORD_VERSION_MIN..=RECORD_VERSION).contains(&head.version) {
            return Err(RecordError::UnknownVersion { found: head.version });
        }
        let record: Record = cbor::from_slice(bytes, RECORD_LEN_MAX)?;
        Ok(Record { version: RECORD_VERSION_MIN, ..record })
    }

    /// Whether the terminal report of an ended action may not be in the spool yet.
    pub fn has_unspooled_end(&self) -> bool {
        self.outbox.iter().any(|o| o.state.is_terminal())
    }

    /// What is in force, as reports carry it.
    pub fn parts(&self) -> Vec<PartState> {
        let state = |(kind, name, app): (PartKind, &AppName, &App)| PartState {
            kind,
            name: name.clone(),
            version: app.current.version.clone(),
            commit: app.current.commit,
        };
        let os = self.os.iter().map(|os| (PartKind::Os, &os.name, &os.app));
        let apps = self.apps.iter().filter(|(_, app)| !app.lost).map(|(name, app)| (PartKind::App, name, app));
        os.chain(apps).map(state).collect()
    }

    /// What apps are to run instead of what is in force on the disk, with nothing for those that are not to run: while a
    /// deployment's operating system is on trial and another one runs, the versions before it.
    pub fn at_boot(&self, booted: Option<&DeploymentId>) -> BTreeMap<AppName, Option<Installed>> {
        let trial = self.deployment.as_ref().filter(|d| d.phase != Phase::Staging);
        let fell_back = trial.and_then(|d| d.os.as_ref()).is_some_and(|os| os.new.as_ref() != booted);
        let moves = if fell_back { self.moves() } else { Vec::new() };
        moves.into_iter().map(|m| (m.name, m.old)).collect()
    }
}

/// serde hands over a reference.
fn is_none_cut(n: &u8) -> bool {
    *n == 0
}

/// The only field that every version has.
#[derive(Deserialize)]
struct Head {
    version: u16,
}

/// Start options as one small number: bit 0 autostart, bit 1 job.
mod start_flags {
    use super::StartOptions;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(start: &StartOptions, s: S) -> Result<S::Ok, S::Error> {
        (u8::from(start.autostart) | u8::from(start.job) << 1).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<StartOptions, D::Error> {
        let flags = u8::deserialize(d)?;
        Ok(StartOptions { autostart: flags & 1 != 0, job: flags & 2 != 0 })
    }
}
