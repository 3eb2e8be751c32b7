//! Hints, broadcast by gossipsub among proven members: a lossy port, nothing depends on it.
//!
//! The allow-list stands first in the behaviour, so that a stranger is refused before gossipsub queues a
//! message for it. A received hint is held until it proved true ([`Gossip::publish`]) and only then travels on, so that
//! nobody can flood the fleet with claims through others.

mod swarm;
#[cfg(test)]
mod tests;

use super::membership::MembershipEvent;
use fullmetal_proto::wire::gossip::{HINT_LEN_MAX, Hint};
use fullmetal_proto::wire::{PublicKey, SigningKey};
use fullmetal_proto::{DeviceId, Digest, FleetId};
use libp2p::futures::StreamExt as _;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, TopicHash};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, Swarm, identity, multiaddr::Protocol};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use swarm::{Behaviour, BehaviourEvent, address};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Commands that wait for the gossip task.
const COMMANDS_MAX: usize = 256;
/// Hints that wait for proof.
const HELD_MAX: usize = 64;
/// Hints of one neighbour that wait for proof.
const HELD_PER_PEER_MAX: usize = 8;
/// How long a hint may wait; shorter than the swarm's memory of messages.
const HELD_SECS_MAX: u64 = 8;
/// Before a gossip connection is dialed again; doubles up to 64 times.
const REDIAL: Duration = Duration::from_secs(1);
/// One that was there for so long had been accepted: who dials in TLS 1.3 is through before the other side has judged it.
const ACCEPTED: Duration = Duration::from_secs(10);

/// Gossip could not start.
#[derive(Debug, thiserror::Error)]
#[error("starting gossip: {0}")]
pub struct GossipError(String);

/// The gossip identity that belongs to a certified key.
pub fn peer_id(key: &PublicKey) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// Eight bytes that name a fleet to those who know its id, in hex.
pub fn fleet_tag(fleet: &FleetId) -> String {
    hex::encode(&Digest::of(fleet.as_str().as_bytes()).0[..8])
}

/// Acts on the gossip task; it ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Gossip {
    commands: mpsc::Sender<Command>,
    port: watch::Receiver<u16>,
}

#[derive(Debug)]
enum Command {
    Admit { peer: PeerId, device: DeviceId, dial: Option<SocketAddr> },
    Expel { peer: PeerId },
    Publish(Hint),
    Refuse(Hint),
}

impl Gossip {
    /// Spawns the task. Tries `port`, and any free one when it is 0 or taken.
    pub fn start(
        key: &SigningKey,
        fleet: &FleetId,
        listen: SocketAddr,
        events: mpsc::Sender<MembershipEvent>,
    ) -> Result<Self, GossipError> {
        let topic = IdentTopic::new(format!("fullmetal/1/{}", fleet_tag(fleet)));
        let mut swarm = swarm::swarm(key, &topic)?;
        let wanted = swarm.listen_on(address(listen.ip(), listen.port()));
        if let Err(error) = wanted {
            tracing::debug!(%error, %listen, "gossip takes any port");
            swarm.listen_on(address(listen.ip(), 0)).map_err(|e| GossipError(e.to_string()))?;
        }
        let (commands, rx) = mpsc::channel(COMMANDS_MAX);
        let (port_tx, port) = watch::channel(0);
        let task = Task {
            swarm,
            topic: topic.hash(),
            events,
            port: port_tx,
            admitted: BTreeMap::new(),
            held: BTreeMap::new(),
            newest: None,
        };
        tokio::spawn(task.run(rx));
        Ok(Gossip { commands, port })
    }

    /// The UDP port; 0 until it is known.
    pub fn port(&self) -> u16 {
        *self.port.borrow()
    }

    /// Waits a moment for the port to be known.
    pub async fn port_known(&self) -> u16 {
        let mut port = self.port.clone();
        let known = tokio::time::timeout(Duration::from_secs(1), port.wait_for(|p| *p != 0)).await;
        known.ok().and_then(Result::ok).map_or(0, |p| *p)
    }

