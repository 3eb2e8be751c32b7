//! The gateway's own Unix socket, by which `deploy`, `withdraw`, `confirm`, `resume` and `status` reach the running gateway.
//!
//! `run/fullmetal/gateway/gateway.sock`, `SOCK_SEQPACKET`; one request and one response a connection, CBOR, what is long
//! behind a descriptor. Only root and the gateway's own user are served (`SO_PEERCRED`).

mod client;
mod server;

pub use client::{ControlError, ask};
pub use server::{Asked, Server};

use fullmetal::config::Paths;
use fullmetal_proto::dispatch::Outcome;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The longest wish behind a descriptor.
const WISH_LEN_MAX: u64 = 1 << 20;
/// The longest status behind a descriptor.
const STATUS_LEN_MAX: u64 = 128 << 20;

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The wish is behind the descriptor.
    Deploy,
    /// Take an action back.
    Withdraw {
        /// Which.
        action: u64,
    },
    /// A local operator's word on an action that waits for its confirmation.
    Confirm {
        /// Which.
        action: u64,
        /// Whether it may be done.
        yes: bool,
    },
    /// End an alarm.
    Resume,
    /// How everything is.
    Status,
}

/// What the gateway says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// How the request went.
    Answer {
        /// Its action, if it has one.
        action: Option<u64>,
        /// How far it got.
        outcome: Outcome,
    },
    /// The word on an action is on its way to Hawkbit.
    Confirmed {
        /// Which.
        action: u64,
        /// The word.
        yes: bool,
    },
    /// The status is behind the descriptor.
    Status,
    /// The request was not understood, or is not for this user.
    Denied(String),
}

/// The socket below a root directory.
pub fn socket_path(paths: &Paths) -> PathBuf {
    paths.gateway_run_dir().join("gateway.sock")
}
