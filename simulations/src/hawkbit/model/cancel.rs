//! Cancelling, politely and by force.

use super::{Hawkbit, Millis, Refusal, Result, SERVER, Status};

impl Hawkbit {
    /// Asks a device to stop.
    pub fn cancel(&mut self, target: &str, action: u64, by: &str, now: Millis) -> Result<()> {
        let there = self.action_of(target, action)?;
        if there.is_cancel() {
            return Err(Refusal::not_cancelable("Actions in canceling or canceled state cannot be canceled"));
        }
        if !there.active {
            let message = format!("Action [id: {action}] is not active and cannot be canceled");
            return Err(Refusal::not_cancelable(message));
        }
        self.change(action, |a| {
            a.status = Status::Canceling;
            a.stamp.touch(by, now);
        })?;
        self.note(action, Status::Canceling, vec![format!("{SERVER}manual cancelation requested")], (now, now), None);
        Ok(())
    }

    /// Ends an action whose cancellation was asked for, without the device.
    pub fn force_quit(&mut self, target: &str, action: u64, by: &str, now: Millis) -> Result<()> {
        let there = self.action_of(target, action)?;
        if !there.is_cancel() {
            let message = format!("Action [id: {action}] is not canceled yet and cannot be force quit");
            return Err(Refusal::not_force_quitable(message));
        }
        if !there.active {
            let message = format!("Action [id: {action}] is not active and cannot be force quit");
            return Err(Refusal::not_force_quitable(message));
        }
        let words = format!("{SERVER}A force quit has been performed.");
        self.note(action, Status::Canceled, vec![words], (now, now), None);
        self.end_cancelled(action)?;
        self.change(action, |a| a.stamp.touch(by, now))
    }

    /// Ends an action as cancelled; the target is due what it was before, or the next action's set.
    pub(super) fn end_cancelled(&mut self, action: u64) -> Result<()> {
        self.change(action, |a| {
            a.active = false;
            a.status = Status::Canceled;
        })?;
        let id = self.action(action)?.target.clone();
        let following = self.active_action(&id).map(|a| a.set);
        let target = self.target_mut(&id)?;
        match following {
            Some(set) => target.assigned = Some(set),
            None => {
                target.assigned = target.installed;
                target.update_status = "in_sync";
            }
        }
        Ok(())
    }

    /// Cancels an action whose maintenance window will never open again.
    pub fn cancel_if_lapsed(&mut self, action: u64, now: Millis) -> Result<()> {
        let there = self.action(action)?;
        let lapsed = there.active && !there.is_cancel() && there.window.as_ref().is_some_and(|w| w.is_over(now));
        if lapsed {
            self.change(action, |a| a.status = Status::Canceling)?;
            self.note(action, Status::Canceling, vec!["manual cancelation requested".into()], (now, now), None);
        }
        Ok(())
    }
}
