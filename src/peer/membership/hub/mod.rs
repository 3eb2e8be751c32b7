//! The one task that drives the core of membership: handshakes come in, what the core decides is carried out.

mod effects;

use super::endpoint::Endpoint;
use super::handshake::{self, HandshakeError, Proven};
use super::{
    CLOSE_DUPLICATE, CLOSE_FULL, CLOSE_LEAVING, CLOSE_NOT_MEMBER, Credentials, MembershipEvent, MembershipSettings,
    Shared, Wanted, lock, remembered,
};
use crate::identity::member_of;
use crate::peer::discovery::Discovery;
use crate::peer::gossip;
use fullmetal_proto::membership::limits::LOOK;
use fullmetal_proto::membership::{ConnectionId, Input as Told, Membership as Core, Refusal, Start};
use fullmetal_proto::wire::cbor;
use fullmetal_proto::wire::transfer::{Hello, KnownPeer, VERSION};
use fullmetal_proto::{DeviceId, Timestamp};
use libp2p::PeerId;
use quinn::ConnectionError;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Handshakes of dialers at a time; more are not answered.
const HANDSHAKES_MAX: usize = 32;
/// From as many on, a dialer must first prove that it receives at its address (QUIC Retry, RFC 9000, section 8.1).
const RETRY_FROM: usize = 8;
/// Bytes of a close reason that fit one packet.
const REASON_LEN_MAX: usize = 900;
/// How often certificates are judged again.
const RECHECK: Duration = Duration::from_secs(60);

/// What the hub's helper tasks tell it.
#[derive(Debug)]
pub(super) enum Input {
    /// A dial ended.
    Dialed { address: SocketAddr, result: Result<Box<Proven>, HandshakeError> },
    /// A dialer's handshake ended.
    Accepted { remote: SocketAddr, result: Result<Box<Proven>, HandshakeError> },
    /// A neighbour's task ended.
    Ended { device: DeviceId, connection: ConnectionId, reason: String },
    /// A neighbour told of others.
    Peers { from: DeviceId, peers: Vec<KnownPeer> },
}

/// A connected neighbour.
struct Connected {
    id: ConnectionId,
    peer: PeerId,
    connection: quinn::Connection,
}

pub(super) struct Hub {
    settings: MembershipSettings,
    credentials: Credentials,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    events: mpsc::Sender<MembershipEvent>,
    inputs: mpsc::Sender<Input>,
    core: Core,
    /// What the core's times count from.
    start: Instant,
    neighbours: BTreeMap<DeviceId, Connected>,
    /// Proven; the core has not let them in or closed them yet.
    arriving: BTreeMap<ConnectionId, Box<Proven>>,
    handshakes: usize,
    serial: u64,
    discovery: Option<Discovery>,
    found: mpsc::Sender<SocketAddr>,
    strangers: Strangers,
}

impl Hub {
    pub(super) fn new(
        settings: MembershipSettings,
        credentials: Credentials,
        shared: Arc<Shared>,
        events: mpsc::Sender<MembershipEvent>,
        (inputs, found): (mpsc::Sender<Input>, mpsc::Sender<SocketAddr>),
    ) -> Self {
        let start = Start {
            me: credentials.identity.device.clone(),
            configured: settings.peers.clone(),
            remembered: remembered::load(&settings.cache),
            discovery: settings.discovery,
        };
        // Spreads dials and waits; nothing secret depends on it.
        let seed = getrandom::u64().unwrap_or_default();
        Hub {
            core: Core::new(start, seed, Timestamp::ZERO),
            start: Instant::now(),
            endpoint: shared.endpoint.clone(),
            settings,
            credentials,
            shared,
            events,
            inputs,
            neighbours: BTreeMap::new(),
            arriving: BTreeMap::new(),
            handshakes: 0,
            serial: 0,
            discovery: None,
            found,
            strangers: Strangers::default(),
        }
    }

