//! Deployments that the server has for a device, what becomes of them here, and what it knows of the device.

use super::device::{Asked, Device, Reading};
use super::io::{Confirm, Message, Open, Order, Question, Stage};
use super::{GATHER, Next, POLLS_APART, Steering, ask, decide, tell, withdraw};
use crate::DeviceId;
use crate::dispatch::{self, Action, NOBODY, Phase, State};
use crate::wire::{Mode, PartKind, PartState, ReportState};
use std::collections::BTreeMap;

impl Steering {
    pub(super) fn offered(&mut self, id: &DeviceId, action: u64, order: Result<Box<Order>, String>, state: &State) {
        let now = self.now;
        let first = order.as_ref().is_ok_and(|o| !self.has_parts_of(o) && !state.actions.contains_key(&action));
        let Some(device) = self.answered(id) else { return };
        let valid_for = order.as_ref().ok().and_then(|o| o.wish.valid_until).map(|until| until.since(now));
        device.read = Some(Reading { action, order, valid_for });
        device.stale = false;
        self.renew(id, state);
        if first {
            self.gather(id);
        }
    }

    fn has_parts_of(&self, order: &Order) -> bool {
        let read = self.devices.values().filter_map(|d| d.read.as_ref()?.order.as_ref().ok());
        read.into_iter().any(|o| (&o.wish.parts, &o.wish.removed) == (&order.wish.parts, &order.wish.removed))
    }

    /// A deployment that nobody had before is probably one of many: the others are asked as soon as [`POLLS_APART`] allows, and within
    /// [`GATHER`].
    fn gather(&mut self, first: &DeviceId) {
        let heard = |d: &Device| d.heard.is_some_and(|at| self.now.since(at) <= self.config.heard_within);
        let others: Vec<DeviceId> =
            self.devices.iter().filter(|(id, d)| *id != first && heard(d)).map(|(id, _)| id.clone()).collect();
        let count = u32::try_from(others.len()).unwrap_or(u32::MAX).max(1);
        let apart = POLLS_APART.min(GATHER / count);
        for (i, id) in (0..).zip(others) {
            if let Some(device) = self.devices.get_mut(&id) {
                device.poll_at = device.poll_at.min(self.now.after(apart * i));
            }
            self.schedule(&id);
        }
    }

    /// Hands the open deployment to the gateway's core when it is new there, more urgent, or about to run out.
    pub(super) fn renew(&mut self, id: &DeviceId, state: &State) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(id) else { return };
        let Some(Open::Deployment(action)) = device.open else { return };
        let Some(Reading { order: Ok(order), valid_for, .. }) = device.reading(action) else { return };
        let known = state.actions.get(&action);
        if known.is_some_and(|a| !a.devices.contains_key(id)) {
            return;
        }
        if order.hold.is_some() {
            if known.is_some_and(|a| !a.phase.is_over()) && device.withdrawing != Some(action) {
                device.withdrawing = Some(action);
                self.out.push_back(withdraw(action).0);
            }
            return;
        }
        let mut wish = order.wish.clone();
        wish.valid_until = valid_for.map(|time| now.after(time));
        let due = |a: &Action| match (valid_for, a.valid_until) {
            (None, until) => a.mode != wish.mode || until.is_some(),
            (Some(time), Some(until)) => a.mode != wish.mode || until < now.after(*time * 2 / 3),
            (Some(_), None) => true,
        };
        if known.is_none_or(|a| !a.phase.is_over() && due(a)) {
            self.out.push_back(decide(dispatch::Input::Request { ticket: NOBODY, wish }).0);
        }
    }

    pub(super) fn next_of_offer(&mut self, id: &DeviceId, state: &State) -> Option<Next> {
        let device = self.devices.get(id)?;
        match device.open? {
            Open::Deployment(action) => next_of_deployment(id, action, device, state),
            Open::Confirmation(action) if device.confirmed != Some(action) => {
                let word = device.confirm.filter(|(of, _)| *of == action).map(|(_, yes)| yes);
                let yes = word.or((self.config.confirm == Confirm::Auto).then_some(true))?;
                Some(tell(id, Message::Confirmation { action, yes }, Asked::Confirmation(action)))
            }
            _ => None,
        }
    }

    pub(super) fn next_attributes(&mut self, id: &DeviceId, state: &State) -> Option<Next> {
        let device = self.devices.get(id)?;
        device.open?;
        let attributes = attributes(id, state);
        let changed = !device.attributes.is_empty() && attributes != device.attributes;
        let due = !attributes.is_empty() && (device.wants_attributes || changed);
        due.then(|| tell(id, Message::Attributes(attributes.clone()), Asked::Attributes(attributes)))
    }
}

