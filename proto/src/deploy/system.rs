//! The operating system while nothing is on trial: what is known of it, and what speaks against another one.

use super::outbox::{Cause, OUTBOX_MAX};
use super::record::{App, NewPart, System};
use super::{Deploy, Effect, Installed, NOBODY, Now, OsStep, OsView};
use crate::Digest;
use crate::wire::bundle::StartOptions;
use crate::wire::report::ReportState;

impl Deploy {
    /// Whether it is known what runs.
    pub fn has_seen_os(&self) -> bool {
        self.seen.is_some()
    }

    /// Why nothing is deployed: what runs was neither deployed here nor accepted.
    pub fn unknown_os(&self) -> Option<String> {
        let (system, booted) = (self.record.os.as_ref()?, self.seen.as_ref()?.booted);
        let known = &system.app.current;
        (booted.commit != known.commit && !self.is_on_trial()).then(|| {
            format!(
                "the operating system that runs (commit {}) is not {} {}, the last one proven here: boot that again, or say \
                 `fullmetal accept-os` to go on from what runs",
                booted.commit, system.name, known.version
            )
        })
    }

    /// What runs is in force from now on.
    pub(super) fn accept_os(&mut self, now: Now) {
        if self.unknown_os().is_none() {
            return;
        }
        let Some((system, seen)) = self.record.os.as_mut().zip(self.seen.as_ref()) else { return };
        let proven = std::mem::replace(&mut system.app.current, came_with_the_device(seen));
        system.app.previous = Some(proven);
        self.queue.change();
        self.inventory(now);
    }

    /// While nothing is on trial: a counter that was left behind would boot something else one day.
    pub(super) fn looked_at(&mut self, view: Option<&OsView>, now: Now) {
        let Some(view) = view.filter(|_| !self.state.is_of_trial() && !self.is_on_trial()) else { return };
        let in_force = self.record.os.as_ref().map(|os| os.app.current.commit == view.booted.commit);
        let (first, trial) = (view.entries.first(), view.counted.as_ref().map(|counted| counted.trial));
        let step = match (trial, in_force) {
            // Counted from the beginning, or by what was here before us: what runs is all that is known.
            (Some(None), None) | (Some(_), Some(true)) if first == Some(&view.booted) => {
                Some(OsStep::Clear(view.booted))
            }
            // What failed was not taken away when it should have been.
            (Some(Some(trial)), Some(true)) if first == Some(&trial) => {
                Some(OsStep::Clean { old: view.booted, new: trial })
            }
            _ => None,
        };
        if let Some(step) = step {
            self.queue.emit(Effect::Os { ticket: NOBODY, step });
        }
        if let Some(reason) = self.unknown_os().filter(|_| self.record.outbox.len() < OUTBOX_MAX) {
            self.post(None, ReportState::Inventory, Cause::new(&reason), now);
        }
    }

    /// Why an operating system cannot be put on trial on what was seen.
    pub(super) fn os_objection(&self, view: Option<&OsView>, name: &str) -> Option<String> {
        let Some(view) = view else {
            return Some(format!("{name} is an operating system, and that of this device is no deployment of OSTree"));
        };
        if let Some(obstacle) = &view.obstacle {
            return Some(format!("{name} cannot be put on trial here: {obstacle}"));
        }
        let first = view.entries.first()?;
        (*first != view.booted).then(|| {
            format!(
                "{name} cannot be put on trial: the next boot is of {first}, not of what runs, {}: boot it, or \
                 undeploy it; see `fullmetal status`",
                view.booted
            )
        })
    }

    /// What runs is in force from the first judgement on, under the name that the bundle has for it.
    pub(super) fn adopt_os(&mut self, view: &OsView, part: &NewPart) {
        if self.record.os.is_some() {
            return;
        }
        let commit = view.booted.commit;
        let current = match part.installed.commit == commit {
            true => part.installed.clone(),
            false => came_with_the_device(view),
        };
        let app = App { current, previous: None, floor: 0, lost: false };
        self.record.os = Some(System { name: part.name.clone(), app });
    }
}

/// Its frames are nowhere.
fn came_with_the_device(seen: &OsView) -> Installed {
    let (commit, version) = (seen.booted.commit, seen.version.clone());
    Installed { commit, version, manifest: Digest::default(), start: StartOptions::default(), unsigned: false }
}
