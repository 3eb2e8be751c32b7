//! The lab and the demo: whole fleets of the real programs on one machine.

pub mod demo;
pub mod lab;
