//! A device's signed word on an action, and the gateway's signed receipt for it.

use super::bundle::PartKind;
use super::envelope::{Document, DocumentError, Kind};
use crate::{AppName, DeviceId, Digest, FleetId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The most log lines of a failed app.
pub const LOG_LINES_MAX: usize = 20;
/// The longest log line in bytes.
pub const LOG_LINE_LEN_MAX: usize = 512;
/// The longest version of an agent in bytes.
pub const AGENT_LEN_MAX: usize = 64;
/// The longest reason in bytes.
pub const REASON_LEN_MAX: usize = 1024;

/// How far an action has come on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportState {
    /// Not about an action: what the device runs, sent at start and after each change.
    Inventory,
    /// The bundle holds and the device will fetch it.
    Accepted,
    /// Fetching pieces.
    Fetching,
    /// Everything is checked out beside the running version.
    Staged,
    /// The switch is journalled: from here on the old version may be down.
    Switching,
    /// The new version runs and is watched.
    Proving,
    /// A withdrawal came too late; the real result follows.
    TooLate,
    /// Terminal: proven and kept.
    Succeeded,
    /// Terminal: refused or failed before the switch, or rolled back after it; the old version runs.
    Failed,
    /// Terminal: dropped on the gateway's wish before the switch.
    Withdrawn,
}

impl ReportState {
    /// Whether nothing follows for this action.
    pub fn is_terminal(self) -> bool {
        matches!(self, ReportState::Succeeded | ReportState::Failed | ReportState::Withdrawn)
    }
}

/// How an app's main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

/// What runs of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartState {
    /// OS or app.
    pub kind: PartKind,
    /// Its name.
    pub name: AppName,
    /// For people.
    pub version: String,
    /// The commit in force.
    pub commit: Digest,
}

/// One signed report of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Fleet of the device.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// Rises with every report of the device, over restarts too.
    pub counter: u64,
    /// The lowest counter of a report that the device still keeps for the gateway, this one included: what is
    /// below and has not arrived will never come again. 0: not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oldest: u64,
    /// The action of the row; 0 with [`ReportState::Inventory`].
    pub action: u64,
    /// The bundle's hash; absent with [`ReportState::Inventory`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// How far it is.
    pub state: ReportState,
    /// Why, in one line for the operator; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// How the failed app ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// Its last lines.
    #[serde(default)]
    pub log: Vec<String>,
    /// What runs now.
    #[serde(default)]
    pub parts: Vec<PartState>,
    /// Piece bytes that came from neighbours for this action.
    #[serde(default)]
    pub bytes_from_peers: u64,
    /// Piece bytes that this device got from central for this action.
    #[serde(default)]
    pub bytes_from_central: u64,
    /// While it fetches: piece bytes that the action takes in all. 0: not said, as by agents before this field.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_total: u64,
    /// The agent's version; empty: not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// The newest format of bundles that the agent reads; 0: not said, as by agents that read the first only.
    #[serde(default, skip_serializing_if = "is_none_said")]
    pub bundle_major: u16,
    /// Free bytes of the object store's disk, rounded down so that it says something new only now and then. Absent: not
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Milliseconds since the row was first seen.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// When it was made, by the device's clock.
    pub at: Timestamp,
    /// The agent key's X.509 certificate, DER.
    pub certificate: ByteBuf,
}

impl Document for Report {
    const KIND: Kind = Kind::Report;
    const LEN_MAX: usize = 24 << 10;

    fn check(&self) -> Result<(), DocumentError> {
        if self.reason.len() > REASON_LEN_MAX {
            return DocumentError::err("reason", format!("over {REASON_LEN_MAX} bytes"));
        }
        let long = self.log.iter().any(|l| l.len() > LOG_LINE_LEN_MAX);
        if self.log.len() > LOG_LINES_MAX || long {
            return DocumentError::err("log", "too many or too long lines");
        }
        if self.agent.len() > AGENT_LEN_MAX || self.agent.chars().any(char::is_control) {
            return DocumentError::err("agent", format!("over {AGENT_LEN_MAX} bytes, or not printable"));
        }
        if self.parts.len() > super::bundle::PARTS_MAX * 2 {
            return DocumentError::err("parts", "too many parts");
        }
        if (self.state == ReportState::Inventory) != (self.action == 0) {
            return DocumentError::err("action", "an inventory has none, everything else has one");
        }
        if self.oldest > self.counter {
            return DocumentError::err("oldest", "is above the report's own counter");
        }
        Ok(())
    }
}

/// serde hands over a reference.
fn is_none_said(major: &u16) -> bool {
    *major == 0
}

/// serde hands over a reference.
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The gateway has all reports of `device` up to `counter` that there still are; carriers may drop them.
///
/// A counter that never arrived is covered only when a later report's [`Report::oldest`] is above it: the device
/// itself said that it no longer keeps that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Fleet of the device.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The highest counter that is safely spooled.
    pub counter: u64,
}

impl Document for Receipt {
    const KIND: Kind = Kind::Receipt;
    const LEN_MAX: usize = 1024;

    fn check(&self) -> Result<(), DocumentError> {
        Ok(())
    }
}
