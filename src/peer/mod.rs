//! The only program on the network.

pub mod cache;
pub mod central;
pub mod control;
pub mod discovery;
pub mod gossip;
pub mod membership;
pub mod serve;
pub mod transfer;
#[cfg(test)]
mod testing;
