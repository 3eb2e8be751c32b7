//! Wishes: taken in, made into bundles, put into rows, taken back.

use super::io::{Effect, NOBODY, Outcome, Targets, Wish};
use super::machine::Dispatch;
use super::state::{Action, Event, Label, Phase, Progress, Wanted};
use crate::wire::bundle::PARTS_MAX;
use crate::wire::{Bundle, Mode, ReportState, open, seal};
use crate::{DeviceId, Digest};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long to wait before a bundle that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(15);
/// Actions that are remembered; beyond it the oldest that are over are forgotten.
const ACTIONS_MAX: usize = 20_000;
/// How long renewals of rows that only hold longer are gathered into one announcement.
const RENEWAL: Duration = Duration::from_secs(10);
/// Requests that wait for the gateway to settle.
const HELD_MAX: usize = 256;
/// How long they wait.
const HELD: Duration = Duration::from_secs(20);

impl Dispatch {
    pub(super) fn request(&mut self, ticket: u64, wish: Wish) {
        if let Some(alarm) = &self.state.alarm {
            return self.refuse(ticket, None, alarm.to_string());
        }
        let is_empty = wish.parts.is_empty() && wish.removed.is_empty();
        if wish.mode == Mode::Withdraw || is_empty || wish.parts.len() > PARTS_MAX {
            return self.refuse(
                ticket,
                None,
                format!("a decision needs 1 to {PARTS_MAX} parts, or apps to remove, and mode stage, when-idle or now"),
            );
        }
        if !self.may_number() && self.held.len() >= HELD_MAX {
            return self.refuse(
                ticket,
                None,
                "too many decisions wait for the gateway to learn the newest counter".into(),
            );
        }
        if !self.may_number() {
            return self.held.push((self.now.after(HELD), ticket, wish));
        }
        if let Some(known) = wish.action.filter(|a| self.state.actions.contains_key(a)) {
            return self.renew(ticket, known, &wish);
        }
        let devices = self.targets(&wish.targets);
        if devices.is_empty() {
            return self.refuse(
                ticket,
                None,
                "no device is known yet; name the devices, or wait until some are heard".into(),
            );
        }
        self.accept(ticket, wish, devices);
    }

    /// Numbers may be given once it is known which were: by us, or by the announcement in force.
    fn may_number(&self) -> bool {
        self.settled || self.state.rank > (0, 0)
    }

    /// A gateway without state and without a peer cannot know which numbers are taken.
    pub(super) fn refuse_held(&mut self) {
        let due = self.held.iter().filter(|(at, ..)| *at <= self.now).count();
        for (_, ticket, _) in self.held.drain(..due).collect::<Vec<_>>() {
            let reason = "the gateway cannot reach its peer and does not know yet which numbers are taken; \
                          start `fullmetal peer` and decide again";
            self.refuse(ticket, None, reason.into());
        }
    }

    fn targets(&self, targets: &Targets) -> BTreeSet<DeviceId> {
        match targets {
            Targets::Named(devices) => devices.clone(),
            Targets::All => self.state.devices.keys().cloned().collect(),
        }
    }

    fn accept(&mut self, ticket: u64, wish: Wish, devices: BTreeSet<DeviceId>) {
        let number = wish.action.unwrap_or(self.state.next_action);
        self.state.next_action = self.state.next_action.max(number.saturating_add(1));
        let action = Action {
            given: wish.action.is_some(),
            mode: wish.mode,
            valid_until: wish.valid_until,
            parts: wish.parts.clone(),
            removed: wish.removed.clone(),
            labels: Vec::new(),
            bundle: None,
            phase: Phase::Pending { reason: String::new() },
            at: self.now,
            devices: devices.into_iter().map(|d| (d, Progress::default())).collect(),
        };
        self.forget_old_actions();
        self.state.actions.insert(number, action);
        self.wait(ticket, number);
        self.audit_lazily(Event::Decided { action: number, wish });
        if self.connected {
            return self.start_resolving(number);
        }
        self.unresolved(number, "the gateway has no connection to its peer".into(), true);
    }

