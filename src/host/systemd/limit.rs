//! How long a job of systemd may take: as long as the units allow whose jobs it may have to wait for.
//!
//! systemd runs a job only after those of units that are ordered before it, and stops first before it starts
//! (`systemd.unit(5)`, `Before=`). It pulls them in by itself: an app that requires another one stops with it and before
//! it. systemd ends each of these jobs in its own time, so that this limit is for a systemd that does not.

use super::bus::Bus;
use super::unit_state::UnitState;
use crate::host::options::TARGETS;
use crate::host::unit::unit_name;
use crate::host::{HostError, UnitFiles};
use fullmetal_proto::AppName;
use std::collections::BTreeSet;
use std::time::Duration;

/// No time that a unit of ours is given is longer than this: what brings a longer one along has none.
const SPAN_MAX: Duration = Duration::from_secs(86_400);
/// How long units of the system are waited for that an app may name: a device without its network comes up without.
const TARGETS_MAX: Duration = Duration::from_secs(300);

/// What a job for the unit of `name` may take by what its unit says, and those of ours that are ordered with it.
pub(super) fn of_job(bus: &Bus, files: &UnitFiles, name: &AppName) -> Result<Duration, HostError> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![name.clone()]);
    let (mut limit, mut targets) = (Duration::ZERO, Duration::ZERO);
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let unit = bus.unit(&unit_name(&name))?;
        limit += span(&unit);
        for other in ["After", "Before"].iter().flat_map(|key| unit.names(key)) {
            if TARGETS.contains(&other.as_str()) {
                targets = TARGETS_MAX;
            }
            if let Some(app) = other.strip_suffix(".service").and_then(|name| name.parse().ok())
                && files.marked(&app)?.is_some()
            {
                open.push(app);
            }
        }
    }
    Ok(limit + targets)
}

/// A start has two steps with a limit each (clearing away, then the app), so has an end; a pause before the next try may
/// hold a start up.
fn span(unit: &UnitState) -> Duration {
    let time = |key| Duration::from_micros(unit.number(key)).min(SPAN_MAX);
    (time("TimeoutStartUSec") + time("TimeoutStopUSec")) * 2 + time("RestartUSec")
}
