//! What goes into the core and what comes out.

use super::{PieceSpan, TransferId};
use crate::wire::transfer::SwarmUpdate;
use crate::{Bitmap, DeviceId, Digest};
use std::net::SocketAddr;
use std::time::Duration;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The pieces of a manifest are wanted here. Said again, it replaces `need` and `have`; an empty `need`
    /// makes a helper, which fetches from central what somebody else needs.
    Want {
        /// SHA-256 of the manifest's envelope.
        manifest: Digest,
        /// All its frames, in its order.
        frames: Vec<PieceSpan>,
        /// What the agent misses.
        need: Bitmap,
        /// What is verified and in the cache.
        have: Bitmap,
    },
    /// The manifest is of no interest any more, and its pieces are no longer served.
    Unwant {
        /// Which.
        manifest: Digest,
    },
    /// A neighbour's control stream is open.
    Connected {
        /// Who.
        peer: DeviceId,
        /// Where it is dialed.
        address: SocketAddr,
    },
    /// It is not any more.
    Disconnected {
        /// Who.
        peer: DeviceId,
    },
    /// A neighbour sent an update.
    Update {
        /// Who.
        from: DeviceId,
        /// What it says.
        update: SwarmUpdate,
    },
    /// Bytes of a transfer arrived.
    Progress {
        /// Which.
        transfer: TransferId,
        /// How many since the last report.
        bytes: u64,
    },
    /// A piece arrived whole, its hash is right, and it is in the cache.
    Verified {
        /// By which transfer.
        transfer: TransferId,
        /// Which piece.
        piece: u32,
    },
    /// A piece arrived whole and its hash is wrong; the transfer has ended.
    Corrupt {
        /// Which transfer.
        transfer: TransferId,
        /// Which piece.
        piece: u32,
    },
    /// A transfer ended before all its pieces had arrived.
    Failed {
        /// Which.
        transfer: TransferId,
        /// Why.
        why: Failure,
    },
    /// A piece is no longer served: the cache gives its space to something else.
    /// It is not fetched again unless a new `Want` needs it.
    Evicted {
        /// Of which manifest.
        manifest: Digest,
        /// Which piece.
        piece: u32,
    },
    /// [`Swarm::next_wakeup`](super::Swarm::next_wakeup) has come.
    Wakeup,
}

/// Why a transfer ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection to the neighbour was lost.
    PeerGone,
    /// The neighbour does not have the piece.
    NotHere,
    /// The neighbour has too many uploads.
    Busy,
    /// No bytes came for too long.
    Stalled,
    /// Central could not be reached or refused.
    OriginUnreachable,
    /// Central has no such file or range.
    OriginMissing,
    /// It is not the other side's: our cache, or our configuration.
    Local,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask a neighbour for a piece.
    FetchFromPeer {
        /// The transfer's name in all reports about it.
        transfer: TransferId,
        /// Of which manifest.
        manifest: Digest,
        /// Which piece.
        piece: u32,
        /// Whom.
        peer: DeviceId,
    },
    /// Ask central for adjoining frames of one pack, by one Range request. Each is reported as it is verified.
    FetchFromOrigin {
        /// The transfer's name in all reports about it.
        transfer: TransferId,
        /// Of which manifest.
        manifest: Digest,
        /// The first piece.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Stop a transfer. No report about it is needed; a piece verified meanwhile may still be reported.
    Abort {
        /// Which.
        transfer: TransferId,
    },
    /// Send an update on a neighbour's control stream.
    Send {
        /// To whom.
        peer: DeviceId,
        /// What.
        update: SwarmUpdate,
    },
    /// Close the connection to a peer that sent wrong bytes, and have none with it for a time.
    Ban {
        /// Whom.
        peer: DeviceId,
        /// How long.
        for_: Duration,
    },
    /// Become a neighbour of one of these if that can be: they take part in what we lack, and few neighbours do.
    Seek {
        /// Whom and where, in a drawn order; never nobody.
        peers: Vec<(DeviceId, SocketAddr)>,
        /// The few neighbours that take part: they are to stay.
        company: Vec<DeviceId>,
    },
    /// The have-map has changed: [`Swarm::have`](super::Swarm::have) has it.
    Have {
        /// Of which manifest.
        manifest: Digest,
    },
    /// All that was needed here is here.
    Complete {
        /// Of which manifest.
        manifest: Digest,
    },
}
