//! The Unix socket of the agent: what people and programs on the device ask of it.
//!
//! `SOCK_SEQPACKET`; each packet is one CBOR message of at most
//! [`PACKET_LEN_MAX`](super::local::PACKET_LEN_MAX) bytes. Both sides begin with Hello; then
//! each request has one answer, in order. Everybody may ask [`ToAgent::Status`]; all else is for root.

use crate::{AppName, DeviceId, Timestamp};
use serde::{Deserialize, Serialize};

/// The version that both sides name in their Hello.
pub const VERSION: u16 = 1;
/// The longest reason of a lock or an inhibitor in bytes.
pub const WHY_LEN_MAX: usize = 200;
/// How many inhibitors may be held at a time.
pub const INHIBITORS_MAX: usize = 32;
/// How many of them a user other than root may hold.
pub const INHIBITORS_OF_USER_MAX: usize = 8;

/// Whether a reason is fit to be kept and shown: one line of at most [`WHY_LEN_MAX`] bytes.
pub fn is_line(text: &str) -> bool {
    text.len() <= WHY_LEN_MAX && !text.contains(char::is_control)
}

/// From the client to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// First message.
    Hello {
        /// [`VERSION`].
        version: u16,
    },
    /// Answered by [`FromAgent::Status`].
    Status,
    /// The lock's file has changed: read it now. [`FromAgent::Done`] says that the change holds.
    LookAgain,
    /// No switch in mode `when-idle` begins until this connection closes.
    Inhibit {
        /// The program that asks, for people; see [`is_line`]. May be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// For people; see [`is_line`]. Not empty.
        why: String,
    },
    /// Asks the neighbours for something newer now; what waits to be tried again is tried.
    CheckNow,
    /// The previous version of an app comes back. [`FromAgent::Done`] says that it has begun.
    RollBack {
        /// Which.
        app: AppName,
    },
    /// The operating system before the one that runs comes back, on trial. [`FromAgent::Done`] says that it has begun.
    RollBackOs,
    /// What runs is the operating system from now on, although it was not deployed here.
    AcceptOs,
}

/// From the agent to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAgent {
    /// First message.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// Whose agent this is.
        device: DeviceId,
    },
    /// How it stands.
    Status(Box<AgentReport>),
    /// The request was done.
    Done,
    /// The request was not done.
    Failed {
        /// What, where, what to do.
        reason: String,
    },
}

/// What the agent is at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The state of its machine, as people see it.
    pub state: String,
    /// Piece bytes from neighbours, for the deployment under way.
    pub bytes_from_peers: u64,
    /// Piece bytes from central, for the deployment under way.
    pub bytes_from_central: u64,
    /// Piece bytes that the deployment under way takes in all; 0: not known.
    pub bytes_total: u64,
    /// What holds the switch of a staged deployment back, for people.
    pub obstacle: Option<String>,
    /// Since when local root has locked the device.
    pub locked: Option<LockNote>,
    /// Inhibitors that are held, oldest first.
    pub inhibitors: Vec<Inhibitor>,
    /// The configuration names local windows and none is open: when the next one opens.
    pub windows_closed_until: Option<Timestamp>,
}

/// A lock of local root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockNote {
    /// For people; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Something that must not be interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhibitor {
    /// The program that asked, in its own words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    /// For people.
    pub why: String,
    /// The user who holds it.
    pub uid: u32,
    /// The process that asked for it.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}
