//! Reports: once on disk they count, are handed on, and a receipt tells the fleet to forget them.

use super::io::Effect;
use super::machine::Dispatch;
use crate::wire::{Report, ReportState};
use crate::{DeviceId, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Reports that wait for delivery; beyond it none are taken, and the fleet carries them on.
const SPOOL_MAX: usize = 100_000;
/// Devices that are remembered.
const DEVICES_MAX: usize = 20_000;
/// How long a report is still waited for of which its device said that it no longer keeps it: a neighbour may carry it.
const GRACE: Duration = Duration::from_secs(5);
/// A receipt for a report that comes again is repeated this often at most.
const RECEIPT_AGAIN: Duration = Duration::from_secs(10);

impl Dispatch {
    pub(super) fn heard(&mut self, list: Vec<(DeviceId, u32)>) {
        for (device, secs) in list {
            let at = Timestamp::from_millis(self.now.as_millis().saturating_sub(u64::from(secs) * 1000));
            if !self.admit(&device) {
                continue;
            }
            let known = self.state.devices.entry(device).or_default();
            known.heard = known.heard.max(Some(at));
        }
    }

    /// Whether there is room for the device.
    fn admit(&mut self, device: &DeviceId) -> bool {
        if self.state.devices.contains_key(device) {
            return true;
        }
        self.touch_lazily();
        self.state.devices.len() < DEVICES_MAX
    }

    pub(super) fn report(&mut self, report: Report, envelope: Vec<u8>) {
        let key = (report.device.clone(), report.counter);
        if self.has_seen(&key) {
            return self.receipt_again(key.0);
        }
        if self.spooling.contains_key(&key) || self.spooled_count() >= SPOOL_MAX || !self.admit(&key.0) {
            return;
        }
        if !self.has_room(&key) {
            return self.receipt_again(key.0);
        }
        let (device, counter) = key.clone();
        self.spooling.insert(key, report);
        self.out.push_back(Effect::Spool { device, counter, envelope });
    }

    fn has_seen(&self, key: &(DeviceId, u64)) -> bool {
        self.state.devices.get(&key.0).is_some_and(|d| d.seen.contains(key.1))
    }

    fn has_room(&self, (device, counter): &(DeviceId, u64)) -> bool {
        let on_the_way = self.spooling.range((device.clone(), 0)..=(device.clone(), u64::MAX)).count();
        self.state.devices.get(device).is_none_or(|d| d.seen.has_room(*counter, on_the_way))
    }

    pub(super) fn spooled(&mut self, device: DeviceId, counter: u64) {
        if let Some(report) = self.spooling.remove(&(device, counter)) {
            self.count(report);
            self.touch_lazily();
        }
    }

    /// A durable report counts: for its device, its action, its receipt, and whoever waits for it.
    fn count(&mut self, report: Report) {
        let device = report.device.clone();
        self.state.undelivered.insert((device.clone(), report.counter));
        let known = self.state.devices.entry(device.clone()).or_default();
        let before = known.seen.base();
        known.seen.insert(report.counter);
        known.oldest = known.oldest.max(report.oldest);
        // It was alive when it said so, however long the report was carried.
        let made = report.at.min(self.now);
        known.heard = known.heard.max(Some(made).filter(|at| *at > Timestamp::ZERO));
        // With the last app it removes a device has none.
        let says_all = matches!(report.state, ReportState::Inventory | ReportState::Succeeded);
        let says_parts = says_all || !report.parts.is_empty();
        if says_parts && report.counter >= known.parts_counter {
            known.parts_counter = report.counter;
            known.parts = report.parts.clone();
        }
        if !report.agent.is_empty() && report.counter >= known.agent_counter {
            known.agent_counter = report.counter;
            known.agent = report.agent.clone();
            known.free_bytes = report.free_bytes;
            known.bundle_major = report.bundle_major;
        }
        let base = known.seen.base();
        self.note_progress(&report);
        self.out.push_back(Effect::Feedback(Box::new(report)));
        self.watch_gap(&device);
        if base > before {
            self.receipt(device, base);
        }
    }

    fn note_progress(&mut self, report: &Report) {
        let Some(action) = self.state.actions.get_mut(&report.action) else { return };
        let same = action.bundle == report.bundle;
        let progress = action.devices.get_mut(&report.device).filter(|p| same && report.counter > p.counter);
        if let Some(progress) = progress {
            progress.take(report);
        }
    }

    /// Counters that are missing are waited for, however long, unless their device said that it has them no more.
    fn watch_gap(&mut self, device: &DeviceId) {
        if self.state.devices.get(device).is_some_and(|d| d.seen.waits_below(d.oldest)) {
            self.gaps.entry(device.clone()).or_insert(self.now.after(GRACE));
        } else {
            self.gaps.remove(device);
        }
    }

    pub(super) fn give_up_gaps(&mut self) {
        let due: Vec<DeviceId> = self.gaps.iter().filter(|(_, at)| **at <= self.now).map(|(d, _)| d.clone()).collect();
        for device in due {
            self.gaps.remove(&device);
            if let Some(known) = self.state.devices.get_mut(&device) {
                known.seen.give_up_below(known.oldest);
                let base = known.seen.base();
                self.receipt(device, base);
            }
            self.touch_lazily();
        }
    }

    /// Without the peer the receipt is owed until it is back.
    fn receipt(&mut self, device: DeviceId, counter: u64) {
        if !self.connected {
            self.owed.insert(device);
            return;
        }
        self.receipts_at.insert(device.clone(), self.now);
        self.out.push_back(Effect::Receipt { device, counter });
    }

    pub(super) fn pay_receipts(&mut self) {
        for device in std::mem::take(&mut self.owed) {
            let base = self.state.devices.get(&device).map_or(0, |d| d.seen.base());
            self.receipt(device, base);
        }
    }

    fn receipt_again(&mut self, device: DeviceId) {
        let base = self.state.devices.get(&device).map_or(0, |d| d.seen.base());
        let recent = self.receipts_at.get(&device).is_some_and(|at| self.now.since(*at) < RECEIPT_AGAIN);
        if base > 0 && !recent {
            self.receipt(device, base);
        }
    }

    pub(super) fn delivered(&mut self, device: DeviceId, counter: u64) {
        if self.state.undelivered.remove(&(device.clone(), counter)) {
            self.touch_lazily();
            self.once_durable(Effect::Unspool { device, counter });
        }
    }

    /// Takes up what a crash left on disk.
    pub(super) fn restore_reports(&mut self, spool: Vec<Report>) {
        let keys: BTreeSet<(DeviceId, u64)> = spool.iter().map(|r| (r.device.clone(), r.counter)).collect();
        self.state.undelivered.retain(|key| keys.contains(key));
        for report in spool {
            let key = (report.device.clone(), report.counter);
            if !self.has_seen(&key) {
                self.count(report);
                self.touch_lazily();
            } else if self.state.undelivered.contains(&key) {
                self.out.push_back(Effect::Feedback(Box::new(report)));
            } else {
                self.out.push_back(Effect::Unspool { device: key.0, counter: key.1 });
            }
        }
        let devices: Vec<DeviceId> = self.state.devices.keys().cloned().collect();
        for device in devices {
            self.watch_gap(&device);
        }
    }
}
