//! The only program on the network.

pub mod cache;
pub mod central;