    /// The same action again: it may have become more urgent, or hold longer.
    fn renew(&mut self, ticket: u64, number: u64, wish: &Wish) {
        let Some(action) = self.state.actions.get_mut(&number) else { return };
        let known = action.is_for(&wish.parts, &wish.removed);
        if known && action.parts.is_empty() {
            // Taken over from another gateway's announcement, which has no wishes.
            action.parts = wish.parts.clone();
        }
        if !known {
            return self.refuse(ticket, Some(number), format!("action {number} exists with other parts"));
        }
        if (action.mode, action.valid_until) != (wish.mode, wish.valid_until) && action.phase != Phase::Withdrawn {
            let more_urgent = action.mode != wish.mode;
            (action.mode, action.valid_until) = (wish.mode, wish.valid_until);
            for (device, row) in self.state.rows.iter_mut().filter(|(_, r)| r.action == number) {
                (row.mode, row.valid_until) = (wish.mode, wish.valid_until);
                self.state.fresh.insert(device.clone());
            }
            self.touch_lazily();
            if more_urgent {
                self.compose_for(ticket != NOBODY);
            } else {
                self.compose_within(RENEWAL);
            }
        }
        self.wait(ticket, number);
        self.answer_as_it_stands(number);
    }

    fn answer_as_it_stands(&mut self, number: u64) {
        let Some(action) = self.state.actions.get(&number) else { return };
        let outcome = match &action.phase {
            Phase::Pending { reason } if reason.is_empty() => return,
            Phase::Pending { reason } => Outcome::Pending { reason: reason.clone() },
            Phase::Ready => return,
            Phase::Announced => Outcome::Announced { rank: self.state.rank, unheard: Vec::new() },
            Phase::Refused { reason } => Outcome::Refused { reason: reason.clone() },
            Phase::Withdrawn => Outcome::Withdrawn { devices: 0 },
        };
        self.answer(number, outcome);
    }

    pub(super) fn start_resolving(&mut self, number: u64) {
        let Some(action) = self.state.actions.get(&number) else { return };
        self.retry_at.remove(&number);
        if !matches!(action.phase, Phase::Pending { .. }) {
            return;
        }
        if action.given {
            // Of what was taken over from another gateway only the bundle is known: what it brings is in its labels.
            let is_whole = |a: &Action| a.parts.len() == a.labels.len();
            let same = |a: &&Action| a.wants_the_same_as(action);
            let mut whole = self.state.actions.values().filter(same).filter(|a| is_whole(a));
            let made = whole.find_map(|a| self.state.bundles.get(&a.bundle?));
            if let Some(envelope) = made.cloned() {
                return self.take_bundle(number, &envelope);
            }
            if self.resolving.iter().filter_map(|n| self.state.actions.get(n)).any(|a| same(&a)) {
                return;
            }
        }
        if self.resolving.insert(number) {
            let (parts, removed) = (action.parts.clone(), action.removed.clone());
            self.out.push_back(Effect::Resolve { action: number, parts, removed });
        }
    }

    /// The action itself, and all others of the deployment system that wait for the same bundle.
    fn with_siblings(&self, number: u64) -> Vec<u64> {
        let Some(action) = self.state.actions.get(&number).filter(|a| a.given) else { return vec![number] };
        let waits = |a: &Action| a.wants_the_same_as(action) && matches!(a.phase, Phase::Pending { .. });
        let others = self.state.actions.iter().filter(|(n, a)| **n != number && waits(a)).map(|(n, _)| *n);
        std::iter::once(number).chain(others).collect()
    }

    pub(super) fn retry_actions(&mut self) {
        if !self.connected {
            return;
        }
        let due: Vec<u64> = self.retry_at.iter().filter(|(_, at)| **at <= self.now).map(|(n, _)| *n).collect();
        for number in due {
            self.start_resolving(number);
        }
    }

