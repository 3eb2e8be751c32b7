//! Issuing and judging certificates.

use super::{FleetTrust, IdentityError, Member, pkcs8_der};
use fullmetal_proto::wire::{PublicKey, SigningKey};
use fullmetal_proto::{DeviceId, FleetId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;

/// Member certificates run this many years; revocation removes a device sooner.
const YEARS: i32 = 10;
/// DER of an ed25519 SubjectPublicKeyInfo before its 32 key bytes (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// id-kp-documentSigning (RFC 9336), the extended key usage of agents: they sign reports.
const DOCUMENT_SIGNING: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 36];
/// The same, DER.
const DOCUMENT_SIGNING_DER: [u8; 8] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x24];

/// What a certificate is for; one of one kind is refused where the other is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The peer's: both sides of TLS.
    Peer,
    /// The agent's: reports.
    Agent,
}

impl Usage {
    pub(super) fn file_stem(self) -> &'static str {
        match self {
            Usage::Peer => "peer",
            Usage::Agent => "agent",
        }
    }

    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Usage::Peer => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Agent => vec![ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNING.to_vec())],
        }
    }

    fn required(self) -> webpki::KeyUsage {
        match self {
            Usage::Peer => webpki::KeyUsage::client_auth(),
            Usage::Agent => webpki::KeyUsage::required(&DOCUMENT_SIGNING_DER),
        }
    }
}

fn issue_error(e: rcgen::Error) -> IdentityError {
    IdentityError::Issue(e.to_string())
}

fn key_pair(key: &SigningKey) -> Result<KeyPair, IdentityError> {
    KeyPair::try_from(pkcs8_der(key)).map_err(issue_error)
}

fn named(name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Members may wake up in 1970: only the end is judged.
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params
}

/// Makes the fleet's self-signed device CA, DER. It runs to 2099: the trust file is what ends its power.
pub fn issue_ca(fleet: &FleetId, key: &SigningKey) -> Result<Vec<u8>, IdentityError> {
    let mut params = named(format!("Fullmetal fleet {fleet}"));
    params.not_after = rcgen::date_time_ymd(2099, 12, 31);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key_pair(key)?).map_err(issue_error)?;
    Ok(certificate.der().to_vec())
}

/// Certifies `public` as a key of `device` for ten years from `now`, DER.
pub fn issue_member(
    (ca, ca_key): (&[u8], &SigningKey),
    (fleet, device): (&FleetId, &DeviceId),
    public: &PublicKey,
    usage: Usage,
    now: Timestamp,
) -> Result<Vec<u8>, IdentityError> {
    let issuer =
        Issuer::from_ca_cert_der(&CertificateDer::from(ca.to_vec()), key_pair(ca_key)?).map_err(issue_error)?;
    let mut params = named(device.to_string());
    params.not_after = rcgen::date_time_ymd(year_of(now) + YEARS, 1, 1);
    params.extended_key_usages = usage.purposes();
    let uri = san(fleet, device).try_into().map_err(issue_error)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    let spki = SubjectPublicKeyInfo::from_der(&[&SPKI_PREFIX[..], &public.0].concat()).map_err(issue_error)?;
    let certificate = params.signed_by(&spki, &issuer).map_err(issue_error)?;
    Ok(certificate.der().to_vec())
}

fn year_of(now: Timestamp) -> i32 {
    now.to_string().get(..4).and_then(|y| y.parse().ok()).unwrap_or(2026)
}

/// What a certificate says of itself, judged by nobody: its ed25519 key and its URI names.
pub fn read_certificate(der: &[u8]) -> Result<(Option<PublicKey>, Vec<String>), IdentityError> {
    let der = CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).map_err(|e| IdentityError::Certificate(told(&e)))?;
    let spki = certificate.subject_public_key_info();
    let key = spki.strip_prefix(&SPKI_PREFIX[..]).and_then(|k| <[u8; 32]>::try_from(k).ok());
    Ok((key.map(PublicKey), certificate.valid_uri_names().map(str::to_owned).collect()))
}

fn san(fleet: &FleetId, device: &DeviceId) -> String {
    format!("urn:fullmetal:{fleet}:device:{device}")
}

/// Judges a certificate: a chain to one of the fleet's CAs at `now`, the usage, the fleet and device in the
/// URI SAN, then the revocation list. Whether the holder has the private key is for TLS or a signature to show.
pub fn verify_certificate(
    der: &[u8],
    trust: &FleetTrust,
    now: Timestamp,
    usage: Usage,
) -> Result<Member, IdentityError> {
    let refuse = |problem: String| IdentityError::Certificate(problem);
    let der = CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).map_err(|e| refuse(told(&e)))?;
    let cas: Vec<CertificateDer<'_>> =
        trust.trust.device_ca.iter().map(|ca| CertificateDer::from(ca.as_slice())).collect();
    let anchors: Vec<_> = cas.iter().filter_map(|ca| webpki::anchor_from_trusted_cert(ca).ok()).collect();
    let time = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
    let algorithms = &[webpki::aws_lc_rs::ED25519];
    certificate
        .verify_for_usage(algorithms, &anchors, &[], time, usage.required(), None, None)
        .map_err(|e| refuse(told(&e)))?;
    let spki = certificate.subject_public_key_info();
    let key = spki.strip_prefix(&SPKI_PREFIX[..]).and_then(|k| <[u8; 32]>::try_from(k).ok());
    let key = PublicKey(key.ok_or_else(|| refuse("its key is not ed25519".into()))?);
    let device = device_in_san(&certificate, &trust.trust.fleet)?;
    if trust.revoked.has_device(&device) || trust.revoked.has_key(&key.id()) {
        return Err(refuse(format!("device {device} is revoked")));
    }
    Ok(Member { device, key })
}

/// What is wrong, for a person; webpki's own texts show its data structures.
fn told(error: &webpki::Error) -> String {
    use webpki::Error as E;
    match error {
        E::CertExpired { not_after, .. } => {
            format!("it expired on {}; enroll the device again", Timestamp::from_secs(not_after.as_secs()))
        }
        E::CertNotValidYet { not_before, .. } => {
            format!("it holds only from {} on; set the clock", Timestamp::from_secs(not_before.as_secs()))
        }
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => "no device CA of this fleet issued it".to_owned(),
        E::RequiredEkuNotFoundContext(_) => "its extended key usage is for something else".to_owned(),
        E::BadDer | E::TrailingData(_) => "it is no X.509 certificate".to_owned(),
        // The others are names of what is malformed.
        other => format!("{other:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned(),
    }
}

fn device_in_san(certificate: &webpki::EndEntityCert<'_>, fleet: &FleetId) -> Result<DeviceId, IdentityError> {
    let prefix = format!("urn:fullmetal:{fleet}:device:");
    let mut names = certificate.valid_uri_names();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(IdentityError::Certificate("it needs exactly one URI name".into()));
    };
    let id = name.strip_prefix(&prefix).and_then(|id| id.parse().ok());
    id.ok_or_else(|| IdentityError::Certificate(format!("it names {name:?}, not a device of fleet {fleet}")))
}
