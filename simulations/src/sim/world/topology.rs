//! Who is whose neighbour.
//!
//! In production the hub of `fullmetal::peer::membership` decides this, outside of the core. Here is a model of it with
//! the same numbers: how many neighbours are wanted, dialed and accepted, how often more are looked for, how discovery
//! rests, what the address book remembers. Left out: handshakes at a time, QUIC Retry, certificates.

use super::World;
use super::event::{Event, Life, NodeId};
use super::node::Neighbour;
use crate::sim::engine::{Moment, Random};
use fullmetal_proto::announce::{carried, liveness, newest};
use fullmetal_proto::swarm;
use fullmetal_proto::swarm::limits::BAN;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of `membership::hub` and `membership::book`; times in microseconds.
const NEIGHBOURS_WANTED: usize = 4;
const DIALED_MAX: usize = 6;
const ACCEPTED_MAX: usize = 10;
const SHUFFLED_MAX: usize = 8;
const SHUFFLE: u64 = 300_000_000;
const DIALS_MAX: usize = 3;
const DISCOVERED_ENOUGH: usize = 3;
const BEACONS: usize = 3;
const SETTLED: u64 = 5_000_000;
const POSTPONE_FULL: u64 = 60_000_000;
const POSTPONE_LOST: u64 = 1_000_000;
const UNPROVEN_MAX: usize = 128;
const PROVEN_MAX: usize = 256;
const TRIES_MAX: u32 = 6;
const BACK_OFF_MAX: u64 = 60_000_000;
const BACK_OFF_LONG: u64 = 300_000_000;
/// Members in one telling of others.
const PEERS_MAX: usize = 16;

/// Members that discovery finds between two looks.
const FOUND_MAX: usize = 16;
/// How long a dial to where nobody answers takes.
const DIAL_US_MAX: u64 = 10_000_000;
/// One-way latencies of a mutual TLS 1.3 handshake up to the listener's first byte.
const HANDSHAKE_WAYS: u64 = 4;

/// What a node knows of others.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<NodeId, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    proven: bool,
    tries: u32,
    not_before: Moment,
    seen: Moment,
}

/// How a running peer finds neighbours.
#[derive(Debug, Default)]
pub struct Meeting {
    dialing: BTreeSet<NodeId>,
    banned: BTreeMap<NodeId, Moment>,
    shuffle_at: Moment,
    /// When it looks next.
    look_at: Moment,
}

impl Book {
    /// Somebody may be there.
    fn hear(&mut self, node: NodeId, now: Moment) {
        if self.entries.contains_key(&node) {
            return;
        }
        let unproven = self.entries.iter().filter(|(_, e)| !e.proven);
        if unproven.clone().count() >= UNPROVEN_MAX
            && let Some(most_tried) = unproven.max_by_key(|(_, e)| e.tries).map(|(n, _)| *n)
        {
            self.entries.remove(&most_tried);
        }
        self.entries.insert(node, Entry { proven: false, tries: 0, not_before: now, seen: now });
    }

    fn proved(&mut self, node: NodeId, now: Moment) {
        let proven = self.entries.iter().filter(|(_, e)| e.proven);
        if proven.clone().count() >= PROVEN_MAX
            && let Some(oldest) = proven.min_by_key(|(_, e)| e.seen).map(|(n, _)| *n)
        {
            self.entries.remove(&oldest);
        }
        self.entries.insert(node, Entry { proven: true, tries: 0, not_before: now, seen: now });
    }

    fn failed(&mut self, node: NodeId, random: &mut Random, now: Moment) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        entry.tries += 1;
        if entry.tries >= TRIES_MAX && !entry.proven {
            self.entries.remove(&node);
            return;
        }
        let longest = if entry.tries >= TRIES_MAX { BACK_OFF_LONG } else { BACK_OFF_MAX };
        let wait = (1_000_000u64 << entry.tries.min(9)).min(longest);
        entry.not_before = now.after(wait / 2 + wait / 1_000 * random.below(1_000));
    }

    fn postpone(&mut self, node: NodeId, until: Moment) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.not_before = until;
        }
    }

    /// Proven members, beginning at a drawn place.
    fn share(&self, but: NodeId, random: &mut Random) -> Vec<NodeId> {
        let others: Vec<NodeId> =
            self.entries.iter().filter(|(n, e)| e.proven && **n != but).map(|(n, _)| *n).collect();
        let start = random.index(others.len());
        others.iter().cycle().skip(start).take(others.len().min(PEERS_MAX)).copied().collect()
    }
}

