//! Drives a peer's cores and carries out what they decide.
//!
//! The cores are those of production: nothing here chooses a piece, a fetcher or a holder of a lease.

use super::World;
use super::event::{Body, Event, Life, Message, NodeId};
use super::node::{Node, Peer};
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use fullmetal_proto::announce::{carried, liveness, newest};
use fullmetal_proto::swarm::{Effect, Input, limits};
use fullmetal_proto::{Bitmap, Timestamp, membership};
use std::collections::BTreeSet;

impl World {
    /// The peer of a life, while that lasts.
    pub(super) fn peer_of(&mut self, life: Life) -> Option<&mut Peer> {
        let node = &mut self.nodes[life.node as usize];
        node.peer.as_deref_mut().filter(|_| node.life == life.life)
    }

    /// The present life of a node.
    pub(super) fn life(&self, node: NodeId) -> Life {
        Life { node, life: self.node(node).life }
    }

    /// Hands the swarm an input and does what it wants done.
    pub(super) fn tell_swarm(&mut self, node: NodeId, input: Input) {
        let now = self.now.timestamp();
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        peer.swarm.handle(input, now);
        peer.wakeups.swarm = peer.swarm.next_wakeup();
        self.share_uplink(node);
        let life = self.life(node);
        while let Some(effect) = self.peer_of(life).and_then(|p| p.swarm.poll()) {
            self.act(life, effect);
        }
        self.plan_wake(node);
    }

    /// A peer takes its share of the site's budget, by how many fetch to its knowledge.
    fn share_uplink(&mut self, node: NodeId) {
        let now = self.now;
        let Node { peer: Some(peer), share: Some((among, link)), .. } = &mut self.nodes[node as usize] else { return };
        let fetchers = peer.swarm.fetchers();
        if std::mem::replace(among, fetchers) != fetchers
            && let Some(rate) = self.site.budget_among(fetchers)
        {
            self.flows.set_capacity(*link, rate, now);
        }
    }

    /// Hands the core of the newest announcement an input and does what it wants done.
    pub(super) fn tell_newest(&mut self, node: NodeId, input: newest::Input) {
        let now = self.now.timestamp();
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        peer.newest.handle(input, now);
        peer.wakeups.newest = peer.newest.next_wakeup();
        let life = self.life(node);
        while let Some(effect) = self.peer_of(life).and_then(|p| p.newest.poll()) {
            match effect {
                newest::Effect::Pull { from, digest, length } => {
                    self.pull(life, &from, digest, u64::from(length), Body::Announcement);
                }
                newest::Effect::Send { peer, hint } => {
                    if let Some(to) = self.index(&peer) {
                        self.send(node, to, Message::Hint(hint));
                    }
                }
                newest::Effect::Publish(hint) => self.publish(node, hint),
                newest::Effect::Refuse(_) => {}
                newest::Effect::Accept(hint) => self.accept(node, hint),
                newest::Effect::Alarm { .. } => self.observe(Observation::Alarm { node }),
            }
        }
        self.plan_wake(node);
    }

    /// Hands the core of who was heard an input and does what it wants done.
    pub(super) fn tell_liveness(&mut self, node: NodeId, input: liveness::Input) {
        if !self.hears {
            return;
        }
        let now = self.now.timestamp();
        let Some(peer) = &mut self.nodes[node as usize].peer else { return };
        peer.liveness.handle(input, now);
        peer.wakeups.liveness = peer.liveness.next_wakeup();
        let life = self.life(node);
        while let Some(liveness::Effect::Send { peer, devices }) = self.peer_of(life).and_then(|p| p.liveness.poll()) {
            if let Some(to) = self.index(&peer) {
                self.send(node, to, Message::Heard(devices));
            }
        }
        self.plan_wake(node);
    }

