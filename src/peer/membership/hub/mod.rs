//! The one task that decides who is a neighbour: admits, dials, looks around, remembers.

mod rounds;

use super::book::Book;
use super::endpoint::Endpoint;
use super::handshake::{self, HandshakeError, Proven};
use super::neighbour::Neighbour;
use super::{
    CLOSE_BANNED, CLOSE_DUPLICATE, CLOSE_FULL, CLOSE_LEAVING, Credentials, Link, MembershipEvent, MembershipSettings,
    OUTBOX_MAX, Shared, remembered,
};
use crate::peer::discovery::Discovery;
use crate::peer::gossip;
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::cbor;
use fullmetal_proto::wire::transfer::{Control, Hello, KnownPeer, PEERS_MAX, VERSION};
use libp2p::PeerId;
use quinn::ConnectionError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// As many neighbours are looked for.
pub(super) const NEIGHBOURS_WANTED: usize = 4;
/// The most neighbours that were dialed by us.
pub(super) const DIALED_MAX: usize = 6;
/// The most neighbours that dialed us.
pub(super) const ACCEPTED_MAX: usize = 10;
/// Handshakes of dialers at a time; more are not answered.
const HANDSHAKES_MAX: usize = 32;
/// From as many on, a dialer must first prove that it receives at its address (QUIC Retry, RFC 9000, section 8.1).
const RETRY_FROM: usize = 8;
/// Connections younger than this came of both sides dialing at once.
const SETTLED: Duration = Duration::from_secs(5);
const POSTPONE_FULL: Duration = Duration::from_secs(60);
const POSTPONE_LOST: Duration = Duration::from_secs(1);
/// Bytes of a close reason that fit one packet.
const REASON_LEN_MAX: usize = 900;

/// What the hub's helper tasks tell it.
#[derive(Debug)]
pub(super) enum Input {
    /// A dial ended.
    Dialed { address: SocketAddr, result: Result<Box<Proven>, HandshakeError> },
    /// A dialer's handshake ended.
    Accepted { remote: SocketAddr, result: Result<Box<Proven>, HandshakeError> },
    /// A neighbour's task ended.
    Ended { device: DeviceId, serial: u64, reason: String },
    /// A neighbour told of others.
    Peers { from: DeviceId, peers: Vec<KnownPeer> },
}

/// A connected neighbour.
struct Connected {
    serial: u64,
    dialed: bool,
    since: Instant,
    peer: PeerId,
    address: SocketAddr,
    connection: quinn::Connection,
}

pub(super) struct Hub {
    settings: MembershipSettings,
    credentials: Credentials,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    events: mpsc::Sender<MembershipEvent>,
    inputs: mpsc::Sender<Input>,
    me: DeviceId,
    book: Book,
    neighbours: BTreeMap<DeviceId, Connected>,
    /// Proven, until the older connection to the same device has ended.
    waiting: BTreeMap<DeviceId, Box<Proven>>,
    dialing: BTreeSet<SocketAddr>,
    handshakes: usize,
    serial: u64,
    discovery: Option<Discovery>,
    found: mpsc::Sender<SocketAddr>,
    discovery_at: Instant,
    shuffle_at: Instant,
    recheck_at: Instant,
    save_at: Instant,
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
        let now = Instant::now();
        let me = credentials.identity.device.clone();
        let mut book = Book::new(me.clone(), &settings.peers, now);
        book.restore(remembered::load(&settings.cache), now);
        Hub {
            settings,
            credentials,
            endpoint: shared.endpoint.clone(),
            shared,
            events,
            inputs,
            me,
            book,
            neighbours: BTreeMap::new(),
            waiting: BTreeMap::new(),
            dialing: BTreeSet::new(),
            handshakes: 0,
            serial: 0,
            discovery: None,
            found,
            discovery_at: now,
            shuffle_at: now + rounds::SHUFFLE,
            recheck_at: now + rounds::RECHECK,
            save_at: now + rounds::SAVE,
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
        let mut tick = Instant::now();
        while !self.events.is_closed() {
            tokio::select! {
                gone = handles.changed() => if gone.is_err() { break },
                incoming = quinn.accept() => match incoming {
                    Some(incoming) => self.incoming(incoming),
                    None => break,
                },
                Some(input) = inputs.recv() => self.input(input).await,
                Some(address) = found.recv() => self.book.hear(address, None, Instant::now()),
                () = shared.recheck.notified() => self.recheck(),
                () = tokio::time::sleep_until(tick) => {
                    self.tick();
                    let slack = u64::from(draw() % 400);
                    tick = Instant::now() + Duration::from_millis(if self.is_looking() { 200 + slack } else { 1_000 });
                }
            }
        }
        self.save();
        quinn.close(CLOSE_LEAVING, b"leaving");
    }

