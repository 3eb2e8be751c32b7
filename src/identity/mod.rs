//! Who we are and whom we believe: keys, certificates, the fleet's trust, and the time to judge them by.
//!
//! A device has two ed25519 keys, both certified by the fleet's CA: the peer's (PeerId and TLS) and the
//! agent's (signs reports). A certificate names its device in a URI SAN, `urn:fullmetal:<fleet>:device:<id>`.

mod certificate;
mod clock;
mod keyfile;
mod tls;
mod trust;

pub use certificate::{Usage, issue_ca, issue_member, read_certificate, verify_certificate};
pub use clock::{Clock, system_time};
pub use keyfile::{
    certificate_of_pem, key_of_pem, load_certificate, load_key, new_key, pkcs8_der, replace_certificate,
    save_certificate, save_key, write_new,
};
pub use tls::{TlsError, client_config, crypto_provider, member_of, server_config};
pub use trust::{FleetTrust, SharedTrust};

#[cfg(test)]
pub(crate) mod tests;

use crate::config::Settings;
use crate::durable::DurableError;
use fullmetal_proto::wire::{OpenError, PublicKey, Refusal, SigningKey};
use fullmetal_proto::{DeviceId, FleetId};
use std::io::ErrorKind;
use std::path::PathBuf;

/// What can be wrong with keys, certificates and trust files.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{action} {path}: {source}", path = .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A device has no keys, certificates or trust file yet.
    #[error("reading {path}: {source}; this device is no member yet, `fullmetal enroll --help` says how", path = .path.display())]
    NotEnrolled {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file does not hold what its name promises.
    #[error("{path} is no {expected}: {problem}", path = .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// Why it is not.
        problem: String,
    },
    /// A document that does not decode.
    #[error("{path}: {source}", path = .path.display())]
    Document {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// A document that is not signed as it must be.
    #[error("{path}: {source}", path = .path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
    /// A certificate that does not make its holder a member.
    #[error("certificate refused: {0}")]
    Certificate(String),
    /// Making a certificate failed.
    #[error("making a certificate: {0}")]
    Issue(String),
}

impl From<DurableError> for IdentityError {
    fn from(DurableError { action, path, source }: DurableError) -> Self {
        IdentityError::File { action, path, source }
    }
}

impl IdentityError {
    /// For the files that enrolment makes: that they are not there says what is to be done.
    fn of_device(self) -> Self {
        match self {
            IdentityError::File { action: READING, path, source } if source.kind() == ErrorKind::NotFound => {
                IdentityError::NotEnrolled { path, source }
            }
            other => other,
        }
    }

    /// Whether what is installed is wrong, rather than what happened when something was made or written.
    pub fn is_configuration(&self) -> bool {
        match self {
            IdentityError::File { action, .. } => *action == READING,
            IdentityError::Issue(_) => false,
            _ => true,
        }
    }
}

/// The action of a file that is there or should be.
const READING: &str = "reading";

/// A member of a fleet: what a verified certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// The certified key.
    pub key: PublicKey,
}

/// One of a device's two identities: its key and the certificate for it.
#[derive(Clone)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// Its fleet.
    pub fleet: FleetId,
    /// The private key.
    pub key: SigningKey,
    /// The X.509 certificate, DER.
    pub certificate: Vec<u8>,
}

impl Identity {
    /// Loads the peer's or the agent's identity from the identity directory.
    pub fn load(settings: &Settings, usage: Usage) -> Result<Self, IdentityError> {
        let dir = settings.paths.identity_dir();
        let key = load_key(&dir.join(format!("{}.key", usage.file_stem()))).map_err(IdentityError::of_device)?;
        let certificate = load_certificate(&dir.join(format!("{}.crt", usage.file_stem())));
        let certificate = certificate.map_err(IdentityError::of_device)?;
        let device = &settings.device;
        Ok(Identity { device: device.id.clone(), fleet: device.fleet.clone(), key, certificate })
    }

    /// Whether our own certificate holds under the fleet's trust, and is for our key and our id.
    pub fn check(&self, trust: &FleetTrust, clock: &Clock, usage: Usage) -> Result<(), IdentityError> {
        let member = verify_certificate(&self.certificate, trust, clock.now(), usage)?;
        if member.key != PublicKey::of(&self.key) {
            return Err(IdentityError::Certificate("our own certificate is for another key".into()));
        }
        if member.device != self.device {
            let problem = format!("our own certificate names {}, the configuration {}", member.device, self.device);
            return Err(IdentityError::Certificate(problem));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} of {})", self.device, self.fleet)
    }
}
