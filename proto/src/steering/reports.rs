//! Reports of devices in the server's terms.

use super::device::{Asked, Device, Reading};
use super::io::{Message, Open, Question, Stage};
use super::{Next, Steering, ask, decide, tell};
use crate::DeviceId;
use crate::dispatch::{self, Phase, State};
use crate::wire::{ExitStatus, Report, ReportState};

/// Words that are not final, an action and device. The server takes 1,000; a device that starts again and again must
/// not use up the place of the last word.
const WORDS_MAX: u32 = 200;
/// Reports of one device that wait; beyond it the spool keeps them until the gateway's next start.
const REPORTS_MAX: usize = 10_000;

/// What becomes of a report.
enum Plan {
    /// Nobody waits for it.
    Pass,
    /// What is open has to be known first.
    LookFirst,
    /// Something else comes first.
    Wait,
    /// It is told.
    Tell { message: Message, last: bool },
}

impl Steering {
    pub(super) fn reported(&mut self, report: Report) {
        let id = report.device.clone();
        let Some(device) = self.device(&id) else { return };
        let known = device.reports.iter().any(|r| r.counter == report.counter);
        if known || device.reports.len() >= REPORTS_MAX {
            return;
        }
        let at = device.reports.partition_point(|r| r.counter < report.counter);
        // The first one's word may be under way.
        let at = if device.asked.is_some() { at.max(1).min(device.reports.len()) } else { at };
        device.reports.insert(at, report);
        device.fresh = false;
    }

    pub(super) fn next_report(&mut self, id: &DeviceId, state: &State) -> Option<Next> {
        let device = self.devices.get_mut(id)?;
        let report = device.reports.front()?;
        match plan(report, device, state) {
            Plan::LookFirst => Some(ask(id, Question::Base)),
            Plan::Wait => None,
            Plan::Pass => {
                device.doubted = false;
                let counter = device.reports.pop_front()?.counter;
                Some(decide(dispatch::Input::Delivered { device: id.clone(), counter }))
            }
            Plan::Tell { message, last } => {
                let action = report.action;
                let words = if device.words.0 == action { device.words.1 } else { 0 };
                device.words = (action, words.saturating_add(1));
                let cancel = !matches!(message, Message::Progress { .. });
                Some(tell(id, message, Asked::Report { last, cancel }))
            }
        }
    }
}

fn plan(report: &Report, device: &Device, state: &State) -> Plan {
    if report.state == ReportState::Inventory {
        return Plan::Pass;
    }
    match (device.doubted, device.fresh) {
        (true, false) => return Plan::LookFirst,
        (true, true) if !device.may_be_open(report.action) => return Plan::Pass,
        _ => {}
    }
    let open = device.open == Some(Open::Deployment(report.action));
    match state.actions.get(&report.action) {
        Some(action) if !action.given || action.bundle != report.bundle => return Plan::Pass,
        // A device has a word on its own actions only.
        Some(action) if !action.devices.contains_key(&report.device) => return Plan::Pass,
        Some(_) => {}
        // Announced by another gateway, and over at the device before this one learned of it.
        None if !device.fresh => return Plan::LookFirst,
        None if open => {}
        None => return Plan::Pass,
    }
    match report.state {
        ReportState::Withdrawn | ReportState::TooLate | ReportState::Staged if !device.fresh => Plan::LookFirst,
        ReportState::Withdrawn | ReportState::TooLate => about_cancel(report, device, state),
        ReportState::Staged if !open => Plan::Pass,
        ReportState::Staged => match device.reading(report.action).map(|r| &r.order) {
            Some(Ok(order)) if order.final_when_staged => word(report, device, Stage::Downloaded),
            Some(_) => word(report, device, Stage::Proceeding),
            None => Plan::Wait,
        },
        ReportState::Succeeded => word(report, device, Stage::Succeeded),
        ReportState::Failed => word(report, device, Stage::Failed),
        ReportState::Fetching => word(report, device, Stage::Download),
        _ => word(report, device, Stage::Proceeding),
    }
}

