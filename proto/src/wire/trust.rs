//! The trust file: who may build, who may decide, which CA names the devices. Signed by the root role.
//!
//! Shape after TUF's root role (<https://theupdateframework.github.io/specification/latest/>, section 5.3):
//! version N+1 needs the thresholds of both N and N+1, and is exactly N+1.

use super::envelope::{Document, DocumentError, Envelope, Kind, Opened};
use super::keys::PublicKey;
use super::revocation::Revocations;
use crate::{FleetId, RefName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The most keys in one role.
pub const KEYS_MAX: usize = 16;

/// Keys of which `threshold` different ones must have signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The keys of this role.
    pub keys: Vec<PublicKey>,
    /// How many of them are needed, at least 1.
    pub threshold: u16,
}

/// A build key and the refs that it may sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildKey {
    /// The key that signs commits.
    pub key: PublicKey,
    /// Ref patterns (`*`, `apps/*`, `apps/web/x86_64`).
    pub refs: Vec<String>,
}

/// The fleet's trust file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Whose it is.
    pub fleet: FleetId,
    /// 1, 2, 3, …
    pub version: u64,
    /// When it was signed: a floor for the clock.
    pub issued: Timestamp,
    /// After this nothing new is installed on its word.
    pub expires: Timestamp,
    /// Signs trust files and revocations.
    pub root: Role,
    /// Sign commits; `build_threshold` of those allowed for the ref must have signed.
    pub build: Vec<BuildKey>,
    /// How many build keys are needed, at least 1.
    pub build_threshold: u16,
    /// Signs announcements and receipts.
    pub gateway: Role,
    /// Generation of the gateway role: a higher one outranks every counter of a lower one.
    pub epoch: u64,
    /// X.509 certificates (DER) of the CAs that certify devices.
    pub device_ca: Vec<ByteBuf>,
    /// Ref patterns whose commits may be unsigned (FullMetalUpdate's); empty by default.
    pub unsigned_refs: Vec<String>,
}

/// Why a signed document does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not enough valid signatures of the role.
    #[error("signed by {found} of the {needed} {role} keys it needs in trust file version {version}")]
    Signatures {
        /// Which role.
        role: &'static str,
        /// Valid and different signatures.
        found: usize,
        /// The threshold.
        needed: u16,
        /// Which trust file was asked.
        version: u64,
    },
    /// Made for another fleet.
    #[error("made for fleet {found}, this is fleet {ours}")]
    Fleet {
        /// The document's.
        found: FleetId,
        /// Ours.
        ours: FleetId,
    },
    /// Past its time.
    #[error("{what} expired at {at}")]
    Expired {
        /// Which document.
        what: &'static str,
        /// When.
        at: Timestamp,
    },
    /// A trust file or revocation list that does not follow the one in force.
    #[error("{what} version {found} does not follow version {current}")]
    Version {
        /// Which document.
        what: &'static str,
        /// The offered version.
        found: u64,
        /// The version in force.
        current: u64,
    },
    /// An entry of a revocation list is gone.
    #[error("the new revocation list takes back an entry; lists only grow")]
    Unrevoked,
}

impl Document for Trust {
    const KIND: Kind = Kind::Trust;
    const LEN_MAX: usize = 64 << 10;

    fn check(&self) -> Result<(), DocumentError> {
        check_role("root", &self.root)?;
        check_role("gateway", &self.gateway)?;
        let build = self.build.iter().map(|b| b.key).collect();
        check_role("build", &Role { keys: build, threshold: self.build_threshold })?;
        if self.version == 0 {
            return DocumentError::err("version", "starts at 1");
        }
        if self.device_ca.is_empty() || self.device_ca.len() > KEYS_MAX {
            return DocumentError::err("device_ca", format!("needs 1 to {KEYS_MAX} certificates"));
        }
        let patterns = self.build.iter().map(|b| b.refs.len()).max().unwrap_or(0);
        if patterns.max(self.unsigned_refs.len()) > 64 {
            return DocumentError::err("refs", "more than 64 patterns");
        }
        Ok(())
    }
}

