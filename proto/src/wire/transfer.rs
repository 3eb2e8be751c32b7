//! What two members say on a quinn connection (ALPN `fullmetal/1`, mutual TLS).
//!
//! The dialer opens one bidirectional control stream; both sides send [`Hello`], then [`Control`] messages,
//! each a big-endian u32 length and CBOR. Every further bidirectional stream is one [`Request`] in the same
//! framing, answered by a [`ResponseHead`] and, when it is `Ok` or `Length`, that many raw bytes.

use super::bundle::CHUNK_LEN;
use super::gossip::Hint;
use super::manifest::FRAME_LEN_MAX;
use crate::{Bitmap, DeviceId, Digest};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// ALPN protocol name; its number is the major.
pub const ALPN: &[u8] = b"fullmetal/1";
/// The version in [`Hello`]: minor steps that both sides may know.
pub const VERSION: u16 = 1;
/// The longest control message in bytes.
pub const CONTROL_LEN_MAX: usize = 512 << 10;
/// The longest request or response head in bytes.
pub const REQUEST_LEN_MAX: usize = 256;
/// The most digests in one [`Control::Stock`].
pub const STOCK_MAX: usize = 8192;
/// The most peers in one [`Control::Peers`].
pub const PEERS_MAX: usize = 16;
/// The most CBOR items in one control message: what bounds the memory that decoding takes.
pub const CONTROL_ITEMS_MAX: usize = 128 << 10;
/// The most statuses in one [`SwarmUpdate`].
pub const STATUSES_MAX: usize = 256;
/// Bytes to which the maps of one [`SwarmUpdate`] may unfold: on the wire their trailing zeros are cut off.
pub const MAPS_LEN_MAX: usize = 1 << 20;

/// The first message of each side on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the sender.
    pub version: u16,
    /// Whether it can and may fetch from central.
    pub origin: bool,
    /// Its weight in the election of fetchers; 0 is never elected.
    pub weight: u16,
    /// UDP port of its libp2p endpoint (gossip) on the address of this connection.
    pub gossip_port: u16,
    /// UDP port of its quinn endpoint on the address of this connection.
    pub data_port: u16,
}

/// Messages on the control stream after [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The newest announcement that the sender has verified.
    Hint(Hint),
    /// Who has, needs and fetches which pieces.
    Swarm(SwarmUpdate),
    /// Reports and receipts that the sender carries, by digest; pulled as blobs.
    Stock(Vec<StockItem>),
    /// Other members and where they were last reached.
    Peers(Vec<KnownPeer>),
    /// Devices heard of, with the seconds since.
    Heard(Vec<(DeviceId, u32)>),
}

/// One carried report or receipt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StockItem {
    /// SHA-256 of its envelope.
    pub digest: Digest,
    /// Bytes of its envelope.
    pub length: u32,
    /// Whose report it is, or whom the receipt is for.
    pub device: DeviceId,
    /// The report's counter, or the counter up to which it is a receipt.
    pub counter: u64,
    /// A receipt rather than a report.
    pub receipt: bool,
}

/// A member and an address at which it was reached. A hint: whoever answers must prove who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Its id.
    pub device: DeviceId,
    /// Address and UDP port of its quinn endpoint, `192.0.2.7:4000` or `[2001:db8::7]:4000`.
    pub address: String,
}

/// News about one manifest's pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmUpdate {
    /// SHA-256 of the manifest's envelope.
    pub manifest: Digest,
    /// How many frames it has.
    pub pieces: u32,
    /// The sender's own status and newer ones that it heard; each replaces older ones of the same peer.
    #[serde(deserialize_with = "statuses")]
    pub statuses: Vec<PeerStatus>,
}

/// Stops at the first status that makes the update too large, before the rest of them is unfolded.
fn statuses<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PeerStatus>, D::Error> {
    struct Statuses;
    impl<'de> Visitor<'de> for Statuses {
        type Value = Vec<PeerStatus>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {STATUSES_MAX} statuses whose maps take at most {MAPS_LEN_MAX} bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let (mut list, mut unfolded) = (Vec::new(), 0);
            while let Some(status) = seq.next_element::<PeerStatus>()? {
                let maps = [&status.have, &status.need, &status.claims];
                unfolded += maps.iter().map(|map| map.len().div_ceil(8) as usize).sum::<usize>();
                list.push(status);
                if list.len() > STATUSES_MAX || unfolded > MAPS_LEN_MAX {
                    return Err(de::Error::invalid_length(list.len(), &self));
                }
            }
            Ok(list)
        }
    }
    d.deserialize_seq(Statuses)
}

/// What one peer has, needs and fetches of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Whose status.
    pub peer: DeviceId,
    /// Rises with every change; the newer status of a peer wins.
    pub seq: u64,
    /// Whether it can and may fetch from central.
    pub origin: bool,
    /// Weight in the election.
    pub weight: u16,
    /// Verified pieces that it serves.
    pub have: Bitmap,
    /// Pieces that it wants for itself.
    pub need: Bitmap,
    /// Pieces that it is fetching from central.
    pub claims: Bitmap,
    /// Milliseconds for which the claims still hold when this is sent.
    pub lease_ms: u32,
    /// It lacks something and has got nothing for a while: others are to help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
    /// Central gave it nothing when it last asked, and nobody that it knows of anything since. Once as many say so as are
    /// elected, others hold back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failing: bool,
    /// Where its neighbours reach it, as text like [`KnownPeer::address`]; they say so when they pass it on, itself it does
    /// not. A hint: whoever answers must prove who it is.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "address_text")]
    pub address: Option<SocketAddr>,
}

/// An address and UDP port as text, so that CBOR holds no form of a library's own.
mod address_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use std::net::SocketAddr;

    pub(super) fn serialize<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => to.collect_str(address),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// What a stream asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A frame by the SHA-256 of its compressed bytes.
    Frame {
        /// Which.
        sha256: Digest,
        /// Its bytes, as the manifest says.
        length: u32,
    },
    /// A blob or chunk of a blob: announcement, commit object, signatures, manifest chunk, report.
    Blob {
        /// Which.
        sha256: Digest,
        /// Its bytes, as the reference says.
        length: u32,
    },
    /// A batch of a plain repo, packed, by [`PlainManifest::id`](super::plain::PlainManifest::id); the answer says how long it is.
    Batch {
        /// Which.
        id: Digest,
    },
}

impl Request {
    /// Whether the length is one that the kind may have.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Request::Frame { length, .. } => (1..=FRAME_LEN_MAX).contains(length),
            Request::Blob { length, .. } => (1..=CHUNK_LEN as u32).contains(length),
            Request::Batch { .. } => true,
        }
    }
}

/// The answer before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseHead {
    /// The bytes follow; exactly the requested length.
    Ok,
    /// So many bytes follow: the answer to [`Request::Batch`].
    Length(u64),
    /// Not here, or not any more.
    NotHere,
    /// Too many uploads at once; ask again later or elsewhere.
    Busy,
}