    /// Runs until all handles or the reader of events are gone.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut found: mpsc::Receiver<SocketAddr>,
        mut handles: watch::Receiver<()>,
    ) {
        let quinn = self.endpoint.quinn.clone();
        let shared = self.shared.clone();
        let (mut recheck, mut look) = (tokio::time::interval(RECHECK), tokio::time::interval(LOOK));
        // After standing still, one look is enough: each is to have time for answers.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.events.is_closed() {
            let wakeup = self.start + Duration::from_millis(self.core.next_wakeup().as_millis());
            tokio::select! {
                gone = handles.changed() => if gone.is_err() { break },
                incoming = quinn.accept() => match incoming {
                    Some(incoming) => self.incoming(incoming),
                    None => break,
                },
                Some(input) = inputs.recv() => self.input(input).await,
                Some(address) = found.recv() => self.tell(Told::Found { address }).await,
                () = shared.recheck.notified() => self.recheck(),
                _ = recheck.tick() => self.recheck(),
                _ = look.tick() => self.look().await,
                () = shared.asked.notified() => self.asked().await,
                () = tokio::time::sleep_until(wakeup) => self.tell(Told::Wakeup).await,
            }
        }
        self.remember(&self.core.known());
        quinn.close(CLOSE_LEAVING, b"leaving");
    }

    async fn input(&mut self, input: Input) {
        match input {
            Input::Dialed { address, result: Ok(proven) } => self.proven(proven, address).await,
            Input::Dialed { address, result: Err(error) } => {
                tracing::debug!(%address, %error, "dial failed");
                self.tell(Told::DialFailed { address, why: refusal(&error) }).await;
            }
            Input::Accepted { remote, result } => {
                self.handshakes -= 1;
                match result {
                    Ok(proven) => {
                        let address = SocketAddr::new(remote.ip(), proven.hello.data_port);
                        self.proven(proven, address).await;
                    }
                    Err(error) => self.strangers.log(remote, &error),
                }
            }
            Input::Ended { device, connection, reason } => self.ended(device, connection, &reason).await,
            Input::Peers { from, peers } => {
                tracing::debug!(peer = %from, count = peers.len(), "told of others");
                self.tell(Told::Told { from, peers }).await;
            }
        }
    }

    /// Tells the core and does what it wants done. Nobody who was banned meanwhile gets in.
    async fn tell(&mut self, input: Told) {
        self.ban().await;
        self.core.handle(input, self.now());
        self.act().await;
    }

    async fn ban(&mut self) {
        let banned = std::mem::take(&mut *lock(&self.shared.bans));
        for (device, duration) in banned {
            self.core.handle(Told::Ban { device, duration }, self.now());
            self.act().await;
        }
    }

    /// What the handles ask for.
    async fn asked(&mut self) {
        self.ban().await;
        let sought = std::mem::take(&mut *lock(&self.shared.sought));
        for Wanted { peers, company } in sought {
            self.tell(Told::Seek { peers, company }).await;
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.start.elapsed().as_millis() as u64)
    }

    fn incoming(&mut self, incoming: quinn::Incoming) {
        let remote = incoming.remote_address();
        if self.handshakes >= HANDSHAKES_MAX {
            return incoming.ignore();
        }
        if self.handshakes >= RETRY_FROM && !incoming.remote_address_validated() && incoming.may_retry() {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%remote, %error, "retry");
            }
            return;
        }
        self.handshakes += 1;
        let (credentials, inputs) = (self.credentials.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let result = handshake::accept(incoming, &credentials).await.map(Box::new);
            // The hub is gone only when everything ends.
            let _ = inputs.send(Input::Accepted { remote, result }).await;
        });
    }

    fn hello(&self) -> Hello {
        Hello {
            version: VERSION,
            origin: self.settings.origin,
            weight: self.settings.weight,
            gossip_port: self.shared.gossip.as_ref().map_or(0, gossip::Gossip::port),
            data_port: self.endpoint.local.port(),
        }
    }

    async fn proven(&mut self, proven: Box<Proven>, address: SocketAddr) {
        self.serial += 1;
        let connection = ConnectionId(self.serial);
        let (device, dialed) = (proven.member.device.clone(), proven.dialed);
        self.arriving.insert(connection, proven);
        self.tell(Told::Proven { connection, device, address, dialed }).await;
    }

    async fn ended(&mut self, device: DeviceId, connection: ConnectionId, reason: &str) {
        if self.neighbours.get(&device).is_none_or(|n| n.id != connection) {
            return;
        }
        let peer = self.neighbours.remove(&device).map(|n| n.peer);
        self.shared.set_link(device.clone(), None);
        if let Some((gossip, peer)) = self.shared.gossip.as_ref().zip(peer) {
            gossip.expel(peer).await;
        }
        tracing::info!(peer = %device, reason, neighbours = self.neighbours.len(), "disconnected");
        let _ = self.events.send(MembershipEvent::Disconnected { device }).await;
        self.tell(Told::Ended { connection }).await;
    }

    /// Closes connections whose certificate does not hold any more.
    fn recheck(&mut self) {
        let Credentials { trust, clock, .. } = &self.credentials;
        for (device, neighbour) in &self.neighbours {
            if let Err(error) = member_of(neighbour.connection.peer_identity(), trust, clock) {
                tracing::warn!(peer = %device, %error, "no member any more");
                neighbour.connection.close(CLOSE_NOT_MEMBER, b"not a member any more");
            }
        }
    }
}

/// What a failed dial says of who was dialed.
fn refusal(error: &HandshakeError) -> Refusal {
    let HandshakeError::Connection(ConnectionError::ApplicationClosed(close)) = error else { return Refusal::Failed };
    match close.error_code {
        CLOSE_FULL => Refusal::Full(cbor::from_slice(&close.reason, REASON_LEN_MAX).unwrap_or_default()),
        CLOSE_DUPLICATE => Refusal::Duplicate,
        _ => Refusal::Failed,
    }
}

/// Logs strangers, at most one a second.
#[derive(Default)]
struct Strangers {
    silent_until: Option<Instant>,
    unlogged: u64,
}

impl Strangers {
    fn log(&mut self, remote: SocketAddr, error: &HandshakeError) {
        let now = Instant::now();
        if self.silent_until.is_some_and(|until| now < until) {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(%remote, %error, unlogged = self.unlogged, "stranger refused");
        (self.silent_until, self.unlogged) = (Some(now + Duration::from_secs(1)), 0);
    }
}