fn check_role(field: &'static str, role: &Role) -> Result<(), DocumentError> {
    let distinct: std::collections::BTreeSet<_> = role.keys.iter().collect();
    if role.keys.len() > KEYS_MAX || distinct.len() != role.keys.len() {
        return DocumentError::err(field, format!("more than {KEYS_MAX} keys, or one twice"));
    }
    if role.threshold == 0 || usize::from(role.threshold) > role.keys.len() {
        return DocumentError::err(field, "threshold must be between 1 and the number of keys");
    }
    Ok(())
}

impl Trust {
    /// Whether this file, the first on a device, is signed by its own root role.
    pub fn check_self_signed(opened: &Opened<Trust>) -> Result<(), Refusal> {
        let trust = &opened.document;
        trust.signed_by("root", &trust.root, &opened.envelope, &Revocations::none(&trust.fleet))
    }

    /// Whether `next` may take this file's place: exactly the next version, signed by both root roles.
    pub fn check_successor(&self, next: &Opened<Trust>, revoked: &Revocations) -> Result<(), Refusal> {
        self.check_fleet(&next.document.fleet)?;
        if next.document.version != self.version.saturating_add(1) {
            let (found, current) = (next.document.version, self.version);
            return Err(Refusal::Version { what: "trust file", found, current });
        }
        self.signed_by("root", &self.root, &next.envelope, revoked)?;
        next.document.signed_by("root", &next.document.root, &next.envelope, revoked)
    }

    /// Whether `next` is signed by the root role and holds every entry of `current`.
    pub fn check_revocations(&self, next: &Opened<Revocations>, current: &Revocations) -> Result<(), Refusal> {
        self.check_fleet(&next.document.fleet)?;
        if next.document.version < current.version {
            let (found, current) = (next.document.version, current.version);
            return Err(Refusal::Version { what: "revocation list", found, current });
        }
        if !next.document.contains_all(current) {
            return Err(Refusal::Unrevoked);
        }
        self.signed_by("root", &self.root, &next.envelope, current)
    }

    /// Whether the gateway role signed `envelope` (an announcement or a receipt).
    pub fn check_gateway(&self, envelope: &Envelope, revoked: &Revocations) -> Result<(), Refusal> {
        self.signed_by("gateway", &self.gateway, envelope, revoked)
    }

    /// Whether enough build keys allowed for `ref_name` signed the commit object `commit`.
    ///
    /// `signatures` are libostree's `ostree.sign.ed25519`: plain ed25519 over the commit object's bytes.
    /// An allowance for unsigned refs is the caller's to consult: see [`Trust::allows_unsigned`].
    pub fn check_commit(
        &self,
        ref_name: &RefName,
        commit: &[u8],
        signatures: &[[u8; 64]],
        revoked: &Revocations,
    ) -> Result<(), Refusal> {
        let allowed =
            self.build.iter().filter(|b| b.refs.iter().any(|p| ref_name.matches(p)) && !revoked.has_key(&b.key.id()));
        let found = allowed.filter(|b| signatures.iter().any(|s| b.key.verifies(commit, s))).count();
        if found < usize::from(self.build_threshold) {
            let (needed, version) = (self.build_threshold, self.version);
            return Err(Refusal::Signatures { role: "build", found, needed, version });
        }
        Ok(())
    }

    /// Whether commits of `ref_name` may install unsigned.
    pub fn allows_unsigned(&self, ref_name: &RefName) -> bool {
        self.unsigned_refs.iter().any(|p| ref_name.matches(p))
    }

    /// Whether a document names this fleet.
    pub fn check_fleet(&self, found: &FleetId) -> Result<(), Refusal> {
        if *found == self.fleet {
            return Ok(());
        }
        Err(Refusal::Fleet { found: found.clone(), ours: self.fleet.clone() })
    }

    /// Whether the file still holds at `now`.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Refusal> {
        if now <= self.expires {
            return Ok(());
        }
        Err(Refusal::Expired { what: "trust file", at: self.expires })
    }

    fn signed_by(
        &self,
        role_name: &'static str,
        role: &Role,
        envelope: &Envelope,
        revoked: &Revocations,
    ) -> Result<(), Refusal> {
        let live = role.keys.iter().filter(|k| !revoked.has_key(&k.id()));
        let found = envelope.signers(live).len();
        if found < usize::from(role.threshold) {
            let (needed, version) = (role.threshold, self.version);
            return Err(Refusal::Signatures { role: role_name, found, needed, version });
        }
        Ok(())
    }
}