    /// Lets a proven member in, and dials it when an address is given.
    pub async fn admit(&self, peer: PeerId, device: DeviceId, dial: Option<SocketAddr>) {
        // An error means that the task is gone, and with it everything that could be admitted to.
        let _ = self.commands.send(Command::Admit { peer, device, dial }).await;
    }

    /// Takes a peer off the list and closes its connections.
    pub async fn expel(&self, peer: PeerId) {
        let _ = self.commands.send(Command::Expel { peer }).await;
    }

    /// Gossips a true hint, or lets the held message that brought it travel on. Lossy.
    pub fn publish(&self, hint: Hint) {
        let _ = self.commands.try_send(Command::Publish(hint));
    }

    /// Drops the held message that brought a false hint.
    pub fn refuse(&self, hint: Hint) {
        let _ = self.commands.try_send(Command::Refuse(hint));
    }
}

/// A proven member.
struct Admitted {
    device: DeviceId,
    /// Where it is dialed, when that is up to us.
    dial: Option<Multiaddr>,
    connections: u32,
    /// When the newest of them began.
    since: Instant,
    /// How often it was dialed without being accepted.
    tries: u32,
    redial_at: Option<Instant>,
}

impl Admitted {
    fn new(device: DeviceId, dial: Option<Multiaddr>, now: Instant) -> Self {
        Admitted { device, dial, connections: 0, since: now, tries: 0, redial_at: None }
    }

    fn connected(&mut self, now: Instant) {
        self.connections += 1;
        self.since = now;
    }

    fn disconnected(&mut self, left: u32, now: Instant) {
        self.connections = left;
        if now - self.since >= ACCEPTED {
            self.tries = 0;
        }
        self.redial_later(now);
    }

    fn redial_later(&mut self, now: Instant) {
        if self.connections == 0 && self.dial.is_some() {
            self.redial_at = Some(now + REDIAL * (1 << self.tries.min(6)));
            self.tries += 1;
        }
    }
}

/// A received hint that has not proved true.
struct Held {
    message: MessageId,
    from: PeerId,
    until: Instant,
}

struct Task {
    swarm: Swarm<Behaviour>,
    topic: TopicHash,
    events: mpsc::Sender<MembershipEvent>,
    port: watch::Sender<u16>,
    admitted: BTreeMap<PeerId, Admitted>,
    held: BTreeMap<Hint, Held>,
    newest: Option<Hint>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let timer = self.next_timer();
            tokio::select! {
                // Admissions first: whoever was admitted may be knocking already.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.event(event),
                () = sleep_until(timer) => self.timers(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Admit { peer, device, dial } => {
                self.swarm.behaviour_mut().allowed.allow_peer(peer);
                let dial = dial.map(|to| address(to.ip(), to.port()));
                let before = self.admitted.insert(peer, Admitted::new(device, dial, Instant::now()));
                let connections = before.map_or(0, |b| b.connections);
                if let Some(now) = self.admitted.get_mut(&peer) {
                    now.connections = connections;
                }
                self.dial(&peer);
            }
            Command::Expel { peer } => {
                self.admitted.remove(&peer);
                self.swarm.behaviour_mut().allowed.disallow_peer(peer);
            }
            Command::Publish(hint) => self.publish(hint),
            Command::Refuse(hint) => self.settle(&hint, MessageAcceptance::Reject),
        }
    }

    fn dial(&mut self, peer: &PeerId) {
        let Some(admitted) = self.admitted.get_mut(peer) else { return };
        admitted.redial_at = None;
        let Some(address) = admitted.dial.clone().filter(|_| admitted.connections == 0) else { return };
        let options = DialOpts::peer_id(*peer).condition(PeerCondition::DisconnectedAndNotDialing);
        if let Err(error) = self.swarm.dial(options.addresses(vec![address]).build()) {
            tracing::debug!(%peer, %error, "gossip dial");
            self.redial_later(peer);
        }
    }

