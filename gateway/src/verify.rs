//! What comes from the peer is believed only when a key says so that the fleet's trust names.

use fullmetal::identity::{FleetTrust, IdentityError, Usage, verify_certificate};
use fullmetal_proto::dispatch::Newest;
use fullmetal_proto::wire::{Announcement, OpenError, Refusal, Report, open};
use fullmetal_proto::{DeviceId, Digest, Timestamp};

/// Why something is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Not a document of its kind.
    #[error("{0}")]
    Document(#[from] OpenError),
    /// Another fleet, or not signed as it must be.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The certificate makes nobody a member.
    #[error("{0}")]
    Certificate(#[from] IdentityError),
    /// The certificate is for another device.
    #[error("report of {device} comes with the certificate of {certified}")]
    Device {
        /// Whose report it says it is.
        device: DeviceId,
        /// Whom the certificate names.
        certified: DeviceId,
    },
    /// The certified key did not sign.
    #[error("report {counter} of {device} is not signed by the key of its certificate")]
    Signature {
        /// Whose.
        device: DeviceId,
        /// Which.
        counter: u64,
    },
}

/// A device's own word: certified by the fleet's CA, not revoked, signed by the certified key.
pub fn report(bytes: &[u8], trust: &FleetTrust, now: Timestamp) -> Result<Report, VerifyError> {
    let opened = open::<Report>(bytes)?;
    let report = opened.document;
    trust.trust.check_fleet(&report.fleet)?;
    let member = verify_certificate(&report.certificate, trust, now, Usage::Agent)?;
    if member.device != report.device {
        return Err(VerifyError::Device { device: report.device, certified: member.device });
    }
    if opened.envelope.signers([&member.key]).is_empty() {
        return Err(VerifyError::Signature { device: report.device, counter: report.counter });
    }
    Ok(report)
}

/// An announcement of a gateway of this fleet. Its age is not judged: an expired one still tells the counter.
pub fn announcement(bytes: &[u8], trust: &FleetTrust) -> Result<Newest, VerifyError> {
    let opened = open::<Announcement>(bytes)?;
    trust.trust.check_fleet(&opened.document.fleet)?;
    trust.check_gateway(&opened.envelope)?;
    let content = Digest::of(&opened.envelope.body);
    Ok(Newest { content, announcement: Box::new(opened.document) })
}