    /// A wakeup that a core asked for, or one that another made needless.
    pub(super) fn wake(&mut self, life: Life) {
        let now = self.now;
        let Some(peer) = self.peer_of(life).filter(|peer| peer.wake == Some(now)) else { return };
        peer.wake = None;
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now.timestamp());
        let wakeups = peer.wakeups;
        if due(wakeups.membership) {
            self.tell_membership(life.node, membership::Input::Wakeup);
        }
        if due(wakeups.swarm) {
            self.tell_swarm(life.node, Input::Wakeup);
        }
        if due(wakeups.newest) {
            self.tell_newest(life.node, newest::Input::Wakeup);
        }
        if due(wakeups.carried) {
            self.tell_carried(life.node, carried::Input::Wakeup);
        }
        if due(wakeups.liveness) {
            self.tell_liveness(life.node, liveness::Input::Wakeup);
        }
        self.plan_wake(life.node);
    }

    /// Sees to it that a wakeup comes no later than the first that a core asks for.
    pub(super) fn plan_wake(&mut self, node: NodeId) {
        let life = self.life(node);
        let now = self.now;
        let Some(peer) = self.peer_of(life) else { return };
        let Some(at) = peer.wakeups.first() else { return };
        // A core that wants to be woken at once is woken in the next millisecond: time goes on.
        let next = Moment::of_timestamp(Timestamp::from_millis(now.timestamp().as_millis() + 1));
        let at = Moment::of_timestamp(at).max(next);
        if peer.wake.is_none_or(|wake| at < wake) {
            peer.wake = Some(at);
            self.queue.put(at, Event::Wake(life));
        }
    }

    fn act(&mut self, life: Life, effect: Effect) {
        let node = life.node;
        match effect {
            Effect::FetchFromPeer { transfer, manifest, piece, peer } => {
                if let Some(release) = self.releases.with_manifest(&manifest) {
                    self.ask_neighbour(life, transfer, (release, piece), &peer);
                }
            }
            Effect::FetchFromOrigin { transfer, manifest, first, count } => {
                if let Some(release) = self.releases.with_manifest(&manifest) {
                    self.ask_central(life, transfer, release, first..first + count);
                }
            }
            Effect::Abort { transfer } => self.abort(life, transfer),
            Effect::Send { peer, update } => {
                if let Some(to) = self.index(&peer) {
                    self.send(node, to, Message::Swarm(update));
                }
            }
            Effect::Ban { peer, .. } => {
                if let Some(other) = self.index(&peer) {
                    self.trace.note(self.now, "ban", &[u64::from(node), u64::from(other)]);
                    self.figures.bans += 1;
                    let ban = membership::Input::Ban { device: peer, duration: limits::BAN };
                    self.tell_membership(node, ban);
                }
            }
            Effect::Seek { peers, company } => {
                self.tell_membership(node, membership::Input::Seek { peers, company });
            }
            Effect::Have { .. } => {}
            Effect::Complete { manifest } => {
                if let Some(release) = self.releases.with_manifest(&manifest) {
                    self.complete(node, release);
                }
            }
        }
    }

    /// Serves what it has of all releases whose manifests it kept, and helps others to the rest.
    pub(super) fn help_with_all(&mut self, node: NodeId) {
        let kept: Vec<usize> = self.node(node).held.iter().filter(|(_, h)| h.manifest).map(|(r, _)| *r).collect();
        kept.into_iter().for_each(|release| self.help(node, release));
    }

    /// Serves what it has of a release, and helps others to the rest.
    pub(super) fn help(&mut self, node: NodeId, release: usize) {
        self.want_pieces(node, release, Bitmap::new(self.releases.get(release).pieces()));
    }

    /// Wants a release for itself; the gateway only helps others to it.
    pub(super) fn want(&mut self, node: NodeId, release: usize) {
        let pieces = self.releases.get(release).pieces();
        let is_device = self.node(node).group.is_some();
        let need = if is_device { Bitmap::full(pieces) } else { Bitmap::new(pieces) };
        let whole = need.is_subset_of(&self.releases.held(release, &self.node(node).cache));
        self.nodes[node as usize].needs = Some(release).filter(|_| is_device && !whole);
        self.want_pieces(node, release, need);
        if whole {
            self.complete(node, release);
        }
    }

    /// Nothing of a release is needed any more; what is there stays to be served.
    pub(super) fn want_no_more(&mut self, node: NodeId, release: usize) {
        let of = &mut self.nodes[node as usize];
        of.needs = of.needs.filter(|needed| *needed != release);
        self.help(node, release);
    }

    /// Of all releases only these stay to be served.
    pub(super) fn retain(&mut self, node: NodeId, releases: &BTreeSet<usize>) {
        let of = &mut self.nodes[node as usize];
        let kept = of.held.iter().filter(|(release, held)| held.manifest && !releases.contains(release));
        for release in kept.map(|(release, _)| *release).collect::<Vec<_>>() {
            self.nodes[node as usize].held_mut(release).manifest = false;
            let manifest = self.releases.get(release).manifest;
            self.tell_swarm(node, Input::Unwant { manifest });
        }
    }

    fn want_pieces(&mut self, node: NodeId, release: usize, need: Bitmap) {
        self.nodes[node as usize].held_mut(release).manifest = true;
        self.observe(Observation::Wanted { node });
        let of = self.node(node);
        // A liar says that it has everything.
        let lies = of.manner != crate::sim::scenario::Manner::Honest;
        let wanted = self.releases.get(release);
        let have = if lies { Bitmap::full(wanted.pieces()) } else { self.releases.held(release, &of.cache) };
        let (manifest, frames) = (wanted.manifest, wanted.spans.clone());
        self.tell_swarm(node, Input::Want { manifest, frames, need, have });
    }

    /// All pieces of a release are there.
    fn complete(&mut self, node: NodeId, release: usize) {
        let now = self.now;
        self.agent_has_pieces(node, release);
        let of = &mut self.nodes[node as usize];
        of.needs = of.needs.filter(|needed| *needed != release);
        if of.group.is_none() || of.held(release).done_at.is_some() {
            return;
        }
        let is_honest = of.manner == crate::sim::scenario::Manner::Honest;
        of.held_mut(release).done_at = Some(now);
        self.trace.note(now, "complete", &[u64::from(node)]);
        if is_honest {
            self.observe(Observation::Completed { node, release });
        }
    }
}
