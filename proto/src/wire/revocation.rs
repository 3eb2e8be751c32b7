//! Revoked keys and devices: a signed list of its own that only grows.

use super::envelope::{Document, DocumentError, Kind};
use super::keys::KeyId;
use crate::{DeviceId, FleetId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most entries in one list.
pub const ENTRIES_MAX: usize = 10_000;

/// Keys that sign nothing any more and devices that are no members any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// Whose list it is.
    pub fleet: FleetId,
    /// Rises with every list.
    pub version: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// Keys of any role, and devices' keys.
    pub keys: BTreeSet<KeyId>,
    /// Devices.
    pub devices: BTreeSet<DeviceId>,
}

impl Revocations {
    /// The empty list that is in force before the first one.
    pub fn none(fleet: &FleetId) -> Self {
        let (keys, devices) = (BTreeSet::new(), BTreeSet::new());
        Revocations { fleet: fleet.clone(), version: 0, issued: Timestamp::ZERO, keys, devices }
    }

    /// Whether the key is revoked.
    pub fn has_key(&self, key: &KeyId) -> bool {
        self.keys.contains(key)
    }

    /// Whether the device is revoked.
    pub fn has_device(&self, device: &DeviceId) -> bool {
        self.devices.contains(device)
    }

    /// Whether every entry of `older` is here too.
    pub fn contains_all(&self, older: &Revocations) -> bool {
        older.keys.is_subset(&self.keys) && older.devices.is_subset(&self.devices)
    }
}

impl Document for Revocations {
    const KIND: Kind = Kind::Revocations;
    const LEN_MAX: usize = 1 << 20;

    fn check(&self) -> Result<(), DocumentError> {
        if self.keys.len() + self.devices.len() > ENTRIES_MAX {
            return DocumentError::err("keys", format!("more than {ENTRIES_MAX} entries"));
        }
        Ok(())
    }
}
