//! Carries out what the core of membership decides: dials, handshakes, joins, closes, discovery.
//!
//! Each node is reached at one address. Left out: handshakes at a time, QUIC Retry, certificates.

use super::World;
use super::event::{Event, Life, Message, NodeId};
use super::node::Neighbour;
use crate::sim::engine::Random;
use fullmetal_proto::announce::{carried, liveness, newest};
use fullmetal_proto::membership::{Close, ConnectionId, Effect, Input, Refusal};
use fullmetal_proto::swarm;
use fullmetal_proto::wire::transfer::KnownPeer;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Members that discovery finds at one look.
const FOUND_MAX: usize = 16;
/// Discovery asks again after this, then ever more rarely, as mdns-sd does; in microseconds.
const LOOK: u64 = 1_000_000;
const LOOK_MAX: u64 = 3_600_000_000;
/// How long a dial to where nobody answers takes (`handshake::DIAL_MAX`).
const DIAL: u64 = 5_000_000;
/// One-way latencies of a mutual TLS 1.3 handshake up to the dialer's Hello; the listener's is one more.
const HANDSHAKE_WAYS: u64 = 3;

/// A handshake under way: who dialed, and whom.
pub type Handshake = (Life, NodeId);

/// Where a node is reached.
fn address(node: NodeId) -> SocketAddr {
    let [_, a, b, c] = node.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 4000))
}

