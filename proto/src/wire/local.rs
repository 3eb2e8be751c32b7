//! The Unix socket between a peer and its agent or gateway: a boundary like the network.
//!
//! `SOCK_SEQPACKET`; each packet is one CBOR message of at most [`PACKET_LEN_MAX`] bytes and at most one
//! read-only file descriptor. The client trusts nothing that comes over it: it reads the descriptor's
//! bytes into memory, hashes them, and uses those bytes.

use super::bundle::BlobRef;
use super::gossip::Hint;
use crate::{Bitmap, DeviceId, Digest, RefName};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The longest packet in bytes.
pub const PACKET_LEN_MAX: usize = 160 << 10;
/// The version that both sides name in their Hello.
pub const VERSION: u16 = 1;

/// Who is at the client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// A device's agent.
    Agent,
    /// A gateway.
    Gateway,
    /// A command such as `fullmetal status`: may only ask [`ToPeer::Status`].
    Observer,
}

/// Where a blob lies in a central repo when no neighbour has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CentralObject {
    /// `refs/heads/<ref>`: 64 hex digits and a newline.
    Ref(RefName),
    /// `objects/<xx>/<rest>.commit`.
    Commit(Digest),
    /// `objects/<xx>/<rest>.commitmeta`.
    CommitMeta(Digest),
    /// `fullmetal/manifests/<commit>`.
    Manifest(Digest),
    /// `objects/<xx>/<rest>.dirtree`.
    DirTree(Digest),
}

/// From the client to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToPeer {
    /// First message.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// Who is talking.
        client: Client,
    },
    /// Gets a blob from the cache, neighbours, or (where this peer may) central. Answered by
    /// [`FromPeer::Blob`] or [`FromPeer::BlobFailed`].
    Blob {
        /// Which blob; the peer assembles its chunks.
        blob: BlobRef,
        /// Where central has it.
        central: CentralObject,
    },
    /// Fetches the needed pieces (frames or batches) of a manifest; replaces an earlier wish for the same manifest. Answered
    /// by [`FromPeer::Have`] now and whenever frames arrive, or [`FromPeer::WantFailed`].
    Want {
        /// The manifest, which the peer pulls like any blob when it has not got it.
        manifest: BlobRef,
        /// The commit that it describes, which names it at central.
        commit: Digest,
        /// Frames that the client needs itself; empty for a gateway, which only lets its peer help others.
        need: Bitmap,
    },
    /// Gateway only: a manifest that central does not have; its bytes are behind the descriptor. Then as a `Want` that needs
    /// nothing.
    Offer {
        /// The manifest.
        manifest: BlobRef,
        /// The commit that it describes.
        commit: Digest,
    },
    /// Ends a wish; its frames stay in the cache while a `Retain` names the manifest.
    Unwant {
        /// SHA-256 of the manifest.
        manifest: Digest,
    },
    /// Asks for a frame that [`FromPeer::Have`] named; answered by [`FromPeer::Frame`].
    Frame {
        /// SHA-256 of the manifest.
        manifest: Digest,
        /// Index of the frame.
        index: u32,
    },
    /// The client found that a frame or blob it was handed is not what its name says.
    Corrupt {
        /// The digest that did not match.
        sha256: Digest,
    },
    /// The manifests whose frames stay in the cache; others are evicted when space is needed.
    Retain {
        /// SHA-256 of each manifest.
        manifests: Vec<Digest>,
    },
    /// Carries a signed report to the gateway.
    Report(ByteBuf),
    /// Gateway only: a signed receipt for the fleet.
    Receipt(ByteBuf),
    /// Gateway only: a newer announcement; its bytes are behind the descriptor.
    Announce(Hint),
    /// Gateway only: reads a small object at central. Answered by [`FromPeer::Central`] or
    /// [`FromPeer::CentralFailed`].
    Central(CentralObject),
    /// Agent only: asks all neighbours for a newer announcement now.
    CheckNow,
    /// Answered by [`FromPeer::Status`].
    Status,
}

/// From the peer to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromPeer {
    /// First message.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// The id in the peer's certificate.
        device: DeviceId,
    },
    /// The newest announcement, at connect and whenever it changes; bytes behind the descriptor.
    Announcement(Hint),
    /// The blob is behind the descriptor.
    Blob {
        /// SHA-256 of the whole blob.
        sha256: Digest,
    },
    /// The blob could not be had.
    BlobFailed {
        /// SHA-256 of the whole blob.
        sha256: Digest,
        /// Why, for a person.
        reason: String,
    },
    /// Frames of a wanted manifest that lie verified in the cache.
    Have {
        /// SHA-256 of the manifest.
        manifest: Digest,
        /// All of them, not only new ones.
        have: Bitmap,
        /// Frame bytes that this wish got from neighbours so far.
        bytes_from_peers: u64,
        /// Frame bytes that this peer got from central for this manifest so far.
        bytes_from_central: u64,
    },
    /// The wish cannot be met now; the peer goes on trying until `Unwant`.
    WantFailed {
        /// SHA-256 of the manifest.
        manifest: Digest,
        /// Why, for a person.
        reason: String,
    },
    /// The frame is behind the descriptor, or gone from the cache when there is none.
    Frame {
        /// SHA-256 of the manifest.
        manifest: Digest,
        /// Index of the frame.
        index: u32,
    },
    /// To a gateway: a report that arrived.
    Report(ByteBuf),
    /// To an agent: a receipt for its own reports.
    Receipt(ByteBuf),
    /// To a gateway: devices heard of, with the seconds since.
    Heard(Vec<(DeviceId, u32)>),
    /// The object is behind the descriptor.
    Central(CentralObject),
    /// Central does not have it, cannot be reached, or may not be asked from here.
    CentralFailed {
        /// What was asked.
        object: CentralObject,
        /// Central answered that it does not exist.
        missing: bool,
        /// Why, for a person.
        reason: String,
    },
    /// How the peer is doing.
    Status(PeerReport),
}

/// Neighbours that a peer tells of as sources of its bytes.
pub const SOURCES_MAX: usize = 16;

/// A peer's share of what the whole site may take of central.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CentralShare {
    /// The whole site's, by this peer's configuration and at this hour.
    pub budget_bytes_per_s: u64,
    /// This peer's.
    pub bytes_per_s: u64,
    /// Among how many it is split, this peer included.
    pub fetchers: u32,
}

/// A peer's state for `fullmetal status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Connected members.
    pub neighbours: Vec<DeviceId>,
    /// The newest announcement.
    pub newest: Option<Hint>,
    /// Bytes that lie in the frame cache.
    pub cache_bytes: u64,
    /// Frame bytes from neighbours since start.
    pub bytes_from_peers: u64,
    /// Frame bytes from central since start.
    pub bytes_from_central: u64,
    /// Frame bytes sent to neighbours since start.
    pub bytes_to_peers: u64,
    /// Of those from neighbours, whose; the most first, at most [`SOURCES_MAX`] neighbours.
    #[serde(default)]
    pub sources: Vec<(DeviceId, u64)>,
    /// What it may take of central now, where the site has a budget; boxed, since most have none.
    #[serde(default)]
    pub central: Option<Box<CentralShare>>,
    /// Newest lasting trouble, such as central out of reach; empty when there is none.
    pub trouble: String,
}
