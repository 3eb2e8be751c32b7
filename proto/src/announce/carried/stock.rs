//! What is carried, within its limits.

use crate::wire::transfer::StockItem;
use crate::{DeviceId, Digest};
use std::collections::{BTreeMap, BTreeSet};

/// The most reports of one device; the one in the middle gives way. The highest say how the device is; the lowest are
/// what a receipt waits for, and without one the device sends what gave way for ever.
pub const REPORTS_PER_DEVICE_MAX: usize = 16;
/// The most reports; the device with most of them loses the one in its middle.
pub const REPORTS_MAX: usize = 4096;
/// The most receipts: one a device.
pub const RECEIPTS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Stock {
    reports: BTreeMap<DeviceId, BTreeMap<u64, StockItem>>,
    receipts: BTreeMap<DeviceId, StockItem>,
    /// Of all of them.
    digests: BTreeSet<Digest>,
    /// How many reports there are.
    len: usize,
}

impl Stock {
    /// Everything, device by device.
    pub(super) fn items(&self) -> impl Iterator<Item = &StockItem> {
        self.receipts.values().chain(self.reports.values().flat_map(BTreeMap::values))
    }

    /// Whether a body of this digest is carried.
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// The receipt that makes `item` useless.
    pub(super) fn newer_receipt(&self, item: &StockItem) -> Option<&StockItem> {
        let receipt = self.receipts.get(&item.device)?;
        let settles = if item.receipt { receipt.counter > item.counter } else { receipt.counter >= item.counter };
        settles.then_some(receipt)
    }

    /// Whether `item`, if it holds, would be kept.
    pub(super) fn wants(&self, item: &StockItem) -> bool {
        if let Some(receipt) = self.receipts.get(&item.device)
            && receipt.counter >= item.counter
        {
            return false;
        }
        if item.receipt {
            return self.receipts.len() < RECEIPTS_MAX || self.receipts.contains_key(&item.device);
        }
        let Some(of_device) = self.reports.get(&item.device) else { return true };
        let lower = of_device.range(..item.counter).count();
        let gives_way = of_device.len() >= REPORTS_PER_DEVICE_MAX && lower == middle(of_device.len() + 1);
        !of_device.contains_key(&item.counter) && !gives_way
    }

    /// Takes a verified item and gives the digests that it replaces; `None`: it is not taken.
    pub(super) fn insert(&mut self, item: StockItem) -> Option<Vec<Digest>> {
        if !self.wants(&item) {
            return None;
        }
        self.digests.insert(item.digest);
        let dropped = if item.receipt { self.insert_receipt(item) } else { self.insert_report(item) };
        for digest in &dropped {
            self.digests.remove(digest);
        }
        Some(dropped)
    }

    fn insert_report(&mut self, item: StockItem) -> Vec<Digest> {
        let of_device = self.reports.entry(item.device.clone()).or_default();
        of_device.insert(item.counter, item.clone());
        self.len += 1;
        let over = of_device.len() > REPORTS_PER_DEVICE_MAX;
        if over {
            return self.remove_middle(&item.device).into_iter().collect();
        }
        if self.len > REPORTS_MAX {
            let fullest =
                self.reports.iter().max_by_key(|(_, reports)| reports.len()).map(|(device, _)| device.clone());
            return fullest.and_then(|device| self.remove_middle(&device)).into_iter().collect();
        }
        Vec::new()
    }

    fn insert_receipt(&mut self, item: StockItem) -> Vec<Digest> {
        let mut dropped = Vec::new();
        if let Some(reports) = self.reports.get_mut(&item.device) {
            let later = reports.split_off(&item.counter.saturating_add(1));
            let settled = std::mem::replace(reports, later);
            self.len -= settled.len();
            dropped.extend(settled.values().map(|report| report.digest));
            if reports.is_empty() {
                self.reports.remove(&item.device);
            }
        }
        dropped.extend(self.receipts.insert(item.device.clone(), item).map(|old| old.digest));
        dropped
    }

    fn remove_middle(&mut self, device: &DeviceId) -> Option<Digest> {
        let reports = self.reports.get_mut(device)?;
        let counter = *reports.keys().nth(middle(reports.len()))?;
        let removed = reports.remove(&counter)?;
        self.len -= 1;
        if reports.is_empty() {
            self.reports.remove(device);
        }
        Some(removed.digest)
    }
}

/// Which of `len` reports in the order of their counters gives way.
fn middle(len: usize) -> usize {
    len / 2
}
