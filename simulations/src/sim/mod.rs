//! A deterministic discrete-event simulator of whole fleets.

pub mod engine;
pub mod flows;
pub mod scenario;
