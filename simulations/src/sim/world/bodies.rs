//! Small bodies: announcements, the manifest, reports. Pulled by their hash, from neighbours first.
//!
//! For the manifest this is a model of `fullmetal::peer::transfer::blob` with the same numbers: neighbours are asked
//! again and again; central is asked after a wait that is longer for each neighbour that comes before in the order of
//! hashes, so that one asks central and the others ask it.

use super::event::{Body, Event, Life, NodeId};
use super::{Announced, Moving, World};
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::release::REQUEST_LEN;
use crate::sim::scenario::{Layers, OriginMood};
use fullmetal_proto::announce::newest;
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::{DeviceId, Digest};

/// The numbers of `transfer::blob`, in microseconds.
const NEIGHBOURS: u64 = 2_000_000;
const TURN: u64 = 1_000_000;
const TURNS_MAX: u64 = 20;
const ROUND: u64 = 500_000;
const CENTRAL_RETRY: u64 = 5_000_000;
/// How long a neighbour that does not answer is waited for (`transfer::ANSWER_MS_MAX`).
const ANSWER: u64 = 10_000_000;
/// Bodies up to this length are not worth a flow.
const SMALL: u64 = 64 << 10;

/// A manifest that is being looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    central_at: Moment,
    is_pulling: bool,
}

impl World {
    /// An announcement comes into being at a gateway, whose peer has it.
    pub(super) fn announce(&mut self, node: NodeId, announced: Announced) {
        let hint = announced.hint;
        self.announcements.insert(hint.digest, announced);
        if let Some(peer) = &mut self.nodes[node as usize].peer {
            peer.bodies.insert(hint.digest);
        }
        self.tell_newest(node, newest::Input::Verified { hint });
    }

    /// A core has a newer announcement.
    pub(super) fn accept(&mut self, node: NodeId, hint: Hint) {
        self.trace.note(self.now, "accept", &[u64::from(node), hint.epoch, hint.counter]);
        self.observe(Observation::Accepted { node, rank: hint.rank() });
        self.nodes[node as usize].announcement = Some(hint.digest);
        match self.layers {
            Layers::Deployment if node == 0 => self.gateway_hears_announcement(),
            Layers::Deployment => self.agent_hears(node),
            _ => self.want_manifest(node, 0),
        }
    }

    /// Begins to look for the manifest, unless it is there.
    pub(super) fn want_manifest(&mut self, node: NodeId, release: usize) {
        let turn = self.turn(node, release);
        self.want_manifest_from(node, release, self.now.after(NEIGHBOURS + TURN * turn.min(TURNS_MAX)));
    }

    /// The same, and central's turn has come: a gateway cannot decide before it has read the manifest there.
    pub(super) fn want_manifest_at_once(&mut self, node: NodeId, release: usize) {
        self.want_manifest_from(node, release, self.now);
    }

    fn want_manifest_from(&mut self, node: NodeId, release: usize, central_at: Moment) {
        if self.node(node).held(release).manifest {
            return self.manifest_is_here(node, release);
        }
        let life = self.life(node);
        let Some(peer) = self.peer_of(life) else { return };
        match peer.manifests.get_mut(&release) {
            Some(wanted) => {
                wanted.central_at = wanted.central_at.min(central_at);
                self.ask_for_manifest(life, release);
            }
            None => {
                peer.manifests.insert(release, Wanted { central_at, is_pulling: false });
                self.look_for_manifest(life, release);
            }
        }
    }

    /// How many neighbours that may ask central come before a node for the manifest.
    fn turn(&self, node: NodeId, release: usize) -> u64 {
        let manifest = self.releases.get(release).manifest;
        let rank = |n: NodeId| {
            let id = self.node(n).id.as_str();
            Digest::of_parts(&[manifest.as_bytes(), id.as_bytes()])
        };
        let mine = rank(node);
        let neighbours = self.node(node).peer.iter().flat_map(|p| p.neighbours.keys());
        neighbours.filter(|n| self.node(**n).origin && rank(**n) < mine).count() as u64
    }

    /// One round of questions.
    pub(super) fn look_for_manifest(&mut self, life: Life, release: usize) {
        if self.peer_of(life).is_some_and(|p| p.manifests.contains_key(&release)) {
            self.queue.put(self.now.after(ROUND), Event::Round(life, release));
            self.ask_for_manifest(life, release);
        }
    }

