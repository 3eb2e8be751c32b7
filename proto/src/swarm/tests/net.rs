//! The virtual network: nodes, an event queue, and what was observed.

use super::links::Links;
use super::origin::Origin;
use super::{connected, device, frames, manifest};
use crate::swarm::{Effect, Failure, Input, Swarm, TransferId};
use crate::wire::cbor;
use crate::wire::transfer::SwarmUpdate;
use crate::{Bitmap, DeviceId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds that a message takes.
pub(super) const LATENCY: u64 = 2;
/// Bytes a millisecond that a node can send unless told otherwise: 1 Gbit/s.
const PORT_RATE: u64 = 125_000;
/// Uploads at once of a node.
const UPLOADS_MAX: u32 = 4;

/// How a node behaves towards its neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    Honest,
    /// Serves wrong bytes.
    Corrupt,
    /// Has nothing when asked.
    Empty,
    /// Never answers.
    Silent,
}

pub(super) struct Node {
    pub(super) swarm: Option<Swarm>,
    /// Rises with every start: events of an earlier life are void.
    pub(super) life: u32,
    pub(super) origin: bool,
    pub(super) weight: u16,
    pub(super) manner: Manner,
    pub(super) need: Bitmap,
    /// Verified pieces on its disk.
    pub(super) cache: Bitmap,
    pub(super) complete: bool,
    pub(super) live: BTreeSet<TransferId>,
    pub(super) bytes_from_peers: u64,
    pub(super) pieces_from_origin: u32,
    pub(super) messages: u64,
    pub(super) bans: Vec<DeviceId>,
    wake: Option<u64>,
    uploads: u32,
    /// Bytes a millisecond that it can send.
    pub(super) port_rate: u64,
    port_free_at: u64,
}

pub(super) enum Event {
    Wakeup { node: usize, life: u32 },
    Deliver { from: usize, to: usize, link: u64, update: SwarmUpdate },
    Asked { from: usize, life: u32, id: TransferId, piece: u32, to: usize },
    Uploaded { node: usize, life: u32 },
    Input { node: usize, life: u32, input: Input },
    Lost { node: usize, peer: usize, link: u64 },
    Start { node: usize },
    OriginStep,
}

pub(super) struct Net {
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    count: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Links,
    pub(super) origin: Origin,
    pub(super) pieces: u32,
    pub(super) length: u32,
    /// Bytes of all updates.
    pub(super) said: u64,
    pub(super) seed: u64,
    /// Updates are lost, though links look open.
    pub(super) mute: bool,
    /// Every effect as text, when asked for.
    pub(super) trace: Option<Vec<String>>,
    /// When something last happened from outside: a start, a death, a link.
    pub(super) disturbed_at: u64,
    /// Pieces asked of central while another node of the same part held a claim on them and views had settled.
    pub(super) doubles: Vec<String>,
}

impl Net {
    pub(super) fn new(pieces: u32, length: u32, seed: u64) -> Self {
        Net {
            now: 0,
            queue: BTreeMap::new(),
            count: 0,
            nodes: Vec::new(),
            links: Links::default(),
            origin: Origin::new(pieces, length),
            pieces,
            length,
            said: 0,
            mute: false,
            seed,
            trace: None,
            disturbed_at: 0,
            doubles: Vec::new(),
        }
    }

    /// A node that needs everything.
    pub(super) fn add(&mut self, origin: bool) -> usize {
        self.nodes.push(Node {
            swarm: None,
            life: 0,
            origin,
            weight: 10,
            manner: Manner::Honest,
            need: Bitmap::full(self.pieces),
            cache: Bitmap::new(self.pieces),
            complete: false,
            live: BTreeSet::new(),
            bytes_from_peers: 0,
            pieces_from_origin: 0,
            messages: 0,
            bans: Vec::new(),
            wake: None,
            uploads: 0,
            port_rate: PORT_RATE,
            port_free_at: 0,
        });
        self.nodes.len() - 1
    }

