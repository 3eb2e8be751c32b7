//! The announcement: the gateway's signed state of the whole fleet's wishes.
//!
//! The newest (epoch, counter) replaces all older ones; nothing is merged.

use super::bundle::Bundle;
use super::envelope::{Document, DocumentError, Kind, OpenError, Opened, envelope_len_max, open};
use crate::{DeviceId, FleetId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The most rows: one a device.
pub const ROWS_MAX: usize = 10_000;
/// The most different bundles.
pub const BUNDLES_MAX: usize = 256;

/// How urgently a device acts on its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Fetch, verify and check out, but do not switch.
    Stage,
    /// Switch when local windows and inhibitors allow it.
    WhenIdle,
    /// Switch now; only a lock set by local root holds it back.
    Now,
    /// Drop it if the switch has not begun.
    Withdraw,
}

/// What one device is to do: device, bundle index, action, mode, end of validity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row(
    /// The device.
    pub DeviceId,
    /// Index into the announcement's bundles.
    pub u16,
    /// The deployment system's number for this device and bundle; reports carry it.
    pub u64,
    /// How urgently.
    pub Mode,
    /// After this the switch must not begin; absent means no limit.
    pub Option<Timestamp>,
);

/// The wishes for a whole fleet at one point of the gateway's counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Which fleet.
    pub fleet: FleetId,
    /// Generation of the gateway role in the trust file.
    pub epoch: u64,
    /// Rises with every announcement of an epoch.
    pub counter: u64,
    /// When it was signed: a floor for the clock.
    pub issued: Timestamp,
    /// After this nothing new starts on its word.
    pub expires: Timestamp,
    /// Bundle envelopes, each once; a bundle's name is the SHA-256 of these bytes.
    pub bundles: Vec<ByteBuf>,
    /// At most one row a device.
    pub rows: Vec<Row>,
}

impl Announcement {
    /// What decides which of two announcements is newer.
    pub fn rank(&self) -> (u64, u64) {
        (self.epoch, self.counter)
    }

    /// The row of `device`, if it has one.
    pub fn row(&self, device: &DeviceId) -> Option<&Row> {
        self.rows.iter().find(|r| r.0 == *device)
    }

    /// The decoded bundle of a row.
    pub fn bundle(&self, row: &Row) -> Result<Opened<Bundle>, OpenError> {
        match self.bundles.get(usize::from(row.1)) {
            Some(bytes) => open(bytes),
            None => Err(DocumentError { field: "rows", problem: "bundle index out of range".into() }.into()),
        }
    }
}

impl Document for Announcement {
    const KIND: Kind = Kind::Announcement;
    const LEN_MAX: usize = (1 << 20) - 4096;

    fn check(&self) -> Result<(), DocumentError> {
        if self.rows.len() > ROWS_MAX || self.bundles.len() > BUNDLES_MAX {
            let problem = format!("over {ROWS_MAX} rows or {BUNDLES_MAX} bundles");
            return DocumentError::err("rows", problem);
        }
        let mut devices: Vec<_> = self.rows.iter().map(|r| &r.0).collect();
        devices.sort();
        if devices.windows(2).any(|w| w[0] == w[1]) {
            return DocumentError::err("rows", "a device twice");
        }
        if self.rows.iter().any(|r| usize::from(r.1) >= self.bundles.len()) {
            return DocumentError::err("rows", "bundle index out of range");
        }
        if self.bundles.iter().any(|b| b.len() > envelope_len_max::<Bundle>()) {
            return DocumentError::err("bundles", "a bundle over its limit");
        }
        Ok(())
    }
}
