//! Signs commits in libostree's ed25519 format: detached metadata `ostree.sign.ed25519`, type `aay`, each entry
//! 64 bytes of plain ed25519 (RFC 8032) over the commit object. A libostree with ed25519 verifies them, and
//! so does OpenSSL over the `.commit` file.

use super::central::Central;
use super::commit::with_key;
use super::error::PublishError;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectId, ObjectKind, SigningKey, keys};
use ostree::glib::{Variant, VariantDict, prelude::*};
use std::io;
use std::path::Path;

/// The key of the signatures in a commit's detached metadata.
const SIGNATURES: &str = "ostree.sign.ed25519";
/// The longest key file.
const KEY_LEN_MAX: u64 = 16 << 10;

/// Why a file is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// Something else.
    #[error("is no ed25519 private key in PKCS#8 PEM; `fullmetal keys generate` makes one")]
    NoKey,
}

/// Reads an ed25519 private key (PKCS#8, PEM).
pub fn read_key(path: &Path) -> Result<SigningKey, PublishError> {
    let error = |problem| PublishError::Key { path: path.to_owned(), problem };
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, KEY_LEN_MAX), &mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = read().map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => error(KeyError::NoKey),
        _ => error(e.into()),
    })?;
    SigningKey::from_pkcs8_pem(&text).map_err(|_| error(KeyError::NoKey))
}

/// Adds the signature of `key` to `commit` unless it is there. Returns whether it was added.
pub(super) fn sign(central: &Central, commit: Digest, key: &SigningKey) -> Result<bool, PublishError> {
    let object = central.metadata(&ObjectId { kind: ObjectKind::Commit, checksum: commit })?;
    let signature = keys::sign(key, &object).to_vec();
    let detached = central.detached(&commit)?;
    let mut signatures = signatures(detached.as_ref());
    if signatures.contains(&signature) {
        return Ok(false);
    }
    signatures.push(signature);
    central.set_detached(&commit, &with_key(detached.as_ref(), SIGNATURES, &signatures.to_variant()))?;
    Ok(true)
}

/// How many ed25519 signatures `commit` has.
pub(super) fn count(central: &Central, commit: Digest) -> Result<usize, PublishError> {
    Ok(signatures(central.detached(&commit)?.as_ref()).len())
}

fn signatures(detached: Option<&Variant>) -> Vec<Vec<u8>> {
    let found = VariantDict::new(detached).lookup_value(SIGNATURES, None);
    found.and_then(|v| v.get()).unwrap_or_default()
}