    fn redial_later(&mut self, peer: &PeerId) {
        if let Some(admitted) = self.admitted.get_mut(peer) {
            admitted.redial_later(Instant::now());
        }
    }

    fn publish(&mut self, hint: Hint) {
        self.newest = self.newest.max(Some(hint));
        if self.held.contains_key(&hint) {
            return self.settle(&hint, MessageAcceptance::Accept);
        }
        match self.swarm.behaviour_mut().gossip.publish(self.topic.clone(), hint.encode()) {
            Ok(_) => tracing::debug!(counter = hint.counter, "hint gossiped"),
            Err(error) => tracing::debug!(counter = hint.counter, %error, "hint not gossiped"),
        }
    }

    fn settle(&mut self, hint: &Hint, acceptance: MessageAcceptance) {
        if let Some(held) = self.held.remove(hint) {
            self.report(&held.message, &held.from, acceptance);
        }
    }

    fn report(&mut self, message: &MessageId, from: &PeerId, acceptance: MessageAcceptance) {
        self.swarm.behaviour_mut().gossip.report_message_validation_result(message, from, acceptance);
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                let port = address.iter().find_map(|p| if let Protocol::Udp(port) = p { Some(port) } else { None });
                self.port.send_replace(port.unwrap_or(0));
            }
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                if let Some(admitted) = self.admitted.get_mut(&peer_id) {
                    admitted.connected(Instant::now());
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established, .. } => {
                if let Some(admitted) = self.admitted.get_mut(&peer_id) {
                    admitted.disconnected(num_established, Instant::now());
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                tracing::debug!(%peer, %error, "gossip connection failed");
                self.redial_later(&peer);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(remote = %send_back_addr, %error, "gossip connection refused");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => self.received(propagation_source, message_id, &message.data),
            _ => {}
        }
    }

    fn received(&mut self, from: PeerId, message: MessageId, data: &[u8]) {
        let device = self.admitted.get(&from).map(|a| a.device.clone());
        let decoded = if data.len() > HINT_LEN_MAX { None } else { Hint::decode(data).ok() };
        let (Some(device), Some(hint)) = (device, decoded) else {
            tracing::warn!(peer = %from, "gossip that is no hint");
            return self.report(&message, &from, MessageAcceptance::Reject);
        };
        if self.newest == Some(hint) {
            return self.report(&message, &from, MessageAcceptance::Accept);
        }
        let older = self.newest.is_some_and(|newest| hint.rank() < newest.rank());
        let of_peer = self.held.values().filter(|held| held.from == from).count();
        let full = self.held.len() >= HELD_MAX || of_peer >= HELD_PER_PEER_MAX || self.held.contains_key(&hint);
        let event = MembershipEvent::Gossip { device, hint };
        if older || full || self.events.try_send(event).is_err() {
            return self.report(&message, &from, MessageAcceptance::Ignore);
        }
        let until = Instant::now() + Duration::from_secs(HELD_SECS_MAX);
        self.held.insert(hint, Held { message, from, until });
    }

    fn next_timer(&self) -> Option<Instant> {
        let held = self.held.values().map(|held| held.until);
        held.chain(self.admitted.values().filter_map(|a| a.redial_at)).min()
    }

    fn timers(&mut self) {
        let now = Instant::now();
        let late: Vec<Hint> = self.held.iter().filter(|(_, held)| held.until <= now).map(|(h, _)| *h).collect();
        late.iter().for_each(|hint| self.settle(hint, MessageAcceptance::Ignore));
        let due = self.admitted.iter().filter(|(_, a)| a.redial_at.is_some_and(|at| at <= now));
        let due: Vec<PeerId> = due.map(|(peer, _)| *peer).collect();
        due.iter().for_each(|peer| self.dial(peer));
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
