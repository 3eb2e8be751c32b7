//! The gateway: takes deployment decisions, announces them to the fleet, and keeps what the fleet reports.
//!
//! It opens no network socket: everything goes through the local socket of its peer. Decisions come over its
//! own Unix socket ([`control`]); the rules are those of `fullmetal_proto::dispatch`.

pub mod audit;
pub mod control;
pub mod daemon;
pub mod decision;
pub mod disk;
pub mod link;
pub mod resolve;
pub mod status;
pub mod verify;