    fn is_looking(&self) -> bool {
        self.neighbours.len() < NEIGHBOURS_WANTED
    }

    async fn input(&mut self, input: Input) {
        match input {
            Input::Dialed { address, result } => {
                self.dialing.remove(&address);
                match result {
                    Ok(proven) => self.admit(proven).await,
                    Err(error) => self.dial_failed(address, &error),
                }
            }
            Input::Accepted { remote, result } => {
                self.handshakes -= 1;
                match result {
                    Ok(proven) => self.admit(proven).await,
                    Err(error) => self.strangers.log(remote, &error),
                }
            }
            Input::Ended { device, serial, reason } => self.ended(device, serial, &reason).await,
            Input::Peers { from, peers } => {
                tracing::debug!(peer = %from, count = peers.len(), "told of others");
                self.hear_of(peers);
            }
        }
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

    fn dial(&mut self, address: SocketAddr) {
        tracing::debug!(%address, "dialing");
        self.dialing.insert(address);
        let (endpoint, hello) = (self.endpoint.clone(), self.hello());
        let (credentials, inputs) = (self.credentials.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let result = handshake::dial(&endpoint, address, hello, &credentials).await.map(Box::new);
            let _ = inputs.send(Input::Dialed { address, result }).await;
        });
    }

    fn dial_failed(&mut self, address: SocketAddr, error: &HandshakeError) {
        let now = Instant::now();
        if let HandshakeError::Connection(ConnectionError::ApplicationClosed(close)) = error {
            if close.error_code == CLOSE_FULL {
                self.hear_of(cbor::from_slice(&close.reason, REASON_LEN_MAX).unwrap_or_default());
                return self.book.postpone(address, now + POSTPONE_FULL);
            }
            if close.error_code == CLOSE_DUPLICATE {
                return self.book.postpone(address, now + SETTLED);
            }
        }
        tracing::debug!(%address, %error, "dial failed");
        self.book.failed(address, draw(), now);
    }

    fn hear_of(&mut self, peers: Vec<KnownPeer>) {
        let now = Instant::now();
        for peer in peers.into_iter().take(PEERS_MAX).filter(|p| p.device != self.me) {
            if let Ok(address) = peer.address.parse() {
                self.book.hear(address, Some(peer.device), now);
            }
        }
    }

    async fn admit(&mut self, proven: Box<Proven>) {
        let device = proven.member.device.clone();
        let remote = proven.connection.remote_address();
        if device == self.me {
            self.book.is_me(remote);
            return proven.connection.close(CLOSE_DUPLICATE, b"that is me");
        }
        if self.shared.is_banned(&device) {
            return proven.connection.close(CLOSE_BANNED, b"banned");
        }
        if let Some(old) = self.neighbours.get(&device) {
            if !replaces(&self.me, old, &proven) {
                return proven.connection.close(CLOSE_DUPLICATE, b"duplicate");
            }
            old.connection.close(CLOSE_DUPLICATE, b"duplicate");
            if let Some(older) = self.waiting.insert(device, proven) {
                older.connection.close(CLOSE_DUPLICATE, b"duplicate");
            }
            return;
        }
        let of_kind = self.neighbours.values().filter(|n| n.dialed == proven.dialed).count();
        if of_kind >= if proven.dialed { DIALED_MAX } else { ACCEPTED_MAX } {
            return proven.connection.close(CLOSE_FULL, &self.others_in_a_packet(&device));
        }
        self.join(*proven).await;
    }

