//! Where in an update of the operating system the power goes.

use std::time::Duration;

/// A phase, and how a machine says that it has begun.
pub struct Phase {
    pub name: &'static str,
    /// What it says; nothing: it has been switched on again.
    pub says: Option<&'static str>,
    /// The power goes at a moment within this time.
    pub within: Duration,
}

const fn phase(name: &'static str, says: Option<&'static str>, within_s: u64) -> Phase {
    Phase { name, says, within: Duration::from_secs(within_s) }
}

pub const PHASES: [Phase; 6] = [
    phase("fetch and import", Some("fetching commit="), 3),
    phase("stage", Some("staging commit="), 10),
    phase("finalize", Some("operating system step=Arm"), 8),
    phase("going down", Some("rebooting force="), 4),
    phase("first boot", None, 20),
    phase("proof", Some("state=Proving"), 7),
];