    pub(super) fn restore_actions(&mut self) {
        let pending = |(n, a): (&u64, &Action)| matches!(a.phase, Phase::Pending { .. }).then_some((*n, self.now));
        self.retry_at = self.state.actions.iter().filter_map(pending).collect();
    }

    pub(super) fn unresolved(&mut self, number: u64, reason: String, retry: bool) {
        self.resolving.remove(&number);
        for number in self.with_siblings(number) {
            self.not_made(number, reason.clone(), retry);
        }
    }

    fn not_made(&mut self, number: u64, reason: String, retry: bool) {
        let Some(action) = self.state.actions.get_mut(&number) else { return };
        if !matches!(action.phase, Phase::Pending { .. }) {
            return;
        }
        self.touch_lazily();
        if retry {
            self.retry_at.insert(number, self.now.after(RETRY));
            set_phase(&mut self.state.actions, number, Phase::Pending { reason: reason.clone() });
            return self.answer(number, Outcome::Pending { reason });
        }
        self.refuse_action(number, reason);
    }

    fn refuse_action(&mut self, number: u64, reason: String) {
        set_phase(&mut self.state.actions, number, Phase::Refused { reason: reason.clone() });
        self.audit(Event::Refused { action: number, reason: reason.clone() });
        self.answer(number, Outcome::Refused { reason });
    }

    pub(super) fn resolved(&mut self, number: u64, bundle: &Bundle) {
        self.resolving.remove(&number);
        let envelope = seal(bundle, &[]);
        for number in self.with_siblings(number) {
            match &envelope {
                Ok(envelope) => self.take_bundle(number, envelope),
                Err(error) => self.refuse_action(number, format!("the bundle cannot be written: {error}")),
            }
        }
    }

    /// Gives a pending action its bundle.
    fn take_bundle(&mut self, number: u64, envelope: &[u8]) {
        let pending = self.state.actions.get(&number).is_some_and(|a| matches!(a.phase, Phase::Pending { .. }));
        let Ok(bundle) = open::<Bundle>(envelope) else { return };
        if !pending {
            return;
        }
        let digest = Digest::of(envelope);
        let may = self.check_readable(number, &bundle.document);
        if let Err(problem) = may.and_then(|()| self.check_room(number, digest, envelope)) {
            return self.refuse_action(number, problem);
        }
        self.state.bundles.insert(digest, ByteBuf::from(envelope));
        let labels = labels_of(&bundle.document);
        if let Some(action) = self.state.actions.get_mut(&number) {
            action.bundle = Some(digest);
            action.labels = labels.clone();
        }
        set_phase(&mut self.state.actions, number, Phase::Ready);
        self.audit_lazily(Event::Bundled { action: number, bundle: digest, parts: labels });
        self.apply_rows(number);
        self.compose_for(self.askers.contains_key(&number));
    }

    /// Puts a ready action into the rows of its devices, where no newer one is.
    pub(super) fn apply_rows(&mut self, number: u64) {
        let Some(action) = self.state.actions.get(&number) else { return };
        let Some(bundle) = action.bundle else { return };
        let (mode, valid_until) = (action.mode, action.valid_until);
        let devices: Vec<DeviceId> = action.devices.keys().cloned().collect();
        for device in devices {
            let old = self.state.rows.get(&device).map(|w| w.action);
            if let Some(newer) = old.filter(|old| *old > number) {
                self.mark_replaced(number, &device, newer);
                continue;
            }
            if let Some(old) = old.filter(|old| *old != number) {
                self.mark_replaced(old, &device, number);
            }
            self.state.rows.insert(device.clone(), Wanted { action: number, bundle, mode, valid_until });
            self.state.fresh.insert(device);
        }
        self.touch_lazily();
    }

    pub(super) fn mark_replaced(&mut self, number: u64, device: &DeviceId, by: u64) {
        let progress = self.state.actions.get_mut(&number).and_then(|a| a.devices.get_mut(device));
        if let Some(progress) = progress.filter(|p| !p.is_over()) {
            progress.replaced_by = Some(by);
        }
    }

