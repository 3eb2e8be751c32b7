//! Starts and ends of peers.

use super::World;
use super::event::{Event, NodeId};
use super::node::Peer;
use crate::sim::engine::Random;
use crate::sim::observe::Observation;
use crate::sim::scenario::Layers;
use fullmetal_proto::announce::carried::Carried;
use fullmetal_proto::announce::liveness::Liveness;
use fullmetal_proto::announce::newest::{self, Newest};
use fullmetal_proto::membership::{self, Membership};
use fullmetal_proto::swarm::Swarm;
use std::collections::{BTreeMap, BTreeSet};

/// How a peer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order: neighbours are told.
    Stop,
    /// Killed: neighbours are told nothing.
    Crash,
    /// With the power: names that were not synced are lost besides.
    PowerCut,
}

impl World {
    /// Starts a node's peer if it does not run.
    pub(super) fn power_on(&mut self, node: NodeId) {
        if self.node(node).is_on() {
            return;
        }
        let seed = self.seed;
        let of = &mut self.nodes[node as usize];
        of.life += 1;
        of.unsynced.clear();
        let start = membership::Start {
            me: of.id.clone(),
            configured: Vec::new(),
            remembered: of.remembered.clone(),
            discovery: true,
        };
        let mut random = Random::new(seed, &format!("peer {node} {}", of.life));
        let mut peer = Peer {
            swarm: Swarm::new(of.id.clone(), of.origin, of.weight, random.any()),
            newest: Newest::new(random.any()),
            carried: Carried::new(of.id.clone(), random.any()),
            liveness: Liveness::new(of.id.clone()),
            wakeups: super::node::Wakeups::default(),
            wake: None,
            neighbours: BTreeMap::new(),
            membership: Membership::new(start, random.any(), self.now.timestamp()),
            look_at: None,
            fetches: BTreeMap::new(),
            uploads: super::node::Uploads::default(),
            bodies: of.announcement.into_iter().collect::<BTreeSet<_>>(),
            knows_central: false,
            manifests: BTreeMap::new(),
        };
        if let Some(budget) = self.site.central_rate() {
            peer.swarm.set_least_budget(budget);
        }
        // The other cores wait until they are told something.
        peer.wakeups.membership = Some(peer.membership.next_wakeup());
        of.peer = Some(Box::new(peer));
        let known = of.announcement.and_then(|digest| self.announcements.get(&digest)).map(|a| a.hint);
        self.trace.note(self.now, "on", &[u64::from(node), u64::from(self.node(node).life)]);
        self.observe(Observation::Started { node });
        self.plan_wake(node);
        match self.layers {
            Layers::Deployment => {
                self.restore_carried(node);
                self.help_with_all(node);
                self.start_agent(node);
            }
            Layers::Announcement if !self.node(node).held(0).manifest => {}
            _ => self.want(node, 0),
        }
        if let Some(hint) = known {
            self.tell_newest(node, newest::Input::Verified { hint });
        }
        if node == 0 && self.layers == Layers::Deployment {
            self.start_gateway();
        }
    }

    /// Ends a node's peer if it runs.
    pub(super) fn power_off(&mut self, node: NodeId, end: End) {
        if !self.node(node).is_on() {
            return;
        }
        self.trace.note(self.now, "off", &[u64::from(node), end as u64]);
        self.stop_transfers(node, end == End::Stop);
        let Some(peer) = self.nodes[node as usize].peer.take() else { return };
        let neighbours = peer.neighbours;
        if end == End::Stop {
            self.nodes[node as usize].remembered = peer.membership.known();
        }
        self.nodes[node as usize].agent = None;
        self.nodes[node as usize].needs = None;
        if node == 0 {
            self.stop_gateway();
        }
        self.advertised.remove(&node);
        for (other, neighbour) in neighbours {
            self.connections.set_open(neighbour.serial, node, false);
            if end != End::Stop {
                self.plan_keep_alive(other, node, neighbour.serial);
            }
            let (at, event) = match end {
                End::Stop => (self.now.after(self.latency(node, other)), Event::Left(other, node, neighbour.serial)),
                _ => (self.idle_at(), Event::Left(other, node, neighbour.serial)),
            };
            self.queue.put(at, event);
        }
        if end == End::PowerCut {
            self.lose_unsynced(node);
            let (releases, of) = (self.releases.clone(), &mut self.nodes[node as usize]);
            for (release, held) in &mut of.held {
                if !held.imported && !releases.held(*release, &of.cache).is_full() {
                    held.done_at = None;
                }
            }
        }
        self.observe(Observation::Gone { node });
    }
}