/// What the device says to a withdrawal answers the cancel, when there is one.
fn about_cancel(report: &Report, device: &Device, state: &State) -> Plan {
    let withdrawn = report.state == ReportState::Withdrawn;
    match (device.open, device.cancel) {
        (Some(Open::Cancel(_)), None) => Plan::Wait,
        (Some(Open::Cancel(_)), Some((cancel, stops))) if stops == report.action => {
            let message = if withdrawn {
                Message::CancelAccepted { cancel }
            } else {
                Message::CancelRejected { cancel, reason: "the device had begun to switch; its result follows".into() }
            };
            Plan::Tell { message, last: withdrawn }
        }
        (Some(Open::Deployment(action)), _) if action == report.action && withdrawn => {
            let on_hold = device.reading(action).is_some_and(Reading::is_on_hold);
            let by_operator = state.actions.get(&action).is_some_and(|a| a.phase == Phase::Withdrawn);
            if on_hold || !by_operator {
                return Plan::Pass;
            }
            let details = vec!["withdrawn at the gateway by its operator".to_owned()];
            Plan::Tell { message: Message::Progress { action, stage: Stage::Failed, done: None, details }, last: true }
        }
        _ => Plan::Pass,
    }
}

fn word(report: &Report, device: &Device, stage: Stage) -> Plan {
    let action = report.action;
    if !stage.is_final() && device.words.0 == action && device.words.1 >= WORDS_MAX {
        return Plan::Pass;
    }
    let mut details = details(report);
    if let (ReportState::Accepted, Some(Ok(order))) = (report.state, device.reading(action).map(|r| &r.order)) {
        details.extend(order.notes.iter().cloned());
    }
    Plan::Tell { message: Message::Progress { action, stage, done: done(report), details }, last: stage.is_final() }
}

/// How much of the fetch is done, in units that both numbers share and that fit 31 bits.
fn scaled(report: &Report) -> Option<(u32, u32, &'static str)> {
    let (total, unit) = match report.bytes_total {
        0 => return None,
        total if total < 10_000_000 => (total, (1_000, "kB")),
        total => (total, (1_000_000, "MB")),
    };
    let of = u32::try_from(total.div_ceil(unit.0)).ok().filter(|of| *of <= i32::MAX as u32)?;
    let done = report.bytes_from_peers.saturating_add(report.bytes_from_central) / unit.0;
    Some((u32::try_from(done).unwrap_or(of).min(of), of, unit.1))
}

fn done(report: &Report) -> Option<(u32, u32)> {
    scaled(report).filter(|_| report.state == ReportState::Fetching).map(|(done, of, _)| (done, of))
}

fn fetching(report: &Report) -> String {
    scaled(report).map_or_else(|| "fetching".into(), |(done, of, unit)| format!("fetching: {done} of {of} {unit}"))
}

/// Lines for the operator: what happened, how the app ended, its last lines, what it cost.
fn details(report: &Report) -> Vec<String> {
    let what = match report.state {
        ReportState::Accepted => "accepted: the bundle holds, fetching begins",
        ReportState::Fetching => &fetching(report),
        ReportState::Staged => "staged: everything lies checked out beside the running version",
        ReportState::Switching => "switching",
        ReportState::Proving => "proving: the new version runs and is watched",
        ReportState::Succeeded => "succeeded: the new version has proven itself and is kept",
        ReportState::Failed => "failed",
        _ => "",
    };
    let mut lines = vec![if report.reason.is_empty() { what.into() } else { format!("{what}: {}", report.reason) }];
    match report.exit {
        Some(ExitStatus::Code(code)) => lines.push(format!("the app exited with status {code}")),
        Some(ExitStatus::Signal(signal)) => lines.push(format!("the app was ended by signal {signal}")),
        None => {}
    }
    lines.extend(report.log.iter().map(|line| format!("log: {line}")));
    let (peers, central) = (report.bytes_from_peers, report.bytes_from_central);
    if (peers, central) != (0, 0) {
        lines.push(format!("{peers} bytes from peers, {central} bytes from central"));
    }
    lines
}
