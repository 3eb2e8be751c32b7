//! Where in an update of the operating system the power goes.

use std::time::Duration;

/// A phase, and how a device says that it has begun.
pub struct Phase {
    pub name: &'static str,
    /// What it says; nothing: it has been switched on again.
    pub says: Option<&'static str>,
    /// The power goes at a moment within this time: of a machine, and of a device in namespaces.
    pub within: [Duration; 2],
}

const fn phase(name: &'static str, says: Option<&'static str>, within_ms: [u64; 2]) -> Phase {
    let [machine, namespaced] = within_ms;
    Phase { name, says, within: [Duration::from_millis(machine), Duration::from_millis(namespaced)] }
}

/// It has been told, and nothing is left to do.
pub const END: Phase = phase("after its end", Some("removing what is not needed any more"), [0, 0]);

/// How far a device was, by what it said last in its boots since the decision.
pub fn reached(boots: &[String]) -> &'static str {
    let words = PHASES.iter().chain([&END]).filter_map(|phase| Some((phase.name, phase.says?)));
    for (boot, said) in boots.iter().enumerate().rev() {
        let last = words.clone().filter_map(|(name, words)| said.rfind(words).map(|at| (at, name))).max();
        match last {
            Some((_, name)) if boot + 1 == boots.len() => return name,
            Some(_) => return "first boot",
            None => {}
        }
    }
    "nothing of it"
}

pub const PHASES: [Phase; 6] = [
    phase("fetch and import", Some("fetching commit="), [3000, 1300]),
    phase("stage", Some("staging commit="), [8000, 500]),
    phase("finalize", Some("operating system step=Arm"), [12_000, 900]),
    phase("going down", Some("rebooting force="), [4000, 2200]),
    phase("first boot", None, [20_000, 700]),
    phase("proof", Some("state=Proving"), [7000, 4500]),
];
