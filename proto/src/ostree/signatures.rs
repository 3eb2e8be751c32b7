//! Signatures in a commit's detached metadata.

use super::gvariant::{array, dictionary};
use crate::wire::bundle::COMMIT_LEN_MAX;

/// The key under which libostree keeps ed25519 signatures.
const KEY: &str = "ostree.sign.ed25519";
/// The most signatures that are looked at.
const SIGNATURES_MAX: usize = 64;
/// The most keys of detached metadata.
const KEYS_MAX: usize = 64;

/// The ed25519 signatures in a `.commitmeta`, each over the raw bytes of the commit object.
///
/// No checksum covers these bytes, so whatever is malformed counts as no signature instead of an error:
/// otherwise anyone on the way could break a good signature by adding rubbish beside it.
pub fn signatures(commitmeta: &[u8]) -> Vec<[u8; 64]> {
    if commitmeta.len() > COMMIT_LEN_MAX as usize {
        return Vec::new();
    }
    let entries = dictionary(commitmeta, KEYS_MAX).unwrap_or_default();
    let ours = entries.into_iter().filter(|(key, kind, _)| *key == KEY && *kind == "aay");
    ours.flat_map(|(_, _, value)| array(value, 1, SIGNATURES_MAX).unwrap_or_default())
        .filter_map(|signature| signature.try_into().ok())
        .take(SIGNATURES_MAX)
        .collect()
}
