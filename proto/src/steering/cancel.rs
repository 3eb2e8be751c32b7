//! Cancels, and actions that are gone from the server.

use super::device::Asked;
use super::io::{Message, Open, Question};
use super::{Next, Steering, ask, tell, withdraw};
use crate::DeviceId;
use crate::dispatch::{Phase, State};
use crate::wire::{Mode, ReportState};

/// What a device says, or can be known to say, to a cancel.
enum Standing {
    /// It cannot have been told of the action, or has dropped it.
    Dropped,
    /// It is over with another end.
    Over,
    /// It was told, and has to be asked.
    Told,
}

impl Steering {
    pub(super) fn next_of_cancel(&mut self, id: &DeviceId, state: &State) -> Option<Next> {
        let device = self.devices.get_mut(id)?;
        let Some(Open::Cancel(number)) = device.open else { return None };
        let Some((cancel, stops)) = device.cancel else { return Some(ask(id, Question::Cancel(number))) };
        // Of an action of other devices nothing is to be stopped here.
        let ended = state.actions.get(&stops).is_none_or(|a| a.phase.is_over() || !a.devices.contains_key(id));
        if !ended && device.withdrawing != Some(stops) {
            device.withdrawing = Some(stops);
            return Some(withdraw(stops));
        }
        let message = match standing(id, stops, state) {
            Standing::Dropped => Message::CancelAccepted { cancel },
            Standing::Over => Message::CancelRejected { cancel, reason: "the action had already ended".into() },
            Standing::Told => return None,
        };
        Some(tell(id, message, Asked::Cancel))
    }

    /// Takes back what the server does not want any more without having said so: force-cancelled, or its target deleted.
    pub(super) fn withdraw_what_vanished(&mut self, id: &DeviceId, state: &State) {
        let Some(device) = self.devices.get_mut(id) else { return };
        let wanted = match device.open {
            Some(Open::Cancel(_)) | None => return,
            Some(Open::Deployment(action)) => Some(action),
            Some(Open::Confirmation(_) | Open::Nothing) => None,
        };
        let read = device.read.as_ref().map(|r| r.action);
        let row = state.rows.get(id).filter(|row| row.mode != Mode::Withdraw).map(|row| row.action);
        // What waits for its bundle has no row yet, and after a restart nothing was read.
        let waits = state.actions.iter().filter(|(_, a)| matches!(a.phase, Phase::Pending { .. } | Phase::Ready));
        let waits = waits.filter(|(_, a)| a.devices.contains_key(id)).map(|(number, _)| *number);
        for action in [read, row].into_iter().flatten().chain(waits).filter(|a| Some(*a) != wanted) {
            let Some(known) = state.actions.get(&action).filter(|a| a.given) else { continue };
            // A server that names the action of another device takes nothing from that.
            let Some(progress) = known.devices.get(id) else { continue };
            // `downloaded` has ended an action for the server, and what is staged harms nobody.
            let staged = known.mode == Mode::Stage && progress.state == Some(ReportState::Staged);
            let over = known.phase.is_over() || progress.is_over();
            if over || staged || device.withdrawing == Some(action) {
                continue;
            }
            device.withdrawing = Some(action);
            self.out.push_back(withdraw(action).0);
        }
    }
}

fn standing(id: &DeviceId, action: u64, state: &State) -> Standing {
    let Some(known) = state.actions.get(&action) else { return Standing::Dropped };
    let progress = known.devices.get(id);
    let said = progress.and_then(|p| p.state);
    match said {
        Some(ReportState::Withdrawn) => return Standing::Dropped,
        Some(state) if state.is_terminal() => return Standing::Over,
        _ => {}
    }
    let told = state.rows.get(id).is_some_and(|row| row.action == action);
    let switched = said.is_some_and(|s| s >= ReportState::Switching);
    let replaced = progress.is_some_and(|p| p.replaced_by.is_some());
    let pending = matches!(known.phase, Phase::Pending { .. } | Phase::Refused { .. });
    if pending || (!told && (said.is_none() || (replaced && !switched))) { Standing::Dropped } else { Standing::Told }
}
