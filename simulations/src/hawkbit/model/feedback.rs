//! What devices report about their actions.

use super::{Action, Hawkbit, Kind, MESSAGES_MAX, Millis, Refusal, Result, SERVER, STATUSES_MAX, Status};
use serde::Deserialize;

/// The state a device reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    Closed,
    Proceeding,
    Canceled,
    Scheduled,
    Rejected,
    Resumed,
    Downloaded,
    Download,
}

/// How it ended, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finished {
    Success,
    Failure,
    None,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    finished: Finished,
}

#[derive(Debug, Deserialize)]
struct Report {
    execution: Execution,
    result: Outcome,
    code: Option<i64>,
    details: Option<Vec<String>>,
}

/// The body of a feedback, on a deployment or on a cancellation.
#[derive(Debug, Deserialize)]
pub struct Feedback {
    timestamp: Option<Millis>,
    status: Report,
}

/// The body of an answer to a confirmation.
#[derive(Debug, Deserialize)]
pub struct Confirmation {
    confirmation: Answer,
    pub(super) code: Option<i64>,
    pub(super) details: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Confirmed,
    Denied,
}

impl Confirmation {
    pub(super) fn is_yes(&self) -> bool {
        self.confirmation == Answer::Confirmed
    }

    /// A plain yes or no.
    pub fn new(yes: bool, code: Option<i64>, details: Option<Vec<String>>) -> Self {
        Confirmation { confirmation: if yes { Answer::Confirmed } else { Answer::Denied }, code, details }
    }
}

/// Refuses an intermediate status beyond the quota, and too many messages in any.
pub(super) fn check_quota(action: &Action, messages: usize, status: Status) -> Result<()> {
    let terminal = matches!(status, Status::Finished | Status::Error);
    if !terminal && action.history.len() >= STATUSES_MAX {
        return Err(Refusal::quota(1, "ActionStatus", &format!("Action '{}'", action.id), STATUSES_MAX));
    }
    if messages > MESSAGES_MAX {
        return Err(Refusal::quota(messages, "Message", "ActionStatus '<new>'", MESSAGES_MAX));
    }
    Ok(())
}

fn or_say(mut messages: Vec<String>, words: &str) -> Vec<String> {
    if messages.is_empty() {
        messages.push(format!("{SERVER}{words}."));
    }
    messages
}

impl Feedback {
    /// Whether it ends an action: `downloaded` does for those that only download.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.execution, Execution::Closed | Execution::Downloaded)
    }

    fn device_messages(&self) -> Vec<String> {
        let mut messages = self.status.details.clone().unwrap_or_default();
        messages.extend(self.status.code.map(|c| format!("Device reported status code: {c}")));
        messages
    }

    /// The entry that it makes in the history of a deployment.
    fn on_deployment(&self) -> (Status, Vec<String>) {
        let failed = self.status.result.finished == Finished::Failure;
        let (status, words) = match self.status.execution {
            Execution::Canceled => (Status::Canceled, "Target confirmed cancellation."),
            Execution::Rejected => (Status::Warning, "Target REJECTED update"),
            Execution::Closed if failed => (Status::Error, "Target reported CLOSED with ERROR!"),
            Execution::Closed => (Status::Finished, "Target reported CLOSED with OK!"),
            Execution::Download => (Status::Download, "Target confirmed download start"),
            Execution::Downloaded => (Status::Downloaded, "Target confirmed download finished"),
            Execution::Proceeding => (Status::Running, "Target reported PROCEEDING"),
            Execution::Scheduled => (Status::Running, "Target reported SCHEDULED"),
            Execution::Resumed => (Status::Running, "Target reported RESUMED"),
        };
        (status, or_say(self.device_messages(), words))
    }

    /// The entry that it makes in the history of a cancellation.
    fn on_cancel(&self) -> (Status, Vec<String>) {
        let failed = self.status.result.finished == Finished::Failure;
        let (status, words) = match self.status.execution {
            Execution::Canceled => {
                let words = "Target reported cancel for a cancel which is not supported by the server.";
                (Status::Warning, Some(words))
            }
            Execution::Rejected => (Status::CancelRejected, Some("Target rejected the cancellation request.")),
            Execution::Closed if failed => (Status::Error, Some("Target was not able to complete cancellation.")),
            Execution::Closed => (Status::Canceled, Some("Cancellation confirmed.")),
            _ => (Status::Running, None),
        };
        let mut messages: Vec<String> = words.map(|w| format!("{SERVER}{w}")).into_iter().collect();
        messages.extend(self.device_messages());
        (status, messages)
    }
}

