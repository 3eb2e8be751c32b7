//! The only program on the network.

pub mod cache;
pub mod central;
pub mod control;
pub mod discovery;
pub mod fetch;
pub mod gossip;
pub mod membership;
pub mod serve;
#[cfg(test)]
mod testing;
pub mod transfer;
