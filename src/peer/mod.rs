//! The only program on the network.

pub mod cache;
pub mod central;
pub mod control;
pub mod discovery;
pub mod fetch;
pub mod gossip;
pub mod membership;
mod node;
pub mod serve;
pub mod socket;
#[cfg(test)]
mod testing;
pub mod transfer;

pub use node::{run, run_until, runtime};
