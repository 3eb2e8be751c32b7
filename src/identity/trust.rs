//! The trust file and revocation list in force.

use super::IdentityError;
use super::keyfile::read_at_most;
use crate::config::Paths;
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::{Document, Envelope, KeyId, Opened, PublicKey, Refusal, Revocations, Trust, open};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tracing::{error, info};

/// Whom this fleet believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetTrust {
    /// The trust file.
    pub trust: Trust,
    /// Who is believed no more.
    pub revoked: Revocations,
}

impl FleetTrust {
    /// Loads and verifies the trust file, and the revocation list if there is one.
    pub fn load(paths: &Paths) -> Result<Self, IdentityError> {
        Self::load_files(&paths.trust_file(), &paths.revocations_file()).map_err(IdentityError::of_device)
    }

    /// The same from a trust file anywhere, with the list called `revocations` beside it if there is one.
    pub fn load_beside(trust: &Path) -> Result<Self, IdentityError> {
        Self::load_files(trust, &trust.with_file_name("revocations"))
    }

    fn load_files(trust: &Path, revocations: &Path) -> Result<Self, IdentityError> {
        let trust = Self::load_trust(trust)?;
        let none = Revocations::none(&trust.fleet);
        if !revocations.exists() {
            return Ok(FleetTrust { trust, revoked: none });
        }
        let list: Opened<Revocations> = read(revocations)?;
        trust.check_revocations(&list, &none).map_err(refused(revocations))?;
        Ok(FleetTrust { trust, revoked: list.document })
    }

    /// What the trust file lets a key do, for people: `root`, `gateway`, `build`, `revoked`.
    pub fn roles(&self, key: &KeyId) -> Vec<&'static str> {
        let trust = &self.trust;
        let has = |keys: &[PublicKey]| keys.iter().any(|k| k.id() == *key);
        let roles = [
            ("root", has(&trust.root.keys)),
            ("gateway", has(&trust.gateway.keys)),
            ("build", trust.build.iter().any(|b| b.key.id() == *key)),
            ("revoked", self.revoked.has_key(key)),
        ];
        roles.into_iter().filter(|(_, is)| *is).map(|(role, _)| role).collect()
    }

    /// Loads a trust file that is signed by its own root role.
    pub fn load_trust(path: &Path) -> Result<Trust, IdentityError> {
        let opened: Opened<Trust> = read(path)?;
        Trust::check_self_signed(&opened).map_err(refused(path))?;
        Ok(opened.document)
    }

    /// Whether the gateway role signed `envelope`.
    pub fn check_gateway(&self, envelope: &Envelope) -> Result<(), Refusal> {
        self.trust.check_gateway(envelope, &self.revoked)
    }

    /// The trust file on disk, if it may take this one's place: the next version, signed by both root roles.
    fn successor(&self, path: &Path) -> Result<Trust, IdentityError> {
        let next: Opened<Trust> = read(path)?;
        if next.document != self.trust {
            self.trust.check_successor(&next, &self.revoked).map_err(refused(path))?;
        }
        Ok(next.document)
    }

    /// The list on disk, if `trust` signed it and it takes nothing back.
    fn grown(&self, trust: &Trust, path: &Path) -> Result<Revocations, IdentityError> {
        if self.revoked.version == 0 && !path.exists() {
            return Ok(self.revoked.clone());
        }
        let list: Opened<Revocations> = read(path)?;
        trust.check_revocations(&list, &self.revoked).map_err(refused(path))?;
        Ok(list.document)
    }
}

fn refused(path: &Path) -> impl FnOnce(Refusal) -> IdentityError {
    move |source| IdentityError::Refused { path: path.to_owned(), source }
}

fn read<D: Document>(path: &Path) -> Result<Opened<D>, IdentityError> {
    let bytes = read_at_most(path, envelope_len_max::<D>() as u64)?;
    open(&bytes).map_err(|source| IdentityError::Document { path: path.to_owned(), source })
}

/// The trust in force, shared by everything that judges; replaced whole when a newer file is accepted.
#[derive(Clone, Debug)]
pub struct SharedTrust(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trust: RwLock<Arc<FleetTrust>>,
    /// The files as they were when they were last read.
    read: Mutex<Option<[Mark; 2]>>,
}

impl SharedTrust {
    /// Starts with `trust`.
    pub fn new(trust: FleetTrust) -> Self {
        SharedTrust(Arc::new(Shared { trust: RwLock::new(Arc::new(trust)), read: Mutex::new(None) }))
    }

    /// The trust in force now.
    pub fn get(&self) -> Arc<FleetTrust> {
        self.0.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `trust` in force.
    pub fn set(&self, trust: FleetTrust) {
        *self.0.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
    }

    /// Takes up what the trust file and the revocation list say by now; true when something else is in force
    /// afterwards. Cheap while the files stay as they are (two calls of `stat`), so call it before each judgement.
    ///
    /// A file that may not take its predecessor's place changes nothing and is told once: a trust file must be exactly
    /// the next version and signed by the old and the new root role, a revocation list by the root role, and keep
    /// every entry.
    pub fn refresh(&self, paths: &Paths) -> bool {
        let files = [paths.trust_file(), paths.revocations_file()];
        let marks = [mark(&files[0]), mark(&files[1])];
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == Some(marks) {
            return false;
        }
        // The marks are older than what is read now: a file that changes meanwhile is read again.
        *read = Some(marks);
        let old = self.get();
        let trust = old.successor(&files[0]).unwrap_or_else(|error| {
            error!(%error, in_force = old.trust.version, "trust file not taken up; the one before stays in force");
            old.trust.clone()
        });
        let revoked = old.grown(&trust, &files[1]).unwrap_or_else(|error| {
            error!(%error, in_force = old.revoked.version, "revocation list not taken up; the one before stays in force");
            old.revoked.clone()
        });
        let new = FleetTrust { trust, revoked };
        if new == *old {
            return false;
        }
        info!(trust = new.trust.version, revocations = new.revoked.version, "newer trust in force");
        self.set(new);
        true
    }
}

/// What tells a changed file from the same one: device, inode, length, times of content and of inode.
type Mark = Option<(u64, u64, u64, [i64; 4])>;

fn mark(path: &Path) -> Mark {
    let m = std::fs::metadata(path).ok()?;
    Some((m.dev(), m.ino(), m.len(), [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()]))
}