impl World {
    /// A node was started: it looks for neighbours at once.
    pub(super) fn begin_to_meet(&mut self, life: Life) {
        let shuffle = self.draws.topology.below(SHUFFLE);
        let now = self.now;
        if let Some(peer) = self.peer_of(life) {
            peer.meeting.shuffle_at = now.after(SHUFFLE / 2 + shuffle);
        }
        self.look_in(life, 1_000);
    }

    fn look_in(&mut self, life: Life, us: u64) {
        let at = self.now.after(us);
        let Some(peer) = self.peer_of(life) else { return };
        peer.meeting.look_at = at;
        self.queue.put(at, Event::Meet(life));
    }

    /// Looks around, dials, and decides when to look again.
    pub(super) fn meet(&mut self, life: Life) {
        let now = self.now;
        let Some(peer) = self.peer_of(life).filter(|peer| peer.meeting.look_at == now) else { return };
        let neighbours = peer.neighbours.len();
        // Who can be discovered also looks: two parts of a fleet that never met find each other by their beacons.
        if self.advertise(life.node, neighbours) {
            self.discover(life.node);
        }
        self.dial_some(life);
        let us = match neighbours {
            0..NEIGHBOURS_WANTED => 200_000 + self.draws.topology.below(400_000),
            _ => self.peer_of(life).map_or(0, |peer| peer.meeting.shuffle_at.since(now)).max(1_000_000),
        };
        self.look_in(life, us);
    }

    /// Whether others can discover it, and it them.
    fn advertise(&mut self, node: NodeId, neighbours: usize) -> bool {
        let discovers = neighbours < DISCOVERED_ENOUGH || self.is_beacon(node);
        if discovers {
            self.advertised.insert(node);
        } else {
            self.advertised.remove(&node);
        }
        discovers
    }

    /// Of the members that it knows, fewer have lower ids than there are beacons.
    fn is_beacon(&self, node: NodeId) -> bool {
        let me = self.node(node);
        let proven = me.book.entries.iter().filter(|(_, entry)| entry.proven);
        proven.filter(|(other, _)| self.node(**other).id < me.id).take(BEACONS).count() < BEACONS
    }

    fn discover(&mut self, node: NodeId) {
        for _ in 0..FOUND_MAX {
            let Some(found) = self.advertised.draw(&mut self.draws.topology) else { return };
            if found != node && self.reach(node, found) && self.node(found).is_on() {
                let now = self.now;
                self.nodes[node as usize].book.hear(found, now);
            }
        }
    }

    fn dial_some(&mut self, life: Life) {
        let now = self.now;
        let shuffle = SHUFFLE / 4 * 3 + SHUFFLE / 1_000 * self.draws.topology.below(500);
        let node = &mut self.nodes[life.node as usize];
        let Some(peer) = node.peer.as_mut().filter(|_| node.life == life.life) else { return };
        let dialed = peer.neighbours.values().filter(|n| n.dialed).count() + peer.meeting.dialing.len();
        let total = peer.neighbours.len() + peer.meeting.dialing.len();
        let mut room = NEIGHBOURS_WANTED.saturating_sub(total);
        if now >= peer.meeting.shuffle_at {
            peer.meeting.shuffle_at = now.after(shuffle);
            room = room.max(usize::from(total < SHUFFLED_MAX));
        }
        room = room.min(DIALED_MAX.saturating_sub(dialed)).min(DIALS_MAX.saturating_sub(peer.meeting.dialing.len()));
        if room == 0 {
            return;
        }
        peer.meeting.banned.retain(|_, until| *until > now);
        let taken = |n: &NodeId| {
            peer.neighbours.contains_key(n) || peer.meeting.dialing.contains(n) || peer.meeting.banned.contains_key(n)
        };
        let due = node.book.entries.iter().filter(|(n, e)| e.not_before <= now && !taken(n)).map(|(n, _)| *n);
        let mut due: Vec<NodeId> = due.collect();
        for _ in 0..room.min(due.len()) {
            let to = due.swap_remove(self.draws.topology.index(due.len()));
            self.dial(life, to);
        }
    }

    fn dial(&mut self, life: Life, to: NodeId) {
        let answers = self.reach(life.node, to) && self.node(to).is_on();
        let us = if answers { HANDSHAKE_WAYS * self.latency(life.node, to) } else { DIAL_US_MAX };
        if let Some(peer) = self.peer_of(life) {
            peer.meeting.dialing.insert(to);
        }
        self.queue.put(self.now.after(us), Event::Dialed(life, to));
    }

