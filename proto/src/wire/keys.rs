//! Ed25519 keys (RFC 8032) and their ids. Verification is always strict.

use crate::Digest;
use ed25519_dalek::{Signer as _, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

pub use ed25519_dalek::SigningKey;

/// The first 16 bytes of the SHA-256 of a public key; 32 hex digits for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// An ed25519 public key: 32 bytes on the wire, hex for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The public half of `key`.
    pub fn of(key: &SigningKey) -> Self {
        PublicKey(key.verifying_key().to_bytes())
    }

    /// The id under which signatures name this key.
    pub fn id(&self) -> KeyId {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&self.0).0[..16]);
        KeyId(id)
    }

    /// Whether `signature` over `message` is this key's; weak keys and malleable signatures are refused.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

macro_rules! bytes_or_hex {
    ($name:ident, $len:literal) => {
        impl Serialize for $name {
            /// Bytes in CBOR, hex in formats that people read.
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_bytes(&self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    let mut out = [0; $len];
                    hex::decode_to_slice(String::deserialize(d)?, &mut out).map_err(de::Error::custom)?;
                    return Ok($name(out));
                }
                let bytes: serde_bytes::ByteArray<$len> = Deserialize::deserialize(d)?;
                Ok($name(bytes.into_array()))
            }
        }
    };
}

bytes_or_hex!(KeyId, 16);
bytes_or_hex!(PublicKey, 32);

/// The 64 signature bytes of `key` over `message`.
pub fn sign(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    key.sign(message).to_bytes()
}
