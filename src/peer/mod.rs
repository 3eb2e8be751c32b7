//! The only program on the network.