    pub(super) fn withdraw(&mut self, ticket: u64, number: u64) {
        if let Some(alarm) = &self.state.alarm {
            return self.refuse(ticket, Some(number), alarm.to_string());
        }
        let Some(action) = self.state.actions.get_mut(&number) else {
            return self.refuse(ticket, None, format!("there is no action {number}; see `fullmetal-gateway status`"));
        };
        if let Phase::Refused { reason } = &action.phase {
            let reason = format!("action {number} was never announced: {reason}");
            return self.refuse(ticket, Some(number), reason);
        }
        let before = std::mem::replace(&mut action.phase, Phase::Withdrawn);
        self.retry_at.remove(&number);
        let devices = self.withdraw_rows(number);
        if devices.is_some() {
            self.compose_for(ticket != NOBODY);
        }
        if before != Phase::Withdrawn {
            self.audit_lazily(Event::Withdrawn { action: number });
        }
        if matches!(before, Phase::Pending { .. }) {
            // No device was told: whoever took it back may count on it at once.
            self.touch();
        }
        self.answer(number, Outcome::Refused { reason: format!("action {number} was withdrawn") });
        self.wait(ticket, number);
        self.answer(number, Outcome::Withdrawn { devices: devices.unwrap_or(0) });
    }

    /// Rows of devices that are done go; the others say withdraw. Returns how many say so; `None` without any row.
    fn withdraw_rows(&mut self, number: u64) -> Option<u64> {
        let rows = self.state.rows.iter().filter(|(_, w)| w.action == number);
        let devices: Vec<DeviceId> = rows.map(|(d, _)| d.clone()).collect();
        let (any, mut told) = (!devices.is_empty(), 0);
        for device in devices {
            if self.has_ended(number, &device) {
                self.state.rows.remove(&device);
            } else if let Some(row) = self.state.rows.get_mut(&device) {
                row.mode = Mode::Withdraw;
                told += 1;
            }
            self.state.fresh.insert(device);
        }
        any.then_some(told)
    }

    pub(super) fn has_ended(&self, number: u64, device: &DeviceId) -> bool {
        let progress = self.state.actions.get(&number).and_then(|a| a.devices.get(device));
        progress.is_some_and(|p| p.state.is_some_and(ReportState::is_terminal))
    }

    /// Somebody is to be answered when the action gets somewhere.
    fn wait(&mut self, ticket: u64, number: u64) {
        if ticket != NOBODY {
            self.askers.insert(number, ticket);
        }
    }

    /// Answers whoever asked for the action, once what it is told is durable.
    pub(super) fn answer(&mut self, number: u64, outcome: Outcome) {
        if let Some(ticket) = self.askers.remove(&number) {
            self.touch();
            self.once_durable(Effect::Answer { ticket, action: Some(number), outcome });
        }
    }

    fn refuse(&mut self, ticket: u64, action: Option<u64>, reason: String) {
        if ticket != NOBODY {
            self.out.push_back(Effect::Answer { ticket, action, outcome: Outcome::Refused { reason } });
        }
    }

    fn forget_old_actions(&mut self) {
        if self.state.actions.len() < ACTIONS_MAX {
            return;
        }
        let used: BTreeSet<u64> = self.state.rows.values().map(|w| w.action).collect();
        let over = |a: &Action| !matches!(a.phase, Phase::Pending { .. } | Phase::Ready);
        let old = self.state.actions.iter().find(|(n, a)| over(a) && !used.contains(n)).map(|(n, _)| *n);
        if let Some(number) = old {
            self.state.actions.remove(&number);
        }
    }
}

fn set_phase(actions: &mut std::collections::BTreeMap<u64, Action>, number: u64, phase: Phase) {
    if let Some(action) = actions.get_mut(&number) {
        action.phase = phase;
    }
}

pub(super) fn labels_of(bundle: &Bundle) -> Vec<Label> {
    let label = |p: &crate::wire::Part| Label {
        kind: p.kind,
        name: p.name.clone(),
        version: p.version.clone(),
        commit: p.commit,
    };
    bundle.parts.iter().map(label).collect()
}