impl World {
    fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        let SocketAddr::V4(v4) = address else { return None };
        let [_, a, b, c] = v4.ip().octets();
        Some(NodeId::from_be_bytes([0, a, b, c])).filter(|node| *node < self.len())
    }

    /// Hands the core of membership an input and does what it wants done.
    pub(super) fn tell_membership(&mut self, node: NodeId, input: Input) {
        let now = self.now.timestamp();
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        peer.membership.handle(input, now);
        peer.wakeups.membership = Some(peer.membership.next_wakeup());
        let life = self.life(node);
        while let Some(effect) = self.peer_of(life).and_then(|p| p.membership.poll()) {
            match effect {
                Effect::Dial { address } => self.dial(life, address),
                Effect::Join { connection, others } => self.join(life, connection.0, others),
                Effect::Close { connection, why } => self.close(life, connection.0, why),
                Effect::Tell { connection, others } => self.say(node, connection.0, others),
                Effect::Discover(on) => self.set_discovery(life, on),
                Effect::Remember(peers) => self.nodes[node as usize].remembered = peers,
            }
        }
        self.plan_wake(node);
    }

    fn dial(&mut self, life: Life, to: SocketAddr) {
        let reached = self.node_at(to).filter(|node| self.answers(life.node, *node));
        let Some(node) = reached else { return self.dial_fails(life, to, Refusal::Failed, DIAL) };
        let us = HANDSHAKE_WAYS * self.latency(life.node, node);
        self.queue.put(self.now.after(us), Event::Knocks(life, node));
    }

    fn dial_fails(&mut self, life: Life, to: SocketAddr, why: Refusal, us: u64) {
        self.queue.put(self.now.after(us), Event::DialFailed(life, Box::new((to, why))));
    }

    fn answers(&self, node: NodeId, other: NodeId) -> bool {
        self.reach(node, other) && self.node(other).is_on()
    }

    /// A dial came to nothing.
    pub(super) fn dial_failed(&mut self, life: Life, address: SocketAddr, why: Refusal) {
        if self.peer_of(life).is_some() {
            self.tell_membership(life.node, Input::DialFailed { address, why });
        }
    }

    /// A dialer has proved itself to a listener, which decides.
    pub(super) fn knocks(&mut self, dialer: Life, listener: NodeId) {
        if self.peer_of(dialer).is_none() {
            return;
        }
        if !self.answers(dialer.node, listener) {
            return self.dial_fails(dialer, address(listener), Refusal::Failed, DIAL);
        }
        let serial = self.connections.begin(dialer.node, listener);
        self.handshakes.insert(serial, (dialer, listener));
        self.tell_proven(listener, dialer.node, serial, false);
    }

    fn tell_proven(&mut self, node: NodeId, other: NodeId, serial: u64, dialed: bool) {
        let (connection, device) = (ConnectionId(serial), self.node(other).id.clone());
        self.tell_membership(node, Input::Proven { connection, device, address: address(other), dialed });
    }

    /// The listener's Hello has come: the dialer decides.
    pub(super) fn welcomed(&mut self, serial: u64) {
        let Some((dialer, listener)) = self.handshakes.get(&serial).copied() else { return };
        if self.peer_of(dialer).is_some()
            && self.has(listener, dialer.node, serial)
            && self.reach(dialer.node, listener)
        {
            self.tell_proven(dialer.node, listener, serial, true);
        } else {
            self.dial_failed(dialer, address(listener), Refusal::Failed);
            self.queue.put(self.idle_at(), Event::Left(listener, dialer.node, serial));
        }
        self.handshakes.remove(&serial);
    }

    /// Whether a node has this connection to another.
    pub(super) fn has(&self, node: NodeId, other: NodeId, serial: u64) -> bool {
        self.connections.is_open(serial, node, other)
    }

    fn join(&mut self, life: Life, serial: u64, others: Vec<KnownPeer>) {
        let Some((dialer, listener)) = self.handshakes.get(&serial).copied() else { return };
        let (node, now) = (life.node, self.now);
        let dialed = dialer == life;
        let other = if dialed { listener } else { dialer.node };
        // What the listener says does not overtake its Hello.
        let arrives_after = if dialed { now } else { now.after(self.latency(node, other)) };
        if dialed {
            self.trace.note(now, "connected", &[u64::from(node), u64::from(other)]);
        } else {
            self.queue.put(arrives_after, Event::Welcomed(serial));
        }
        if let Some(peer) = self.peer_of(life) {
            let unanswered = (0, 0);
            let neighbour =
                Neighbour { serial, since: now, dialed, unanswered, answers: 0, arrives_after, held: Vec::new() };
            if let Some(old) = peer.neighbours.insert(other, neighbour) {
                self.connections.set_open(old.serial, node, false);
            }
            self.connections.set_open(serial, node, true);
        }
        if !others.is_empty() {
            self.send(node, other, Message::Peers(others));
        }
        let peer = self.node(other).id.clone();
        self.tell_newest(node, newest::Input::Connected { peer: peer.clone() });
        self.tell_carried(node, carried::Input::Connected { peer: peer.clone() });
        self.tell_liveness(node, liveness::Input::Connected { peer: peer.clone() });
        self.tell_swarm(node, swarm::Input::Connected { peer, address: address(other) });
    }

    fn say(&mut self, node: NodeId, serial: u64, others: Vec<KnownPeer>) {
        let neighbours = self.node(node).peer.iter().flat_map(|p| &p.neighbours);
        let other = neighbours.filter(|(_, n)| n.serial == serial).map(|(other, _)| *other).next();
        if let Some(other) = other {
            self.send(node, other, Message::Peers(others));
        }
    }

    /// Closes a connection, or refuses one that has not joined.
    fn close(&mut self, life: Life, serial: u64, why: Close) {
        let node = life.node;
        let joined = self.peer_of(life).and_then(|p| p.neighbours.iter().find(|(_, n)| n.serial == serial));
        if let Some(other) = joined.map(|(other, _)| *other) {
            if self.reach(node, other) {
                let at = self.now.after(self.latency(node, other));
                self.queue.put(at, Event::Left(other, node, serial));
            }
            return self.lose(node, other);
        }
        let Some((dialer, listener)) = self.handshakes.get(&serial).copied() else { return };
        let us = self.latency(dialer.node, listener);
        if dialer == life {
            return self.queue.put(self.now.after(us), Event::Left(listener, node, serial));
        }
        self.handshakes.remove(&serial);
        let why = match why {
            Close::Full(others) => Refusal::Full(others),
            Close::Duplicate => Refusal::Duplicate,
            Close::Banned | Close::Spare | Close::Unanswered => Refusal::Failed,
        };
        self.dial_fails(dialer, address(listener), why, us);
    }

    /// One side's end of a connection is over.
    pub(super) fn lose(&mut self, node: NodeId, other: NodeId) {
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        let Some(neighbour) = peer.neighbours.remove(&other) else { return };
        self.connections.set_open(neighbour.serial, node, false);
        self.trace.note(self.now, "lost", &[u64::from(node), u64::from(other)]);
        let peer = self.node(other).id.clone();
        self.tell_newest(node, newest::Input::Disconnected { peer: peer.clone() });
        self.tell_carried(node, carried::Input::Disconnected { peer: peer.clone() });
        self.tell_liveness(node, liveness::Input::Disconnected { peer: peer.clone() });
        self.tell_swarm(node, swarm::Input::Disconnected { peer });
        self.tell_membership(node, Input::Ended { connection: ConnectionId(neighbour.serial) });
    }

    /// A connection by its number ends for `node`, unless it has ended before.
    pub(super) fn lose_serial(&mut self, node: NodeId, other: NodeId, serial: u64) {
        if self.has(node, other, serial) {
            self.lose(node, other);
        }
    }

    fn set_discovery(&mut self, life: Life, on: bool) {
        let now = self.now;
        let Some(peer) = self.peer_of(life) else { return };
        peer.look_at = on.then_some(now);
        if on {
            self.advertised.insert(life.node);
            self.queue.put(now, Event::Looks(life, LOOK));
        } else {
            self.advertised.remove(&life.node);
        }
    }

    /// Discovery asks who is there, and will ask again `after` so long.
    pub(super) fn looks(&mut self, life: Life, after: u64) {
        let now = self.now;
        if self.peer_of(life).is_none_or(|peer| peer.look_at != Some(now)) {
            return;
        }
        for _ in 0..FOUND_MAX {
            let Some(found) = self.advertised.draw(&mut self.draws.topology) else { break };
            if found != life.node && self.answers(life.node, found) {
                self.tell_membership(life.node, Input::Found { address: address(found) });
                if after == LOOK {
                    // The first question comes with an announcement.
                    self.tell_membership(found, Input::Found { address: address(life.node) });
                }
            }
        }
        let at = now.after(after);
        if let Some(peer) = self.peer_of(life).filter(|peer| peer.look_at == Some(now)) {
            peer.look_at = Some(at);
            self.queue.put(at, Event::Looks(life, (2 * after).min(LOOK_MAX)));
        }
    }
}

/// A set of nodes of which one can be drawn.
#[derive(Debug, Default)]
pub struct Advertised {
    list: Vec<NodeId>,
    places: BTreeMap<NodeId, usize>,
}

impl Advertised {
    /// Adds one.
    pub fn insert(&mut self, node: NodeId) {
        if !self.places.contains_key(&node) {
            self.places.insert(node, self.list.len());
            self.list.push(node);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, node: &NodeId) {
        let Some(place) = self.places.remove(node) else { return };
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(*moved, place);
        }
    }

    fn draw(&self, random: &mut Random) -> Option<NodeId> {
        self.list.get(random.index(self.list.len())).copied()
    }
}