impl Hawkbit {
    /// A device reports on a deployment.
    pub fn feedback(&mut self, target: &str, action: u64, feedback: &Feedback, now: Millis) -> Result<()> {
        let there = self.action_of(target, action)?;
        if there.waits() {
            return Err(Refusal::bare(404));
        }
        if !there.active {
            return Err(Refusal::bare(410));
        }
        let (status, messages) = feedback.on_deployment();
        check_quota(there, messages.len(), status)?;
        let timestamp = feedback.timestamp.unwrap_or(now);
        self.note(action, status, messages, (timestamp, now), feedback.status.code);
        match status {
            Status::Finished => self.finish(action, timestamp)?,
            Status::Error => self.fail(action)?,
            Status::Downloaded => self.downloaded(action)?,
            _ => {}
        }
        self.change(action, |a| a.last_code = feedback.status.code)
    }

    fn finish(&mut self, action: u64, timestamp: Millis) -> Result<()> {
        self.end(action, Status::Finished)?;
        let there = self.action(action)?;
        let (set, only_download, id) = (there.set, there.kind == Kind::DownloadOnly, there.target.clone());
        let target = self.target_mut(&id)?;
        target.wants_attributes = true;
        if target.installed_at.is_none_or(|at| at < timestamp) {
            target.installed = Some(set);
            target.installed_at = Some(timestamp);
            if only_download {
                target.assigned = Some(set);
            }
            if target.assigned == Some(set) {
                target.update_status = "in_sync";
            }
        }
        Ok(())
    }

    fn fail(&mut self, action: u64) -> Result<()> {
        self.end(action, Status::Error)?;
        let id = self.action(action)?.target.clone();
        let target = self.target_mut(&id)?;
        target.update_status = "error";
        target.assigned = None;
        Ok(())
    }

    fn downloaded(&mut self, action: u64) -> Result<()> {
        if self.action(action)?.kind != Kind::DownloadOnly {
            return Ok(());
        }
        self.end(action, Status::Downloaded)?;
        let id = self.action(action)?.target.clone();
        let target = self.target_mut(&id)?;
        target.update_status = "in_sync";
        target.wants_attributes = true;
        Ok(())
    }

    fn end(&mut self, action: u64, status: Status) -> Result<()> {
        self.change(action, |a| {
            a.active = false;
            a.status = status;
        })
    }

    /// A device answers a request to stop.
    pub fn cancel_feedback(&mut self, target: &str, action: u64, feedback: &Feedback, now: Millis) -> Result<()> {
        let there = self.action_of(target, action)?;
        if !there.is_cancel() {
            return Err(Refusal::not_cancelable("The action is not in canceling state."));
        }
        let (status, mut messages) = feedback.on_cancel();
        match status {
            Status::Canceled => {
                messages.push(format!("{SERVER}Cancellation completion is finished successfully."));
                self.end_cancelled(action)?;
            }
            Status::Error | Status::CancelRejected => self.change(action, |a| a.status = Status::Running)?,
            _ => check_quota(there, messages.len(), status)?,
        }
        let timestamp = feedback.timestamp.unwrap_or(now);
        self.note(action, status, messages, (timestamp, now), feedback.status.code);
        Ok(())
    }

    /// A device fetched its deployment, or a request to stop; told once in a row.
    pub fn retrieved(&mut self, action: u64, now: Millis) -> Result<()> {
        let there = self.action(action)?;
        if there.history.last().is_some_and(|e| e.status == Status::Retrieved) {
            return Ok(());
        }
        let stops = there.is_cancel();
        let words = if stops {
            "Target retrieved cancel action and should start now the cancellation."
        } else {
            "Target retrieved update action and should start now the download."
        };
        self.note(action, Status::Retrieved, vec![format!("{SERVER}{words}")], (now, now), None);
        self.change(action, |a| {
            if !stops {
                a.status = Status::Retrieved;
            }
        })
    }
}