    pub(super) fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.queue.insert((time.max(self.now), self.count), event);
    }

    /// Starts a node: it wants what it needs and finds its links again.
    pub(super) fn start(&mut self, i: usize) {
        self.disturbed_at = self.now;
        let seed = self.seed ^ ((i as u64) << 32) ^ (u64::from(self.nodes[i].life) << 56);
        let node = &mut self.nodes[i];
        node.life += 1;
        node.swarm = Some(Swarm::new(device(i), node.origin, node.weight, seed));
        (node.wake, node.uploads, node.complete) = (None, 0, false);
        let (need, have) = (node.need.clone(), node.cache.clone());
        let input = Input::Want { manifest: manifest(), frames: frames(self.pieces, self.length), need, have };
        self.input(i, input);
        for peer in self.links.down_at(i) {
            self.connect(i, peer);
        }
    }

    /// Ends a node's process; `silent` neighbours hear nothing of it, others soon.
    pub(super) fn kill(&mut self, i: usize, silent: bool) {
        self.disturbed_at = self.now;
        let node = &mut self.nodes[i];
        (node.swarm, node.wake) = (None, None);
        node.live.clear();
        self.origin.drop_node(i);
        for peer in self.links.peers_of(i) {
            let link = self.links.cut(i, peer);
            if !silent {
                self.at(self.now + 20, Event::Lost { node: peer, peer: i, link });
            }
        }
    }

    /// Opens the link, or a new one in its place, if both are alive.
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        self.links.know(a, b);
        if self.nodes[a].swarm.is_none() || self.nodes[b].swarm.is_none() {
            return;
        }
        self.disturbed_at = self.now;
        self.links.open(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            self.input(node, Input::Disconnected { peer: device(peer) });
            self.input(node, connected(peer));
        }
    }

    /// Cuts the link; both sides hear of it.
    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        self.disturbed_at = self.now;
        let link = self.links.cut(a, b);
        self.at(self.now, Event::Lost { node: a, peer: b, link });
        self.at(self.now, Event::Lost { node: b, peer: a, link });
    }

    pub(super) fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Runs until `done`; returns when that was.
    pub(super) fn run_until(&mut self, limit: u64, done: impl Fn(&Net) -> bool) -> u64 {
        while !done(self) {
            assert!(!self.queue.is_empty() && self.now < limit, "not done at {} ms: {}", self.now, self.state());
            self.step();
        }
        self.now
    }

    /// Runs until every living node has what it needs.
    pub(super) fn converge(&mut self, limit: u64) -> u64 {
        self.run_until(limit, Net::all_complete)
    }

    pub(super) fn all_complete(&self) -> bool {
        self.nodes.iter().filter(|n| n.swarm.is_some()).all(|n| n.complete || n.need.is_empty())
    }

    /// Bytes that central sent, in copies of the release.
    pub(super) fn copies(&self) -> f64 {
        self.origin.sent as f64 / (f64::from(self.pieces) * f64::from(self.length))
    }

    fn state(&self) -> String {
        let line = |(i, n): (usize, &Node)| {
            format!("\n{i}: alive {} has {} of {}", n.swarm.is_some(), n.cache.count(), n.need.count())
        };
        self.nodes.iter().enumerate().map(line).collect()
    }

    fn step(&mut self) {
        let Some(((at, _), event)) = self.queue.pop_first() else { return };
        self.now = at;
        match event {
            Event::Wakeup { node, life } if self.nodes[node].life == life && self.nodes[node].wake == Some(at) => {
                self.nodes[node].wake = None;
                self.input(node, Input::Wakeup);
            }
            Event::Wakeup { .. } => {}
            Event::Deliver { from, to, link, update } if !self.mute && self.links.is(from, to, link) => {
                self.input(to, Input::Update { from: device(from), update });
            }
            Event::Deliver { .. } => {}
            Event::Asked { from, life, id, piece, to } => self.asked(from, life, id, piece, to),
            Event::Uploaded { node, life } if self.nodes[node].life == life => self.nodes[node].uploads -= 1,
            Event::Uploaded { .. } => {}
            Event::Input { node, life, input } if self.nodes[node].life == life => self.report(node, input),
            Event::Input { .. } => {}
            Event::Lost { node, peer, link } if self.links.was_last(node, peer, link) => {
                self.input(node, Input::Disconnected { peer: device(peer) });
            }
            Event::Lost { .. } => {}
            Event::Start { node } => self.start(node),
            Event::OriginStep => self.origin_step(),
        }
    }

    /// A report about a transfer, unless it was aborted.
    pub(super) fn report(&mut self, i: usize, input: Input) {
        let node = &mut self.nodes[i];
        match &input {
            Input::Progress { transfer, .. } if !node.live.contains(transfer) => return,
            Input::Verified { transfer, piece } => {
                if !node.live.contains(transfer) {
                    return;
                }
                node.cache.set(*piece);
            }
            Input::Corrupt { transfer, .. } | Input::Failed { transfer, .. } if !node.live.remove(transfer) => return,
            _ => {}
        }
        self.input(i, input);
    }

    pub(super) fn input(&mut self, i: usize, input: Input) {
        let now = Timestamp::from_millis(self.now);
        let Some(mut swarm) = self.nodes[i].swarm.take() else { return };
        swarm.handle(input, now);
        let mut effects = Vec::new();
        while let Some(effect) = swarm.poll() {
            effects.push(effect);
        }
        let wake = swarm.next_wakeup().map(Timestamp::as_millis);
        self.nodes[i].swarm = Some(swarm);
        assert!(wake.is_none_or(|at| at > self.now), "node {i} wants to be woken at {wake:?}, it is {}", self.now);
        if let Some(at) = wake.filter(|_| self.nodes[i].wake != wake) {
            let life = self.nodes[i].life;
            self.at(at, Event::Wakeup { node: i, life });
        }
        self.nodes[i].wake = wake;
        effects.into_iter().for_each(|effect| self.act(i, effect));
    }

    fn act(&mut self, i: usize, effect: Effect) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {i} {effect:?}", self.now));
        }
        let life = self.nodes[i].life;
        match effect {
            Effect::FetchFromPeer { transfer, piece, peer, .. } => {
                self.nodes[i].live.insert(transfer);
                let to = index(&peer);
                self.at(self.now + LATENCY, Event::Asked { from: i, life, id: transfer, piece, to });
            }
            Effect::FetchFromOrigin { transfer, first, count, .. } => {
                self.nodes[i].live.insert(transfer);
                self.origin_asked(i, transfer, first..first + count);
            }
            Effect::Abort { transfer } => {
                self.nodes[i].live.remove(&transfer);
                self.origin.abort(i, transfer);
            }
            Effect::Send { peer, update } => {
                self.nodes[i].messages += 1;
                self.said += cbor::to_vec(&update).len() as u64;
                let to = index(&peer);
                if let Some(link) = self.links.get(i, to) {
                    self.at(self.now + LATENCY, Event::Deliver { from: i, to, link, update });
                }
            }
            Effect::Ban { peer, .. } => {
                self.disconnect(i, index(&peer));
                self.nodes[i].bans.push(peer);
            }
            Effect::Have { .. } | Effect::Seek { .. } => {}
            Effect::Complete { .. } => self.nodes[i].complete = true,
        }
    }

    fn asked(&mut self, from: usize, life: u32, id: TransferId, piece: u32, to: usize) {
        let alive = self.nodes[to].swarm.is_some() && self.links.get(from, to).is_some();
        if !alive || self.nodes[to].manner == Manner::Silent {
            return;
        }
        let server = &mut self.nodes[to];
        let has = server.swarm.as_ref().and_then(|s| s.have(&manifest())).is_some_and(|have| have.get(piece));
        let refusal = match server.manner {
            Manner::Empty => Some(Failure::NotHere),
            Manner::Honest if !has => Some(Failure::NotHere),
            _ if server.uploads >= UPLOADS_MAX => Some(Failure::Busy),
            _ => None,
        };
        if let Some(why) = refusal {
            let input = Input::Failed { transfer: id, why };
            return self.at(self.now + LATENCY, Event::Input { node: from, life, input });
        }
        server.uploads += 1;
        let time = u64::from(self.length).div_ceil(server.port_rate);
        let begin = server.port_free_at.max(self.now);
        server.port_free_at = begin + time;
        let (server_life, corrupt) = (server.life, server.manner == Manner::Corrupt);
        self.at(begin + time, Event::Uploaded { node: to, life: server_life });
        let bytes = u64::from(self.length);
        let progress = Input::Progress { transfer: id, bytes };
        self.at(begin + time / 2 + LATENCY, Event::Input { node: from, life, input: progress });
        let end =
            if corrupt { Input::Corrupt { transfer: id, piece } } else { Input::Verified { transfer: id, piece } };
        self.nodes[from].bytes_from_peers += bytes;
        self.at(begin + time + LATENCY, Event::Input { node: from, life, input: end });
    }
}

/// The node that a device id names.
pub(super) fn index(peer: &DeviceId) -> usize {
    peer.as_str().trim_start_matches("device-").parse().unwrap()
}
