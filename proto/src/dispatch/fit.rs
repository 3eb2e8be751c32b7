//! Whether a bundle fits: its devices, and the announcement that is to carry it.

use super::machine::Dispatch;
use crate::wire::announcement::{BUNDLES_MAX, ROWS_MAX};
use crate::wire::{Announcement, Bundle, Document};
use crate::{DeviceId, Digest};
use std::collections::BTreeSet;

/// How many devices a refusal names.
const NAMED_MAX: usize = 5;

impl Dispatch {
    /// Whether all devices of the action can read its bundle, as far as they have said what they read.
    pub(super) fn check_readable(&self, number: u64, bundle: &Bundle) -> Result<(), String> {
        let needed = bundle.major();
        let devices = self.state.actions.get(&number).into_iter().flat_map(|a| a.devices.keys());
        let too_old = devices.filter_map(|id| Some((id, self.state.devices.get(id)?)));
        let too_old = too_old.filter(|(_, d)| !d.agent.is_empty() && d.bundle_major.max(1) < needed);
        let named: Vec<String> = too_old.map(|(id, device)| format!("{id} (agent {})", device.agent)).collect();
        if named.is_empty() {
            return Ok(());
        }
        let and_more =
            if named.len() > NAMED_MAX { format!(" and {} more", named.len() - NAMED_MAX) } else { String::new() };
        let named = named[..named.len().min(NAMED_MAX)].join(", ");
        Err(format!(
            "too old to remove apps: {named}{and_more}; update Fullmetal there first, or leave the removal out"
        ))
    }

    /// Whether the announcement has room for the action's rows and bundle.
    pub(super) fn check_room(&self, number: u64, digest: Digest, envelope: &[u8]) -> Result<(), String> {
        let new = |d: &&DeviceId| !self.state.rows.contains_key(*d);
        let devices = || self.state.actions.get(&number).into_iter().flat_map(|a| a.devices.keys());
        let rows = self.state.rows.len() + devices().filter(new).count();
        let used: BTreeSet<Digest> = self.state.rows.values().map(|w| w.bundle).chain([digest]).collect();
        let more: usize = devices().filter(new).map(|d| d.as_str().len() + 40).sum();
        let length = self.state.announcement_len() + more + envelope.len();
        if rows > ROWS_MAX || used.len() > BUNDLES_MAX || length > Announcement::LEN_MAX {
            return Err(format!(
                "no room: the announcement would have {rows} rows (of {ROWS_MAX}), {} bundles (of {BUNDLES_MAX}) and \
                 {length} bytes (of {}); withdraw old actions or give devices the same parts",
                used.len(),
                Announcement::LEN_MAX
            ));
        }
        Ok(())
    }
}
