//! The gateway: takes deployment decisions, announces them to the fleet, and keeps what the fleet reports.
//!
//! Toward the fleet it opens no network socket: everything goes through the local socket of its peer. Decisions come
//! over its own Unix socket ([`control`]); the rules are those of `fullmetal_proto::dispatch`. [`ddi`] is the client of
//! Hawkbit, its one way to the network.

pub mod audit;
pub mod backup;
pub mod control;
pub mod daemon;
pub mod ddi;
pub mod decision;
pub mod disk;
pub mod hawkbit;
pub mod link;
pub mod manifests;
pub mod metrics;
pub mod resolve;
pub mod status;
pub mod verify;