/// Why the server is to be told that its deployment ends here, though no device says so.
fn refusal(id: &DeviceId, reading: &Reading, known: Option<&Action>, state: &State) -> Option<String> {
    let progress = known.and_then(|a| a.devices.get(id));
    let goes_on = known.is_some_and(|a| a.phase == Phase::Announced) && progress.is_some_and(|p| !p.is_over());
    let told = state.rows.get(id).is_some_and(|row| row.action == reading.action);
    let silent = !told && progress.is_some_and(|p| p.state.is_none());
    match (&reading.order, known.filter(|a| a.given).map(|a| &a.phase)) {
        // What the device was told goes on, whatever became of its description since.
        (Err(_), _) if goes_on => None,
        (Err(reason), _) | (_, Some(Phase::Refused { reason })) => Some(reason.clone()),
        (Ok(order), Some(Phase::Withdrawn)) if order.hold.is_none() && silent => {
            Some("withdrawn at the gateway by its operator".into())
        }
        _ => None,
    }
}

fn next_of_deployment(id: &DeviceId, action: u64, device: &Device, state: &State) -> Option<Next> {
    let Some(reading) = device.reading(action) else { return Some(ask(id, Question::Deployment(action))) };
    let known = state.actions.get(&action);
    if let Some(reason) = refusal(id, reading, known, state) {
        let details = vec![format!("refused: {reason}")];
        let message = Message::Progress { action, stage: Stage::Failed, done: None, details };
        return (device.refused != Some(action)).then(|| tell(id, message, Asked::Refusal(action)));
    }
    let phase = known.filter(|a| a.given).map(|a| &a.phase);
    let other = |a: &Action, o: &Order| !a.is_for(&o.wish.parts, &o.wish.removed) || !a.devices.contains_key(id);
    let waits = match (known, phase, &state.alarm) {
        _ if let Err(reason) = &reading.order => format!("the device goes on with what it was told; {reason}"),
        (Some(known), ..) if reading.order.as_ref().is_ok_and(|o| other(known, o)) => format!(
            "this gateway knows action {action} with other software or for other devices; was the server's database \
             made anew? Assign again until the number is a new one, or start the gateway with an empty state directory"
        ),
        (_, Some(Phase::Pending { reason }), _) if !reason.is_empty() => reason.clone(),
        (None, _, Some(alarm)) => alarm.to_string(),
        _ => return None,
    };
    if device.told.as_ref().is_some_and(|(of, reason)| *of == action && *reason == waits) {
        return None;
    }
    let details = vec![format!("waiting: {waits}")];
    let message = Message::Progress { action, stage: Stage::Proceeding, done: None, details };
    Some(tell(id, message, Asked::Waiting(action, waits)))
}

/// Bytes in words that change only when it matters.
fn amount(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 10 << 10 { format!("{mib} MiB") } else { format!("{} GiB", mib >> 10) }
}

/// What the server may show of a device: what runs there by its own word, and what its newest action cost.
fn attributes(id: &DeviceId, state: &State) -> BTreeMap<String, String> {
    let Some(device) = state.devices.get(id) else { return BTreeMap::new() };
    let mut map = BTreeMap::new();
    for part in &device.parts {
        let PartState { kind, name, version, commit, .. } = part;
        match kind {
            PartKind::App => map.insert(format!("app.{name}"), format!("{version} ({commit})")),
            PartKind::Os => map.insert("os".into(), format!("{name} {version} ({commit})")),
        };
    }
    if !device.agent.is_empty() {
        map.insert("agent".into(), device.agent.clone());
    }
    if let Some(free) = device.free_bytes {
        map.insert("free_disk".into(), amount(free));
    }
    let ended = |a: &Action| a.devices.get(id).filter(|p| p.state.is_some_and(ReportState::is_terminal)).cloned();
    let newest = state.rows.get(id).filter(|row| row.mode != Mode::Withdraw);
    if let Some(progress) = newest.and_then(|row| state.actions.get(&row.action)).and_then(ended) {
        map.insert("bytes_from_peers".into(), progress.bytes_from_peers.to_string());
        map.insert("bytes_from_central".into(), progress.bytes_from_central.to_string());
        let failed = progress.state == Some(ReportState::Failed);
        map.insert("last_error".into(), if failed { progress.reason } else { String::new() });
    }
    map
}
