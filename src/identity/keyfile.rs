//! Keys as PKCS#8 PEM (RFC 8410) and certificates as PEM, readable by OpenSSL.

use super::{IdentityError, READING};
use crate::durable::{self, Existing};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes, spki::der::pem::LineEnding};
use fullmetal_proto::wire::SigningKey;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::io::Read as _;
use std::path::Path;

/// The longest key or certificate file in bytes.
const FILE_LEN_MAX: u64 = 64 << 10;

/// A new key from the system's randomness.
pub fn new_key() -> SigningKey {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system has randomness");
    SigningKey::from_bytes(&seed)
}

/// PKCS#8 version 1, which every reader understands.
fn pkcs8(key: &SigningKey) -> KeypairBytes {
    KeypairBytes { secret_key: key.to_bytes(), public_key: None }
}

/// The key as PKCS#8 DER.
pub fn pkcs8_der(key: &SigningKey) -> Vec<u8> {
    pkcs8(key).to_pkcs8_der().expect("a key always encodes").as_bytes().to_vec()
}

/// Writes a key that only its owner can read; never over an existing file.
pub fn save_key(path: &Path, key: &SigningKey) -> Result<(), IdentityError> {
    let pem = pkcs8(key).to_pkcs8_pem(LineEnding::LF).expect("a key always encodes");
    write_new(path, pem.as_bytes(), 0o600)
}

/// Reads a key.
pub fn load_key(path: &Path) -> Result<SigningKey, IdentityError> {
    key_of_pem(path, &read_bounded(path)?)
}

/// The key in the bytes of a file; `path` is for messages.
pub fn key_of_pem(path: &Path, bytes: &[u8]) -> Result<SigningKey, IdentityError> {
    let bad = |problem: String| IdentityError::Content {
        path: path.to_owned(),
        expected: "ed25519 private key (PKCS#8 PEM)",
        problem,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| bad("not text".into()))?;
    SigningKey::from_pkcs8_pem(text).map_err(|e| bad(e.to_string()))
}

/// Writes a certificate as PEM, never over an existing file.
pub fn save_certificate(path: &Path, der: &[u8]) -> Result<(), IdentityError> {
    write_new(path, certificate_pem(der)?.as_bytes(), 0o644)
}

/// The same in the place of an older one.
pub fn replace_certificate(path: &Path, der: &[u8]) -> Result<(), IdentityError> {
    Ok(durable::write(path, certificate_pem(der)?.as_bytes(), 0o644, Existing::Replaced)?)
}

fn certificate_pem(der: &[u8]) -> Result<String, IdentityError> {
    ed25519_dalek::pkcs8::spki::der::pem::encode_string("CERTIFICATE", LineEnding::LF, der)
        .map_err(|e| IdentityError::Issue(e.to_string()))
}

/// Reads a PEM certificate, giving DER.
pub fn load_certificate(path: &Path) -> Result<Vec<u8>, IdentityError> {
    certificate_of_pem(path, &read_bounded(path)?)
}

/// The certificate in the bytes of a file; `path` is for messages.
pub fn certificate_of_pem(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let der = CertificateDer::from_pem_slice(bytes).map_err(|e| IdentityError::Content {
        path: path.to_owned(),
        expected: "X.509 certificate (PEM)",
        problem: e.to_string(),
    })?;
    Ok(der.to_vec())
}

pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, IdentityError> {
    read_at_most(path, FILE_LEN_MAX)
}

/// The file's bytes; more than `len_max` of them is an error.
pub(super) fn read_at_most(path: &Path, len_max: u64) -> Result<Vec<u8>, IdentityError> {
    let err = |source| IdentityError::File { action: READING, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(err)?;
    file.take(len_max + 1).read_to_end(&mut bytes).map_err(err)?;
    if bytes.len() as u64 > len_max {
        return Err(err(std::io::Error::other(format!("it is over the limit of {len_max} bytes"))));
    }
    Ok(bytes)
}

/// Creates `path` durably and whole, or not at all; an existing file is an error.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    Ok(durable::write(path, bytes, mode, Existing::Refused)?)
}
