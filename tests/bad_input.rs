//! Bad input, against the real programs: exit status and message (what, where, what to do), no panic, nothing
//! half-written, and the app that ran before serves on. Where a message says what to do, the test does it.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "bad_input/bench.rs"]
mod bench;
#[path = "bad_input/by_hand.rs"]
mod by_hand;
#[path = "bad_input/central.rs"]
mod central;
#[path = "bad_input/configuration.rs"]
mod configuration;
#[path = "bad_input/desk.rs"]
mod desk;
#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/inspecting.rs"]
mod inspecting;
#[path = "bad_input/lost.rs"]
mod lost;
#[path = "bad_input/members.rs"]
mod members;
#[path = "bad_input/releases.rs"]
mod releases;
#[path = "bad_input/said.rs"]
mod said;
#[path = "bad_input/usage.rs"]
mod usage;