    fn ask_for_manifest(&mut self, life: Life, release: usize) {
        let now = self.now;
        let wanted = self.peer_of(life).and_then(|p| p.manifests.get(&release)).copied();
        let Some(wanted) = wanted.filter(|w| !w.is_pulling) else { return };
        let neighbours = self.node(life.node).peer.iter().flat_map(|p| p.neighbours.keys());
        let has = |n: &NodeId| self.node(*n).serves(release) && self.reach(life.node, *n);
        let server = neighbours.copied().find(has);
        if let Some(server) = server {
            self.set_pulling(life, release, true);
            let (manifest, from) = (self.releases.get(release), self.node(server).id.clone());
            let (digest, length) = (manifest.manifest, manifest.manifest_len);
            return self.pull(life, &from, digest, length, Body::Manifest(release));
        }
        if self.node(life.node).origin && now >= wanted.central_at {
            self.set_pulling(life, release, true);
            self.pull_manifest_from_central(life, release);
        }
    }

    fn set_pulling(&mut self, life: Life, release: usize, to: bool) {
        if let Some(wanted) = self.peer_of(life).and_then(|p| p.manifests.get_mut(&release)) {
            wanted.is_pulling = to;
        }
    }

    fn pull_manifest_from_central(&mut self, life: Life, release: usize) {
        let (now, trip) = (self.now, self.central_round_trip());
        self.figures.requests += 1;
        if !self.reaches_central(life.node) || self.origin_mood != OriginMood::Well {
            if let Some(wanted) = self.peer_of(life).and_then(|p| p.manifests.get_mut(&release)) {
                wanted.central_at = now.after(CENTRAL_RETRY);
            }
            return self.set_pulling(life, release, false);
        }
        let on_wire = self.site.on_wire(self.releases.get(release).manifest_len + REQUEST_LEN);
        let way = self.way_from_central(life.node);
        self.flows.start(way, on_wire, self.moving.next(), now);
        self.moving.put(Moving::Body { client: life, from: None, what: Body::Manifest(release), later: 3 * trip });
    }

    /// Pulls a body from a neighbour.
    pub(super) fn pull(&mut self, client: Life, from: &DeviceId, digest: Digest, length: u64, what: Body) {
        let Some(server) = self.index(from) else { return };
        let answers = self.reach(client.node, server) && self.node(server).is_on();
        let trip = 2 * self.latency(client.node, server);
        let pulled = || Event::Pulled { client, from: Some(server), body: Box::new((digest, what)) };
        if !answers {
            return self.queue.put(self.now.after(ANSWER), pulled());
        }
        if length <= SMALL {
            let at = self.now.after(trip + length / 100);
            return self.queue.put(at, pulled());
        }
        let (way, on_wire) = (self.way(server, client.node), self.site.on_wire(length));
        self.flows.start(way, on_wire, self.moving.next(), self.now);
        self.bodies_moving.insert(self.moving.next(), digest);
        self.moving.put(Moving::Body { client, from: Some(server), what, later: trip });
    }

    /// A body is there, if who was asked has it.
    pub(super) fn pulled(&mut self, client: Life, from: Option<NodeId>, digest: Digest, what: Body) {
        let node = client.node;
        if self.peer_of(client).is_none() {
            return;
        }
        let has = from.is_none_or(|server| {
            let of = self.node(server);
            let body = || of.peer.as_ref().is_some_and(|p| p.bodies.contains(&digest));
            let held = if let Body::Manifest(release) = what { of.serves(release) } else { body() };
            held && self.reach(node, server)
        });
        self.trace.note(self.now, "pulled", &[u64::from(node), what.print(), u64::from(has)]);
        match what {
            Body::Manifest(release) if has => {
                self.nodes[node as usize].held_mut(release).manifest = true;
                self.manifest_is_here(node, release);
            }
            Body::Manifest(release) => self.set_pulling(client, release, false),
            Body::Announcement => {
                let hint = self.announcements.get(&digest).map(|a| a.hint).filter(|_| has);
                if let (Some(_), Some(peer)) = (hint, self.peer_of(client)) {
                    peer.bodies.insert(digest);
                }
                let input = match hint {
                    Some(hint) => newest::Input::Verified { hint },
                    None => newest::Input::Failed { digest },
                };
                self.tell_newest(node, input);
            }
            Body::Carried => {
                let server = from.and_then(|server| self.node(server).carries.get(&digest)).cloned();
                self.pulled_carried(node, server.filter(|_| self.is_within_reach(node, from)), digest);
            }
        }
    }

    fn is_within_reach(&self, node: NodeId, other: Option<NodeId>) -> bool {
        other.is_none_or(|other| self.reach(node, other) && self.node(other).is_on())
    }

    fn manifest_is_here(&mut self, node: NodeId, release: usize) {
        if let Some(peer) = &mut self.nodes[node as usize].peer {
            peer.manifests.remove(&release);
        }
        if self.layers < Layers::Deployment {
            return self.want(node, release);
        }
        if node == 0 {
            self.gateway_has_manifest(release);
        }
        self.help(node, release);
        self.agent_has_manifest(node, release);
    }
}