    /// Whom to try instead: as many as fit a close frame.
    fn others_in_a_packet(&self, device: &DeviceId) -> Vec<u8> {
        let mut others = self.book.share(device, draw() as usize);
        loop {
            let bytes = cbor::to_vec(&others);
            if bytes.len() <= REASON_LEN_MAX || others.pop().is_none() {
                return bytes;
            }
        }
    }

    async fn join(&mut self, proven: Proven) {
        let Proven { member, peer, connection, hello, send, recv, dialed } = proven;
        let device = member.device;
        let remote = connection.remote_address();
        let address = if dialed { remote } else { SocketAddr::new(remote.ip(), hello.data_port) };
        self.serial += 1;
        let serial = self.serial;
        if let Some(gossip) = &self.shared.gossip {
            let dial = SocketAddr::new(remote.ip(), hello.gossip_port);
            gossip.admit(peer, device.clone(), Some(dial).filter(|to| dialed && to.port() != 0)).await;
        }
        self.book.proved(address, &device, Instant::now());
        let since = Instant::now();
        let connected = Connected { serial, dialed, since, peer, address, connection: connection.clone() };
        self.neighbours.insert(device.clone(), connected);
        let (outbox, outbox_rx) = mpsc::channel(OUTBOX_MAX);
        self.shared.set_link(device.clone(), Some(Link { outbox: outbox.clone(), connection: connection.clone() }));
        tracing::info!(peer = %device, %address, dialed, neighbours = self.neighbours.len(), "connected");
        let event = MembershipEvent::Connected { device: device.clone(), connection: connection.clone(), hello };
        // An error means that nobody reads events any more: the loop ends by it.
        let _ = self.events.send(event).await;
        let others = self.book.share(&device, draw() as usize);
        if !others.is_empty() {
            // The outbox is fresh and has room.
            let _ = outbox.try_send(Control::Peers(others));
        }
        let hello = (!dialed).then(|| self.hello());
        let (events, hub) = (self.events.clone(), self.inputs.clone());
        let task = Neighbour { device, serial, connection, send, recv, hello, outbox: outbox_rx, events, hub };
        tokio::spawn(task.run());
    }

    async fn ended(&mut self, device: DeviceId, serial: u64, reason: &str) {
        let Some(old) = self.neighbours.get(&device).filter(|n| n.serial == serial) else { return };
        let (peer, address) = (old.peer, old.address);
        self.neighbours.remove(&device);
        self.shared.set_link(device.clone(), None);
        if let Some(gossip) = &self.shared.gossip {
            gossip.expel(peer).await;
        }
        tracing::info!(peer = %device, reason, neighbours = self.neighbours.len(), "disconnected");
        let slack = Duration::from_millis(u64::from(draw() % 1000));
        self.book.postpone(address, Instant::now() + POSTPONE_LOST + slack);
        let _ = self.events.send(MembershipEvent::Disconnected { device: device.clone() }).await;
        if let Some(next) = self.waiting.remove(&device) {
            self.admit(next).await;
        }
    }
}

/// Whether a new connection takes the place of the one to the same device: always when that one has settled,
/// since nobody dials a neighbour that it still has; else both dialed at once, and the one dialed by the
/// smaller id stays.
fn replaces(me: &DeviceId, old: &Connected, new: &Proven) -> bool {
    if old.since.elapsed() >= SETTLED {
        return true;
    }
    let by_smaller = if new.dialed { *me < new.member.device } else { new.member.device < *me };
    old.dialed != new.dialed && by_smaller
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

/// A random number: spreads dials and waits; nothing secret depends on it.
fn draw() -> u32 {
    getrandom::u32().unwrap_or(0)
}
