//! Whole deployments on devices with a real systemd, from decision to report: agent, peer and apps are the units that are
//! shipped. Needs root; `debootstrap` makes the devices' base once.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "device_fleet/agents.rs"]
mod agents;
#[path = "device_fleet/apps.rs"]
mod apps;
#[path = "device_fleet/bench.rs"]
mod bench;
#[path = "device_fleet/by_root.rs"]
mod by_root;
#[path = "device_fleet/check.rs"]
mod check;
#[path = "device_fleet/clock.rs"]
mod clock;
#[path = "device_fleet/failures.rs"]
mod failures;
#[path = "device_fleet/full.rs"]
mod full;
#[path = "device_fleet/kills.rs"]
mod kills;
#[path = "device_fleet/leaving.rs"]
mod leaving;
#[path = "device_fleet/newer.rs"]
mod newer;
#[path = "device_fleet/said.rs"]
mod said;
#[path = "device_fleet/steered.rs"]
mod steered;
#[path = "device_fleet/steps.rs"]
mod steps;
#[path = "device_fleet/story.rs"]
mod story;
#[path = "device_fleet/systems.rs"]
mod systems;
#[path = "device_fleet/times.rs"]
mod times;
#[path = "device_fleet/trials.rs"]
mod trials;

use std::time::Duration;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(120);
