//! The lab and the demo: whole fleets of the real programs on one machine.

pub mod demo;
pub mod lab;
#[cfg(target_arch = "x86_64")]
pub mod trace;
