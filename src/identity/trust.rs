//! The trust file and revocation list in force.

use super::IdentityError;
use super::keyfile::read_bounded;
use crate::config::Paths;
use fullmetal_proto::wire::{Document, Envelope, KeyId, Opened, PublicKey, Revocations, Trust, open};
use std::path::Path;
use std::sync::{Arc, RwLock};

/// Whom this fleet believes.
#[derive(Clone, Debug)]
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
        let refused = |source| IdentityError::Refused { path: revocations.to_owned(), source };
        trust.check_revocations(&list, &none).map_err(refused)?;
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
        let refused = |source| IdentityError::Refused { path: path.to_owned(), source };
        Trust::check_self_signed(&opened).map_err(refused)?;
        Ok(opened.document)
    }

    /// Whether the gateway role signed `envelope`.
    pub fn check_gateway(&self, envelope: &Envelope) -> Result<(), fullmetal_proto::wire::Refusal> {
        self.trust.check_gateway(envelope, &self.revoked)
    }
}

fn read<D: Document>(path: &Path) -> Result<Opened<D>, IdentityError> {
    open(&read_bounded(path)?).map_err(|source| IdentityError::Document { path: path.to_owned(), source })
}

/// The trust in force, shared by everything that judges; replaced whole when a newer file is accepted.
#[derive(Clone, Debug)]
pub struct SharedTrust(Arc<RwLock<Arc<FleetTrust>>>);

impl SharedTrust {
    /// Starts with `trust`.
    pub fn new(trust: FleetTrust) -> Self {
        SharedTrust(Arc::new(RwLock::new(Arc::new(trust))))
    }

    /// The trust in force now.
    pub fn get(&self) -> Arc<FleetTrust> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Puts `trust` in force.
    pub fn set(&self, trust: FleetTrust) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(trust);
    }
}
