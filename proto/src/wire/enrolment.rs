//! A device's request for its two certificates, and the answer.

use super::envelope::{Document, DocumentError, Kind};
use super::keys::PublicKey;
use crate::{DeviceId, FleetId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Made by `fullmetal enroll`, signed by both of the device's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentRequest {
    /// The fleet it wants to join.
    pub fleet: FleetId,
    /// Its name in that fleet.
    pub device: DeviceId,
    /// Key of the peer: PeerId and TLS.
    pub peer_key: PublicKey,
    /// Key of the agent: signs reports.
    pub agent_key: PublicKey,
}

impl Document for EnrolmentRequest {
    const KIND: Kind = Kind::EnrolmentRequest;
    const LEN_MAX: usize = 2048;

    fn check(&self) -> Result<(), DocumentError> {
        if self.peer_key == self.agent_key {
            return DocumentError::err("agent_key", "must differ from the peer's key");
        }
        Ok(())
    }
}

/// Made by `fullmetal keys certify`; the certificates speak for themselves, the envelope is unsigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentAnswer {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// X.509 certificate of the peer's key, DER.
    pub peer_certificate: ByteBuf,
    /// X.509 certificate of the agent's key, DER.
    pub agent_certificate: ByteBuf,
    /// The trust file's envelope, so that a device needs this one file.
    pub trust: ByteBuf,
}

impl Document for EnrolmentAnswer {
    const KIND: Kind = Kind::EnrolmentAnswer;
    const LEN_MAX: usize = 128 << 10;

    fn check(&self) -> Result<(), DocumentError> {
        Ok(())
    }
}
