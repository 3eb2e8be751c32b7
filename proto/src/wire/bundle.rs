//! A bundle: the immutable set of parts that are deployed together, named by its hash.
//!
//! Format 2 adds apps that leave the device. A bundle that removes nothing is written in format 1, which all devices read.

use super::envelope::{Document, DocumentError, Kind};
use crate::{AppName, Digest, HardwareId, RefName};
use serde::{Deserialize, Serialize};

/// The most parts in a bundle.
pub const PARTS_MAX: usize = 32;
/// The most apps that a bundle removes.
pub const REMOVED_MAX: usize = 32;
/// The first format that removes apps.
pub const MAJOR_OF_REMOVAL: u16 = 2;
/// Blobs travel in chunks of at most this many bytes.
pub const CHUNK_LEN: u64 = 1 << 20;
/// The longest blob: a manifest.
pub const BLOB_LEN_MAX: u64 = 32 << 20;
/// The longest time to prove itself in, in seconds: a day.
pub const PROOF_S_MAX: u32 = 86_400;
/// The longest commit object, and the longest `.commitmeta`.
pub const COMMIT_LEN_MAX: u64 = 4 << 20;

/// A blob by content: pulled whole when short, else chunk by chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 of the whole.
    pub sha256: Digest,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of every [`CHUNK_LEN`] bytes; empty when the whole is one chunk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Digest>,
}

impl BlobRef {
    /// Describes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let chunks = if bytes.len() as u64 > CHUNK_LEN {
            bytes.chunks(CHUNK_LEN as usize).map(Digest::of).collect()
        } else {
            Vec::new()
        };
        BlobRef { sha256: Digest::of(bytes), length: bytes.len() as u64, chunks }
    }

    /// The pieces it is pulled in: digest and length of each, in order.
    pub fn pieces(&self) -> Vec<(Digest, u64)> {
        if self.chunks.is_empty() {
            return vec![(self.sha256, self.length)];
        }
        let last = self.chunks.len() as u64 - 1;
        let len = |i: u64| if i == last { self.length - last * CHUNK_LEN } else { CHUNK_LEN };
        self.chunks.iter().enumerate().map(|(i, c)| (*c, len(i as u64))).collect()
    }

    fn check(&self, field: &'static str, max: u64) -> Result<(), DocumentError> {
        if self.length > max {
            return DocumentError::err(field, format!("{} bytes are over the limit of {max}", self.length));
        }
        let expected = if self.length > CHUNK_LEN { self.length.div_ceil(CHUNK_LEN) } else { 0 };
        if self.chunks.len() as u64 != expected {
            return DocumentError::err(field, format!("needs {expected} chunk hashes"));
        }
        Ok(())
    }
}

/// What a part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// An operating system.
    Os,
    /// An application.
    #[default]
    App,
}

impl PartKind {
    /// What goes before the name of such a part where parts of all kinds are listed.
    pub fn before_name(self) -> &'static str {
        match self {
            PartKind::Os => "os ",
            PartKind::App => "",
        }
    }
}

/// How an application is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOptions {
    /// Started after the switch and at boot; otherwise installed only.
    pub autostart: bool,
    /// Exit 0 within the probation is proof: the app is not meant to stay.
    #[serde(default)]
    pub job: bool,
}

impl Default for StartOptions {
    fn default() -> Self {
        StartOptions { autostart: true, job: false }
    }
}

/// How an application proves itself besides running, as far as its commit does not say it. Older agents pass it over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// It must say `success` on its notify socket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify: bool,
    /// Seconds that it has for that and is watched, at most [`PROOF_S_MAX`]; the commit's own probation goes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

impl Proof {
    fn is_nothing(&self) -> bool {
        *self == Proof::default()
    }
}

/// One part of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Operating system or application.
    pub kind: PartKind,
    /// The app's name on the device.
    pub name: AppName,
    /// For people.
    pub version: String,
    /// The OSTree ref the commit must be bound to.
    #[serde(rename = "ref")]
    pub ref_name: RefName,
    /// OSTree commit checksum; equals the SHA-256 of the commit object.
    pub commit: Digest,
    /// The commit object.
    pub commit_object: BlobRef,
    /// The `.commitmeta` bytes with the signatures; absent for unsigned commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_meta: Option<BlobRef>,
    /// The manifest's envelope.
    pub manifest: BlobRef,
    /// Hardware it is made for; empty means any.
    #[serde(default)]
    pub hardware: Vec<HardwareId>,
    /// How it is started.
    #[serde(default)]
    pub start: StartOptions,
    /// How it proves itself.
    #[serde(default, skip_serializing_if = "Proof::is_nothing")]
    pub proof: Proof,
}

/// Parts that are staged, switched and proven together, and apps that leave with them. Apps that it does not name stay as
/// they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// At most one OS, and each app once. Empty only when something is removed.
    pub parts: Vec<Part>,
    /// Apps that leave the device, each once and none of the parts: since format [`MAJOR_OF_REMOVAL`]. One that is not
    /// there is no mistake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<AppName>,
}

impl Document for Bundle {
    const KIND: Kind = Kind::Bundle;
    const MAJOR: u16 = MAJOR_OF_REMOVAL;
    const LEN_MAX: usize = 64 << 10;

    fn major(&self) -> u16 {
        if self.removed.is_empty() { 1 } else { MAJOR_OF_REMOVAL }
    }

    fn check(&self) -> Result<(), DocumentError> {
        let is_empty = self.parts.is_empty() && self.removed.is_empty();
        if is_empty || self.parts.len() > PARTS_MAX {
            return DocumentError::err("parts", format!("needs 1 to {PARTS_MAX} parts, or apps to remove"));
        }
        let mut names: Vec<_> = self.parts.iter().map(|p| (p.kind, &p.name)).collect();
        names.sort();
        if names.windows(2).any(|w| w[0] == w[1] || w[1].0 == PartKind::Os) {
            return DocumentError::err("parts", "an app twice, or more than one OS");
        }
        self.check_removed()?;
        self.parts.iter().try_for_each(Part::check)
    }
}

impl Bundle {
    fn check_removed(&self) -> Result<(), DocumentError> {
        if self.removed.len() > REMOVED_MAX {
            return DocumentError::err("removed", format!("more than {REMOVED_MAX} apps"));
        }
        let mut names: Vec<_> = self.removed.iter().collect();
        names.extend(self.parts.iter().filter(|p| p.kind == PartKind::App).map(|p| &p.name));
        names.sort();
        match names.windows(2).find(|w| w[0] == w[1]) {
            Some(twice) => DocumentError::err("removed", format!("{} twice, or among the parts too", twice[0])),
            None => Ok(()),
        }
    }
}

impl Part {
    fn check(&self) -> Result<(), DocumentError> {
        if self.version.len() > 128 || self.version.chars().any(char::is_control) {
            return DocumentError::err("version", "must be at most 128 printable bytes");
        }
        if self.hardware.len() > 32 {
            return DocumentError::err("hardware", "more than 32 ids");
        }
        if self.proof.seconds.is_some_and(|s| s == 0 || s > PROOF_S_MAX) {
            return DocumentError::err("proof", format!("must have 1 to {PROOF_S_MAX} seconds"));
        }
        self.commit_object.check("commit_object", COMMIT_LEN_MAX)?;
        if self.commit_object.sha256 != self.commit {
            return DocumentError::err("commit_object", "its hash is not the commit");
        }
        if let Some(meta) = &self.commit_meta {
            meta.check("commit_meta", COMMIT_LEN_MAX)?;
        }
        self.manifest.check("manifest", BLOB_LEN_MAX)
    }
}
