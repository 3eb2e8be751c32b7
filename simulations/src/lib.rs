//! The simulator; the lab and the demo, whole fleets of the real programs on one machine; a Hawkbit server to steer them.

pub mod demo;
pub mod hawkbit;
pub mod lab;
pub mod sim;
#[cfg(target_arch = "x86_64")]
pub mod trace;
