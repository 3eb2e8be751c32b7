//! A deterministic discrete-event simulator of whole fleets.
//!
//! The peers that it simulates decide with the state machines of `fullmetal-proto`, the very ones that production
//! drives. `docs/simulations.md` says what is simulated and what is a model.

pub mod bar;
pub mod checkers;
pub mod command;
pub mod compare;
pub mod engine;
pub mod explore;
pub mod flows;
mod log;
pub mod observe;
pub mod outcome;
pub mod pages;
pub mod release;
pub mod scenario;
pub mod world;
