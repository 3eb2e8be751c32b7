//! The neighbours: the quinn endpoint, proof of membership, control streams.
//!
//! Whom to dial, let in, tell of others and remember is decided by [`fullmetal_proto::membership`]; here it is done.
//! [`start`] spawns the tasks and returns a [`Membership`] to act through and a bounded channel of
//! [`MembershipEvent`]s to listen to. Order per device: `Connected` first, then its `Control` and `Request`
//! events, then `Disconnected`; a device that connects again starts anew.

mod endpoint;
mod handshake;
mod hub;
mod neighbour;
mod remembered;
#[cfg(test)]
mod tests;

use super::gossip::{Gossip, GossipError};
use crate::config::Settings;
use crate::identity::{Clock, Identity, SharedTrust};
use endpoint::Endpoint;
use fullmetal_proto::DeviceId;
use fullmetal_proto::membership::limits::BANS_MAX;
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::wire::transfer::{Control, Hello};
use hub::Hub;
use quinn::VarInt;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// The most events that wait for their reader; more hold the network back.
pub const EVENTS_MAX: usize = 256;
/// Control messages that wait for one neighbour.
const OUTBOX_MAX: usize = 256;
/// Messages that wait for the hub.
const INPUTS_MAX: usize = 64;
/// Searches that wait for the hub: one for each wanted manifest.
const SOUGHT_MAX: usize = 16;
/// How long leaving may take.
const LEAVE_MAX: Duration = Duration::from_millis(500);

const CLOSE_LEAVING: VarInt = VarInt::from_u32(0);
const CLOSE_NOT_MEMBER: VarInt = VarInt::from_u32(1);
const CLOSE_DUPLICATE: VarInt = VarInt::from_u32(2);
/// The reason is the CBOR of other members to try.
const CLOSE_FULL: VarInt = VarInt::from_u32(3);
const CLOSE_BANNED: VarInt = VarInt::from_u32(4);
const CLOSE_SLOW: VarInt = VarInt::from_u32(5);
const CLOSE_ERROR: VarInt = VarInt::from_u32(6);
/// It left unanswered what was sent to it; seldom does it hear so.
const CLOSE_UNANSWERED: VarInt = VarInt::from_u32(8);
/// The dialer has neighbours enough: nobody's fault.
const CLOSE_SPARE: VarInt = VarInt::from_u32(7);

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

impl MembershipSettings {
    /// From the configuration: listens on loopback where only `lo` is named, else on all IPv4 addresses.
    pub fn of(settings: &Settings) -> Self {
        let peer = &settings.peer;
        let only_loopback = !peer.interfaces.is_empty() && peer.interfaces.iter().all(|i| i == "lo");
        let ip = if only_loopback { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        MembershipSettings {
            listen: SocketAddr::from((ip, peer.port)),
            peers: peer.peers.clone(),
            discovery: peer.discovery,
            interfaces: peer.interfaces.clone(),
            gossip: true,
            origin: peer.origin,
            weight: peer.weight,
            cache: settings.paths.cache_dir(),
        }
    }
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
    /// Tells the hub when the last clone is gone.
    _handles: Arc<watch::Sender<()>>,
}

impl Membership {
    /// Queues a control message. A neighbour that does not take its messages is disconnected, so that it
    /// starts anew instead of missing one. False: not a neighbour (any more).
    pub fn send(&self, device: &DeviceId, message: Control) -> bool {
        let links = lock(&self.shared.links);
        let Some(link) = links.get(device) else { return false };
        let sent = link.outbox.try_send(message).is_ok();
        if !sent {
            link.connection.close(CLOSE_SLOW, b"takes no messages");
        }
        sent
    }

    /// Tells the fleet of a verified announcement: gossips it, or lets a held gossip message travel on.
    pub fn publish(&self, hint: Hint) {
        if let Some(gossip) = &self.shared.gossip {
            gossip.publish(hint);
        }
    }

    /// Drops a gossiped hint that proved false.
    pub fn refuse(&self, hint: Hint) {
        if let Some(gossip) = &self.shared.gossip {
            gossip.refuse(hint);
        }
    }

    /// The connected members, in order.
    pub fn neighbours(&self) -> Vec<DeviceId> {
        lock(&self.shared.links).keys().cloned().collect()
    }

