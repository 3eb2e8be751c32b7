//! Announcements: composed, renewed, learned from the fleet, and the alarms of two gateways.

use super::alarm::Alarm;
use super::decide::labels_of;
use super::io::{Effect, Newest, Outcome};
use super::machine::Dispatch;
use super::state::{Action, Announced, Event, Phase, Wanted};
use crate::wire::{Announcement, Bundle, Mode, Part, Row, cbor, open};
use crate::{DeviceId, Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far announcements lie apart whose rows nobody waits for: each goes to every device of the fleet.
const APART: Duration = Duration::from_secs(1);
/// How many counters are passed over when nobody can tell which a lost state had used: more than an announcement a second
/// for a century.
const SKIPPED: u64 = 1 << 32;

impl Dispatch {
    pub(super) fn may_act(&self) -> bool {
        self.settled && self.state.alarm.is_none()
    }

    pub(super) fn connect(&mut self) {
        self.connected = true;
        self.pay_receipts();
        for at in self.retry_at.values_mut() {
            *at = self.now;
        }
        if self.settled {
            return self.send_current();
        }
        self.settle_at = Some(self.now.after(self.config.settle));
    }

    /// The time to learn is over.
    pub(super) fn settle(&mut self) {
        self.settled = true;
        self.settle_at = None;
        self.send_current();
        for (_, ticket, wish) in std::mem::take(&mut self.held) {
            self.request(ticket, wish);
        }
    }

    fn send_current(&mut self) {
        if !self.connected || !self.may_act() {
            return;
        }
        self.out.push_back(Effect::Help(self.active_parts()));
        if let Some(current) = &self.current {
            self.out.push_back(Effect::Announce(Box::new(current.clone())));
        }
    }

    /// The parts of all bundles in the rows.
    fn active_parts(&self) -> Vec<Part> {
        let used: BTreeSet<Digest> = self.state.rows.values().map(|w| w.bundle).collect();
        let bundles = used.iter().filter_map(|d| self.state.bundles.get(d));
        bundles.filter_map(|bytes| open::<Bundle>(bytes).ok()).flat_map(|b| b.document.parts).collect()
    }

    pub(super) fn compose_soon(&mut self) {
        self.compose_within(self.config.gather);
    }

    /// Soon when somebody waits for it; otherwise soon after a quiet time, and at the latest within [`APART`].
    pub(super) fn compose_for(&mut self, somebody: bool) {
        let last = self.state.announced.as_ref().filter(|_| !somebody);
        let quiet = last.map_or(Duration::ZERO, |a| a.issued.after(APART).since(self.now));
        self.compose_within(quiet.clamp(self.config.gather, self.config.gather.max(APART)));
    }

    pub(super) fn compose_within(&mut self, time: Duration) {
        let due = self.now.after(time);
        self.compose_at = Some(self.compose_at.map_or(due, |at| at.min(due)));
    }

    pub(super) fn refresh_at(&self) -> Option<Timestamp> {
        let announced = self.state.announced.as_ref().filter(|_| !self.state.rows.is_empty())?;
        let life = announced.expires.since(announced.issued).min(self.config.expiry);
        Some(announced.issued.after(life / 2))
    }

    pub(super) fn announce_if_due(&mut self) {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
        if self.may_act() && (due(self.compose_at) || due(self.refresh_at()) || self.is_of_old_epoch()) {
            self.compose_at = None;
            self.announce();
        }
    }

    /// Nobody follows an announcement of an older generation of the gateway role than the trust file's.
    fn is_of_old_epoch(&self) -> bool {
        let newest = self.state.announced.as_ref();
        !self.state.rows.is_empty() && newest.is_some_and(|a| a.rank.0 < self.config.epoch)
    }

    fn next_rank(&self) -> Result<(u64, u64), Alarm> {
        let (epoch, counter) = self.state.rank;
        match self.config.epoch {
            ours if ours > epoch => Ok((ours, 1)),
            ours if ours < epoch => Err(Alarm::OldTrust { rank: self.state.rank }),
            ours => counter.checked_add(1).map(|next| (ours, next)).ok_or(Alarm::Exhausted),
        }
    }

    fn announce(&mut self) {
        let rank = match self.next_rank() {
            Ok(rank) => rank,
            Err(alarm) => return self.raise(alarm),
        };
        self.drop_withdrawn_rows();
        let (issued, expires) = (self.now, self.now.after(self.config.expiry));
        let mut announced = Announced { rank, content: Digest::default(), issued, expires, ours: true };
        let announcement = self.state.compose(&self.config.fleet, &announced);
        announced.content = Digest::of(&cbor::to_vec(&announcement));
        let content = announced.content;
        self.state.rank = rank;
        self.state.announced = Some(announced);
        let used: BTreeSet<Digest> = self.state.rows.values().map(|w| w.bundle).collect();
        self.state.bundles.retain(|digest, _| used.contains(digest));
        let fresh = std::mem::take(&mut self.state.fresh);
        let row = |d: &DeviceId| self.state.rows.get(d).map(|w| (d.clone(), w.action, w.mode));
        let rows = fresh.iter().filter_map(row).collect();
        self.audit(Event::Announced { rank, content, rows });
        self.once_durable(Effect::Help(self.active_parts()));
        self.once_durable(Effect::Announce(Box::new(announcement.clone())));
        self.current = Some(announcement);
        self.mark_announced(rank);
    }

    /// A withdrawal that its device has answered for good is no wish any more.
    fn drop_withdrawn_rows(&mut self) {
        let answered = |(device, w): (&DeviceId, &Wanted)| {
            (w.mode == Mode::Withdraw && self.has_ended(w.action, device)).then(|| device.clone())
        };
        let done: Vec<DeviceId> = self.state.rows.iter().filter_map(answered).collect();
        for device in done {
            self.state.rows.remove(&device);
        }
    }

    fn mark_announced(&mut self, rank: (u64, u64)) {
        let ready = |(n, a): (&u64, &Action)| (a.phase == Phase::Ready).then_some(*n);
        let numbers: Vec<u64> = self.state.actions.iter().filter_map(ready).collect();
        for number in numbers {
            let Some(action) = self.state.actions.get_mut(&number) else { continue };
            action.phase = Phase::Announced;
            let devices: Vec<DeviceId> = action.devices.keys().cloned().collect();
            let heard = |d: &DeviceId| self.state.devices.contains_key(d);
            let unheard = devices.into_iter().filter(|d| !heard(d)).collect();
            self.answer(number, Outcome::Announced { rank, unheard });
        }
    }

    pub(super) fn restore_announcement(&mut self) {
        let epoch = self.config.epoch;
        match self.state.alarm {
            Some(Alarm::OldTrust { rank }) if rank.0 <= epoch => self.state.alarm = None,
            Some(Alarm::Exhausted) if self.state.rank.0 < epoch => self.state.alarm = None,
            _ => {}
        }
        let ours = self.state.announced.as_ref().filter(|a| a.ours).cloned();
        if let Some(announced) = ours.filter(|_| self.state.fresh.is_empty()) {
            let announcement = self.state.compose(&self.config.fleet, &announced);
            if Digest::of(&cbor::to_vec(&announcement)) == announced.content {
                self.current = Some(announcement);
            } else {
                self.state.fresh = self.state.rows.keys().cloned().collect();
            }
        }
        let ready = self.state.actions.values().any(|a| a.phase == Phase::Ready);
        if ready || !self.state.fresh.is_empty() {
            self.compose_at = Some(self.now);
        }
    }

    /// The peer has an announcement that holds.
    pub(super) fn learn(&mut self, newest: Newest) {
        let rank = newest.announcement.rank();
        if rank.0 > self.config.epoch {
            return self.raise(Alarm::OldTrust { rank });
        }
        let of_now = rank.0 == self.config.epoch;
        if of_now && rank >= self.state.rank && self.state.alarm == Some(Alarm::Restored) {
            // This is what a restored state waits for; a neighbour of the peer may know a newer one still.
            self.state.alarm = None;
            self.listen();
            self.touch();
        }
        if rank == self.state.rank {
            let other = |a: &Announced| a.rank == rank && a.content != newest.content;
            if self.state.announced.as_ref().is_some_and(other) {
                self.raise(Alarm::Conflict { rank });
            }
            return;
        }
        if rank < self.state.rank {
            return;
        }
        if self.settled && rank.0 == self.config.epoch {
            self.raise(Alarm::Superseded { rank });
        }
        self.take_over(newest);
    }

    /// Its rows are the newest wishes; ours that nobody was told of yet come on top.
    fn take_over(&mut self, newest: Newest) {
        let Newest { content, announcement } = newest;
        let rank = announcement.rank();
        let (issued, expires) = (announcement.issued, announcement.expires);
        self.state.rank = rank;
        self.state.announced = Some(Announced { rank, content, issued, expires, ours: false });
        self.current = None;
        self.compose_at = None;
        let fresh = std::mem::take(&mut self.state.fresh);
        let old = std::mem::take(&mut self.state.rows);
        self.state.bundles.clear();
        for row in &announcement.rows {
            self.take_over_row(&announcement, row);
        }
        for (device, wanted) in old {
            let untold = fresh.contains(&device) && wanted.mode == Mode::Withdraw;
            match self.state.rows.get_mut(&device) {
                Some(row) if row.action != wanted.action => {
                    let newer = row.action;
                    self.mark_replaced(wanted.action, &device, newer);
                }
                Some(row) if untold => {
                    row.mode = Mode::Withdraw;
                    self.state.fresh.insert(device);
                    self.compose_soon();
                }
                _ => {}
            }
        }
        self.audit(Event::TakenOver { rank });
        self.redo_ready();
    }

    fn take_over_row(&mut self, announcement: &Announcement, row: &Row) {
        let Row(device, index, number, mode, valid_until) = row.clone();
        let Some(bytes) = announcement.bundles.get(usize::from(index)) else { return };
        let bundle = Digest::of(bytes);
        self.state.bundles.insert(bundle, bytes.clone());
        self.state.next_action = self.state.next_action.max(number.saturating_add(1));
        let at = announcement.issued;
        let bundle_of = || open::<Bundle>(bytes).map(|b| b.document).unwrap_or_default();
        let fresh = || Action {
            given: true,
            mode,
            valid_until,
            parts: Vec::new(),
            removed: bundle_of().removed,
            labels: labels_of(&bundle_of()),
            bundle: Some(bundle),
            phase: if mode == Mode::Withdraw { Phase::Withdrawn } else { Phase::Announced },
            at,
            devices: BTreeMap::new(),
        };
        let action = self.state.actions.entry(number).or_insert_with(fresh);
        if action.bundle != Some(bundle) {
            *action = fresh();
        }
        action.devices.entry(device.clone()).or_default();
        self.state.rows.insert(device, Wanted { action: number, bundle, mode, valid_until });
    }

    /// Actions whose rows the take-over swept away before anybody was told are made anew.
    fn redo_ready(&mut self) {
        for (number, action) in &mut self.state.actions {
            if action.phase == Phase::Ready && !(action.parts.is_empty() && action.removed.is_empty()) {
                action.phase = Phase::Pending { reason: String::new() };
                self.retry_at.insert(*number, self.now);
            }
        }
    }

    fn raise(&mut self, alarm: Alarm) {
        if self.state.alarm.is_some() {
            return;
        }
        self.state.alarm = Some(alarm.clone());
        self.audit(Event::Alarm { alarm: alarm.clone() });
        let reason = alarm.to_string();
        self.once_durable(Effect::Alarm(alarm));
        for number in self.askers.keys().copied().collect::<Vec<u64>>() {
            self.answer(number, Outcome::Pending { reason: reason.clone() });
        }
    }

    pub(super) fn resume(&mut self, ticket: u64) {
        match self.state.alarm.take() {
            // Both announcements of that counter are void: ours goes out again under the next.
            Some(Alarm::Conflict { .. }) => self.announce_anew(),
            Some(Alarm::Restored) => {
                // Of a generation of the gateway role that came after the back-up any counter may be used, too.
                let (epoch, counter) = self.state.rank;
                let known = if self.config.epoch > epoch { 0 } else { counter };
                self.state.rank = (self.config.epoch.max(epoch), known.saturating_add(SKIPPED));
                self.announce_anew();
            }
            _ => {}
        }
        self.listen();
        self.audit(Event::Resumed);
        self.once_durable(Effect::Answer { ticket, action: None, outcome: Outcome::Resumed });
    }

    /// Learns for a while before it acts.
    fn listen(&mut self) {
        self.settled = false;
        self.settle_at = self.connected.then(|| self.now.after(self.config.settle));
    }

    fn announce_anew(&mut self) {
        self.state.announced = None;
        self.current = None;
        self.state.fresh = self.state.rows.keys().cloned().collect();
        self.compose_soon();
    }
}
