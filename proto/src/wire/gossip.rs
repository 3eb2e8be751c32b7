//! Gossip carries hints only: which announcement is the newest, never the announcement itself.

use super::announcement::Announcement;
use super::cbor::{self, CborError};
use super::envelope::envelope_len_max;
use crate::Digest;
use serde::{Deserialize, Serialize};

/// The longest gossip message in bytes.
pub const HINT_LEN_MAX: usize = 1024;

/// That an announcement exists. A hint from a peer is no proof: the body is pulled and verified. One of a length that no
/// announcement has is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Claim")]
pub struct Hint {
    /// Generation of the gateway role.
    pub epoch: u64,
    /// The announcement's counter.
    pub counter: u64,
    /// SHA-256 of its envelope.
    pub digest: Digest,
    /// Bytes of its envelope.
    pub length: u32,
}

/// A hint as it came.
#[derive(Deserialize)]
struct Claim {
    epoch: u64,
    counter: u64,
    digest: Digest,
    length: u32,
}

impl TryFrom<Claim> for Hint {
    type Error = &'static str;

    fn try_from(Claim { epoch, counter, digest, length }: Claim) -> Result<Self, Self::Error> {
        if length == 0 || length as usize > envelope_len_max::<Announcement>() {
            return Err("no announcement has the length that the hint says");
        }
        Ok(Hint { epoch, counter, digest, length })
    }
}

impl Hint {
    /// What decides which of two is newer.
    pub fn rank(&self) -> (u64, u64) {
        (self.epoch, self.counter)
    }

    /// Encodes it with a leading format version.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(&(1u16, self))
    }

    /// Decodes a gossip message.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        let (version, hint): (u16, Hint) = cbor::from_slice(bytes, HINT_LEN_MAX)?;
        if version != 1 {
            return Err(CborError::Shape(format!("hint format {version} is unknown")));
        }
        Ok(hint)
    }
}