    /// Closes the connection and refuses the device for `duration`.
    pub fn ban(&self, device: &DeviceId, duration: Duration) {
        let mut bans = lock(&self.shared.bans);
        if bans.len() < BANS_MAX {
            bans.insert(device.clone(), duration);
        }
        drop(bans);
        tracing::warn!(peer = %device, seconds = duration.as_secs(), "banned");
        self.shared.asked.notify_one();
    }

    /// Makes one of these members a neighbour if that can be: see
    /// [`Input::Seek`](fullmetal_proto::membership::Input::Seek).
    pub fn seek(&self, wanted: Wanted) {
        let mut sought = lock(&self.shared.sought);
        // The swarm says so again while it is in need.
        if sought.len() < SOUGHT_MAX {
            sought.push(wanted);
        }
        drop(sought);
        self.shared.asked.notify_one();
    }

    /// Judges all neighbours' certificates again: after a new trust file or revocation list. Happens every
    /// minute by itself, for those that expire.
    pub fn recheck(&self) {
        self.shared.recheck.notify_one();
    }

    /// Where the quinn endpoint listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.endpoint.local
    }

    /// Closes all connections and waits a moment for the neighbours to learn of it.
    pub async fn leave(self) {
        self.shared.endpoint.quinn.close(CLOSE_LEAVING, b"leaving");
        // Whoever has not heard it by then finds out by the idle timeout.
        let _ = tokio::time::timeout(LEAVE_MAX, self.shared.endpoint.quinn.wait_idle()).await;
    }
}

/// Members of which one is wanted for a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whom, and where it is said to be.
    pub peers: Vec<(DeviceId, SocketAddr)>,
    /// Neighbours of that kind, which are to stay.
    pub company: Vec<DeviceId>,
}

/// What handles and the hub share.
#[derive(Debug)]
struct Shared {
    links: Mutex<BTreeMap<DeviceId, Link>>,
    /// Bans that the hub has not seen yet.
    bans: Mutex<BTreeMap<DeviceId, Duration>>,
    /// What was sought since the hub last looked.
    sought: Mutex<Vec<Wanted>>,
    /// Tells the hub of the two above.
    asked: Notify,
    gossip: Option<Gossip>,
    recheck: Notify,
    endpoint: Endpoint,
}

/// The way to one neighbour.
#[derive(Debug)]
struct Link {
    outbox: mpsc::Sender<Control>,
    connection: quinn::Connection,
}

impl Shared {
    fn set_link(&self, device: DeviceId, link: Option<Link>) {
        let mut links = lock(&self.links);
        match link {
            Some(link) => drop(links.insert(device, link)),
            None => drop(links.remove(&device)),
        }
    }
}

/// No code panics while it holds one of these locks, and none awaits.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    /// Our own certificate or key does not make a TLS configuration.
    #[error("TLS configuration: {0}")]
    Tls(String),
    /// The gossip half.
    #[error(transparent)]
    Gossip(#[from] GossipError),
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
    let endpoint = Endpoint::bind(settings.listen, &credentials)?;
    let (events, events_rx) = mpsc::channel(EVENTS_MAX);
    let gossip = match settings.gossip {
        true => {
            let port = if settings.listen.port() == 0 { 0 } else { settings.listen.port().saturating_add(1) };
            let listen = SocketAddr::new(settings.listen.ip(), port);
            let identity = &credentials.identity;
            let gossip = Gossip::start(&identity.key, &identity.fleet, listen, events.clone())?;
            gossip.port_known().await;
            Some(gossip)
        }
        false => None,
    };
    let (links, bans, sought) = Default::default();
    let shared =
        Arc::new(Shared { links, bans, sought, asked: Notify::new(), gossip, recheck: Notify::new(), endpoint });
    let (inputs, inputs_rx) = mpsc::channel(INPUTS_MAX);
    let (found, found_rx) = mpsc::channel(INPUTS_MAX);
    let (handles, handles_rx) = watch::channel(());
    let hub = Hub::new(settings, credentials, shared.clone(), events, (inputs, found));
    tokio::spawn(hub.run(inputs_rx, found_rx, handles_rx));
    Ok((Membership { shared, _handles: Arc::new(handles) }, events_rx))
}
