//! What holds of what came in, before it is stored or passed on. The agent and the gateway judge again.

use crate::identity::{FleetTrust, IdentityError, Usage, verify_certificate};
use crate::peer::cache::Key;
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::transfer::StockItem;
use fullmetal_proto::wire::{
    Announcement, Bundle, Envelope, Hint, Kind, OpenError, Opened, Receipt, Refusal, Report, open,
};
use fullmetal_proto::{Digest, Timestamp};
use tracing::debug;

/// Why a document is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It does not decode.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Wrong fleet, or not signed as it must be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another generation of the gateway role than the trust file's.
    #[error("made in epoch {found} of the gateway role, the trust file is at {ours}")]
    Epoch {
        /// The announcement's.
        found: u64,
        /// The trust file's.
        ours: u64,
    },
    /// The certificate in the report does not hold.
    #[error(transparent)]
    Certificate(#[from] IdentityError),
    /// A report about another device, or without the signature of its agent's key.
    #[error("the report is not signed by the agent of the device that it names")]
    NotItsOwn,
    /// Neither a report nor a receipt.
    #[error("a {0} is not carried")]
    Kind(Kind),
}

/// An announcement whose signature and fleet hold. Its expiry is for the agent to judge: an expired one still
/// tells a new gateway where the counter stands.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its true rank, digest and length.
    pub hint: Hint,
    /// When it was signed.
    pub issued: Timestamp,
    /// The blobs that its bundles name: manifests' chunks, commit objects, signatures, and itself.
    pub blobs: Vec<Key>,
}

/// Judges an announcement.
pub fn announcement(bytes: &[u8], trust: &FleetTrust) -> Result<Verified, VerifyError> {
    let opened: Opened<Announcement> = open(bytes)?;
    let announcement = &opened.document;
    trust.trust.check_fleet(&announcement.fleet)?;
    trust.check_gateway(&opened.envelope)?;
    let (found, ours) = (announcement.epoch, trust.trust.epoch);
    if found != ours {
        return Err(VerifyError::Epoch { found, ours });
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let hint = Hint { epoch: found, counter: announcement.counter, digest: opened.digest, length };
    let mut blobs = vec![Key::blob(opened.digest)];
    for bundle in &announcement.bundles {
        let bundle: Opened<Bundle> = match open(bundle) {
            Ok(bundle) => bundle,
            // It is for devices that are newer than this one, which carries the announcement to them.
            Err(OpenError::UnknownMajor { major, .. }) => {
                debug!(counter = announcement.counter, major, "a bundle of a format that this program does not know");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for part in bundle.document.parts {
            let named = [Some(part.commit_object), part.commit_meta, Some(part.manifest)];
            blobs.extend(named.into_iter().flatten().flat_map(|b| b.pieces()).map(|(sha256, _)| Key::blob(sha256)));
        }
    }
    Ok(Verified { hint, issued: announcement.issued, blobs })
}

/// Judges a report or receipt that neighbours or clients hand over.
pub fn carried(bytes: &[u8], trust: &FleetTrust, now: Timestamp) -> Result<StockItem, VerifyError> {
    let kind = Envelope::decode(bytes, envelope_len_max::<Report>())?.kind;
    match kind {
        Kind::Report => report(bytes, trust, now),
        Kind::Receipt => receipt(bytes, trust),
        other => Err(VerifyError::Kind(other)),
    }
}

fn report(bytes: &[u8], trust: &FleetTrust, now: Timestamp) -> Result<StockItem, VerifyError> {
    let opened: Opened<Report> = open(bytes)?;
    let report = opened.document;
    trust.trust.check_fleet(&report.fleet)?;
    let member = verify_certificate(&report.certificate, trust, now, Usage::Agent)?;
    if member.device != report.device || opened.envelope.signers([&member.key]).is_empty() {
        return Err(VerifyError::NotItsOwn);
    }
    Ok(item(opened.digest, bytes, (report.device, report.counter), false))
}

fn receipt(bytes: &[u8], trust: &FleetTrust) -> Result<StockItem, VerifyError> {
    let opened: Opened<Receipt> = open(bytes)?;
    trust.trust.check_fleet(&opened.document.fleet)?;
    trust.check_gateway(&opened.envelope)?;
    let Receipt { device, counter, .. } = opened.document;
    Ok(item(opened.digest, bytes, (device, counter), true))
}

fn item(digest: Digest, bytes: &[u8], (device, counter): (fullmetal_proto::DeviceId, u64), receipt: bool) -> StockItem {
    StockItem { digest, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX), device, counter, receipt }
}