    /// A handshake is over.
    pub(super) fn dialed(&mut self, life: Life, to: NodeId) {
        let now = self.now;
        let Some(peer) = self.peer_of(life) else { return };
        peer.meeting.dialing.remove(&to);
        let answers = self.reach(life.node, to) && self.node(to).is_on();
        let bans = |node: NodeId, other: NodeId, world: &World| {
            let peer = world.node(node).peer.as_ref();
            peer.and_then(|p| p.meeting.banned.get(&other)).is_some_and(|until| *until > now)
        };
        if !answers || bans(to, life.node, self) || bans(life.node, to, self) {
            return self.nodes[life.node as usize].book.failed(to, &mut self.draws.topology, now);
        }
        let age = |node: NodeId, other: NodeId, world: &World| {
            let neighbour = world.node(node).peer.as_ref().and_then(|p| p.neighbours.get(&other));
            neighbour.map(|n| now.since(n.since))
        };
        let ages = [age(life.node, to, self), age(to, life.node, self)];
        if ages.into_iter().flatten().any(|age| age < SETTLED) {
            return self.nodes[life.node as usize].book.postpone(to, now.after(SETTLED));
        }
        for (node, other) in [(life.node, to), (to, life.node)] {
            self.lose(node, other);
        }
        let accepted = self.node(to).peer.iter().flat_map(|p| p.neighbours.values()).filter(|n| !n.dialed).count();
        if accepted >= ACCEPTED_MAX {
            self.tell_of_others(to, life.node);
            return self.nodes[life.node as usize].book.postpone(to, now.after(POSTPONE_FULL));
        }
        self.connect(life.node, to);
    }

    fn tell_of_others(&mut self, from: NodeId, to: NodeId) {
        let others = self.nodes[from as usize].book.share(to, &mut self.draws.topology);
        let now = self.now;
        others.into_iter().filter(|n| *n != to).for_each(|n| self.nodes[to as usize].book.hear(n, now));
    }

    fn connect(&mut self, dialer: NodeId, listener: NodeId) {
        self.serial += 1;
        let (serial, now) = (self.serial, self.now);
        self.trace.note(now, "connected", &[u64::from(dialer), u64::from(listener)]);
        for (node, other) in [(dialer, listener), (listener, dialer)] {
            let neighbour =
                Neighbour { serial, dialed: node == dialer, since: now, arrives_after: now, held: Vec::new() };
            self.nodes[node as usize].book.proved(other, now);
            if let Some(peer) = &mut self.nodes[node as usize].peer {
                peer.neighbours.insert(other, neighbour);
            }
        }
        self.tell_of_others(dialer, listener);
        self.tell_of_others(listener, dialer);
        for (node, other) in [(dialer, listener), (listener, dialer)] {
            let peer = self.node(other).id.clone();
            self.tell_newest(node, newest::Input::Connected { peer: peer.clone() });
            self.tell_carried(node, carried::Input::Connected { peer: peer.clone() });
            self.tell_liveness(node, liveness::Input::Connected { peer: peer.clone() });
            self.tell_swarm(node, swarm::Input::Connected { peer });
        }
    }

    /// One side gives a connection up.
    pub(super) fn lose(&mut self, node: NodeId, other: NodeId) {
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        if peer.neighbours.remove(&other).is_none() {
            return;
        }
        let life = Life { node, life: self.nodes[node as usize].life };
        self.trace.note(self.now, "lost", &[u64::from(node), u64::from(other)]);
        let until = self.now.after(POSTPONE_LOST + self.draws.topology.below(1_000_000));
        self.nodes[node as usize].book.postpone(other, until);
        let peer = self.node(other).id.clone();
        self.tell_newest(node, newest::Input::Disconnected { peer: peer.clone() });
        self.tell_carried(node, carried::Input::Disconnected { peer: peer.clone() });
        self.tell_liveness(node, liveness::Input::Disconnected { peer: peer.clone() });
        self.tell_swarm(node, swarm::Input::Disconnected { peer });
        self.look_in(life, 1_000);
    }

    /// Closes a connection and has none with that peer for a time.
    pub(super) fn ban(&mut self, node: NodeId, other: NodeId) {
        let until = self.now.after(BAN.as_micros() as u64);
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        peer.meeting.banned.insert(other, until);
        let serial = peer.neighbours.get(&other).map(|n| n.serial);
        self.lose(node, other);
        if let Some(serial) = serial {
            let at = self.now.after(self.latency(node, other));
            self.queue.put(at, Event::Left(other, node, serial));
        }
    }

    /// A connection by its number ends for `node`, unless it has ended before.
    pub(super) fn lose_serial(&mut self, node: NodeId, other: NodeId, serial: u64) {
        let neighbour = self.node(node).peer.as_ref().and_then(|p| p.neighbours.get(&other));
        if neighbour.is_some_and(|n| n.serial == serial) {
            self.lose(node, other);
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
