//! Who is a neighbour: the quinn endpoint, proof of membership, control streams, and who is dialed.
//!
//! [`start`] spawns the tasks and returns a [`Membership`] to act through and a bounded channel of
//! [`MembershipEvent`]s to listen to. Order per device: `Connected` first, then its `Control` and `Request`
//! events, then `Disconnected`; a device that connects again starts anew.

use crate::identity::{Clock, Identity, SharedTrust};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::wire::transfer::{Control, Hello};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The most events that wait for their reader; more hold the network back.
pub const EVENTS_MAX: usize = 256;

/// What membership needs to know, apart from who this device is.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// Address and UDP port of the quinn endpoint; port 0 takes any free one. Gossip takes the next port if
    /// it is free, else any.
    pub listen: SocketAddr,
    /// Members to dial, whoever they are.
    pub peers: Vec<SocketAddr>,
    /// Look for members by DNS-SD.
    pub discovery: bool,
    /// Interfaces for DNS-SD; empty means all but loopback.
    pub interfaces: Vec<String>,
    /// Off: hints travel over quinn only.
    pub gossip: bool,
    /// This peer can and may fetch from central.
    pub origin: bool,
    /// Its weight in the election of fetchers.
    pub weight: u16,
    /// The peer's cache directory; remembered peers are kept in it.
    pub cache: PathBuf,
}

/// Something that happened among the neighbours.
#[derive(Debug)]
pub enum MembershipEvent {
    /// A member proved itself and said Hello.
    Connected {
        /// Who.
        device: DeviceId,
        /// For request streams (`open_bi`) and byte counters (`stats`).
        connection: quinn::Connection,
        /// What it said of itself.
        hello: Hello,
    },
    /// The connection is gone; nothing more comes from it.
    Disconnected {
        /// Who.
        device: DeviceId,
    },
    /// A message on the control stream, within its limits. `Peers` is handled here and never passed on.
    Control {
        /// From whom.
        device: DeviceId,
        /// What it said.
        message: Control,
    },
    /// A hint by gossip. Call [`Membership::publish`] when it proved true or [`Membership::refuse`] when it
    /// did not; it travels on only after `publish`.
    Gossip {
        /// The neighbour that passed it on.
        device: DeviceId,
        /// The hint.
        hint: Hint,
    },
    /// The neighbour opened a request stream; nothing was read from it yet.
    Request {
        /// Who asks.
        device: DeviceId,
        /// For the answer.
        send: quinn::SendStream,
        /// The request.
        recv: quinn::RecvStream,
    },
}

/// Acts on the neighbours. Clones share one membership; when the last is dropped, all connections close.
#[derive(Clone, Debug)]
pub struct Membership {
    shared: Arc<Shared>,
}

impl Membership {
    /// Queues a control message. A neighbour that does not take its messages is disconnected, so that it
    /// starts anew instead of missing one. False: not a neighbour (any more).
    pub fn send(&self, device: &DeviceId, message: Control) -> bool {
        let _ = (device, message, &self.shared);
        false
    }

    /// Tells the fleet of a verified announcement: gossips it, or lets a held gossip message travel on.
    pub fn publish(&self, hint: Hint) {
        let _ = hint;
    }

    /// Drops a gossiped hint that proved false.
    pub fn refuse(&self, hint: Hint) {
        let _ = hint;
    }

    /// The connected members, in order.
    pub fn neighbours(&self) -> Vec<DeviceId> {
        Vec::new()
    }

    /// Closes the connection and refuses the device for `duration`.
    pub fn ban(&self, device: &DeviceId, duration: Duration) {
        let _ = (device, duration);
    }

    /// Judges all neighbours' certificates again: after a new trust file or revocation list.
    pub fn recheck(&self) {}

    /// Where the quinn endpoint listens.
    pub fn local_addr(&self) -> SocketAddr {
        ([0, 0, 0, 0], 0).into()
    }
}

#[derive(Debug)]
struct Shared;

/// Why membership could not start.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The UDP port could not be bound.
    #[error("binding UDP {address}: {source}; is another peer running, or the port taken?")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Who this device is, whom it believes, and the time to judge certificates by.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The peer's key and certificate.
    pub identity: Identity,
    /// The fleet's trust in force.
    pub trust: SharedTrust,
    /// The trusted time.
    pub clock: Clock,
}

/// Binds the port and spawns the tasks on the current tokio runtime (current-thread will do).
pub async fn start(
    settings: MembershipSettings,
    credentials: Credentials,
) -> Result<(Membership, mpsc::Receiver<MembershipEvent>), MembershipError> {
    let _ = (settings, credentials);
    let (_tx, rx) = mpsc::channel(EVENTS_MAX);
    Ok((Membership { shared: Arc::new(Shared) }, rx))
}
