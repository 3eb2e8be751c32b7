//! Consent of somebody at the device, given one by one or once for all.

use super::{AutoConfirm, Confirmation, Hawkbit, Millis, Refusal, Result, SERVER, Status, feedback};

impl AutoConfirm {
    pub(super) fn sentence(&self) -> String {
        let or_none = |text: &Option<String>| text.clone().filter(|t| !t.is_empty()).unwrap_or_else(|| "n/a".into());
        format!(
            "Assignment automatically confirmed by initiator '{}'. \n\nAuto confirmation activated by system user: \
             '{}' \n\nRemark: {}",
            or_none(&self.initiator),
            self.by,
            or_none(&self.remark)
        )
    }
}

impl Hawkbit {
    /// Takes an answer to the question whether an action may run.
    pub fn confirm(&mut self, target: &str, action: u64, answer: Confirmation, now: Millis) -> Result<()> {
        let there = self.action_of(target, action)?;
        if !there.active {
            return Err(Refusal::bare(410));
        }
        if !there.waits() {
            return Err(Refusal::bare(404));
        }
        let status = if answer.is_yes() { Status::Running } else { Status::WaitForConfirmation };
        let words = if answer.is_yes() {
            "Target confirmed action. Therefore, it will be set to the running state to proceed with the deployment."
        } else {
            "Target rejected action. Action will stay in confirmation pending state."
        };
        let mut messages = answer.details.unwrap_or_default();
        messages.push(format!("{SERVER}{words}"));
        messages.extend(answer.code.map(|c| format!("Confirmation status code: {c}")));
        feedback::check_quota(there, messages.len(), status)?;
        self.note(action, status, messages, (now, now), answer.code);
        self.change(action, |a| {
            a.status = status;
            a.last_code = answer.code;
        })
    }

    /// From now on everything is agreed to, and so is what waits.
    pub fn activate_auto_confirm(&mut self, target: &str, consent: AutoConfirm, now: Millis) -> Result<()> {
        let there = self.target_mut(target)?;
        if there.auto_confirm.is_some() {
            return Err(Refusal::auto_confirm_active(target));
        }
        let sentence = consent.sentence();
        there.auto_confirm = Some(consent);
        let waiting = self.actions.values().filter(|a| a.active && a.waits() && a.target == target).map(|a| a.id);
        for id in waiting.collect::<Vec<_>>() {
            self.change(id, |a| a.status = Status::Running)?;
            self.note(id, Status::Running, vec![sentence.clone()], (now, now), None);
        }
        Ok(())
    }

    /// From now on every action is asked for again.
    pub fn deactivate_auto_confirm(&mut self, target: &str) -> Result<()> {
        self.target_mut(target)?.auto_confirm = None;
        Ok(())
    }
}
