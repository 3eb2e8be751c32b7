//! Control streams and gossip: what peers say to each other.
//!
//! A control stream loses nothing and keeps its order. A divided network holds its messages back until it is whole
//! again or the connection is given up. Gossip loses what the scenario says.

use super::World;
use super::event::{Event, Message, NodeId};
use fullmetal_proto::announce::{carried, liveness, newest};
use fullmetal_proto::wire::gossip::{HINT_LEN_MAX, Hint};
use fullmetal_proto::{membership, swarm};

impl World {
    /// Sends on the control stream, if there is one.
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let (now, reach) = (self.now, self.reach(from, to));
        self.sends(from, to);
        let at = now.after(self.latency(from, to));
        let Some(peer) = &mut self.nodes[from as usize].peer else { return };
        let Some(neighbour) = peer.neighbours.get_mut(&to) else { return };
        if !reach {
            return neighbour.held.push(message);
        }
        neighbour.arrives_after = neighbour.arrives_after.max(at);
        let (at, serial) = (neighbour.arrives_after, neighbour.serial);
        self.figures.control_bytes += message.length();
        self.figures.control_messages += 1;
        self.queue.put(at, Event::Arrives { from, to, serial, message: Box::new(message) });
    }

    pub(super) fn arrives(&mut self, from: NodeId, to: NodeId, serial: u64, message: Message) {
        if !self.has(to, from, serial) {
            return;
        }
        if !self.reach(from, to) {
            let held = self.has(from, to, serial);
            let neighbour = self.nodes[from as usize].peer.as_mut().and_then(|p| p.neighbours.get_mut(&to));
            return neighbour.filter(|_| held).map_or((), |n| n.held.push(message));
        }
        let [kind, count, print] = message.print();
        self.trace.note(self.now, "arrives", &[u64::from(from), u64::from(to), kind, count, print]);
        let sender = self.node(from).id.clone();
        match message {
            Message::Swarm(update) => self.tell_swarm(to, swarm::Input::Update { from: sender, update }),
            Message::Hint(hint) => self.tell_newest(to, newest::Input::Hint { from: sender, hint }),
            Message::Heard(devices) => self.tell_liveness(to, liveness::Input::Heard { from: sender, devices }),
            Message::Peers(peers) => self.tell_membership(to, membership::Input::Told { from: sender, peers }),
            Message::Stock(items) => self.tell_carried(to, carried::Input::Stock { from: sender, items }),
        }
    }

    /// Gossips to all neighbours: each passes it on when it takes it for the newest.
    pub(super) fn publish(&mut self, from: NodeId, hint: Hint) {
        let neighbours: Vec<NodeId> = self.node(from).peer.iter().flat_map(|p| p.neighbours.keys().copied()).collect();
        for to in neighbours {
            let lost = self.draws.loss.chance(self.site.gossip_loss());
            self.figures.control_bytes += HINT_LEN_MAX as u64 / 8;
            self.figures.control_messages += 1;
            if !lost && self.reach(from, to) {
                let at = self.now.after(self.latency(from, to));
                self.queue.put(at, Event::Gossip { from, to, hint: Box::new(hint) });
            }
        }
    }

    pub(super) fn gossip(&mut self, from: NodeId, to: NodeId, hint: Hint) {
        self.trace.note(self.now, "gossip", &[u64::from(from), u64::from(to), hint.counter]);
        let from = self.node(from).id.clone();
        self.tell_newest(to, newest::Input::Hint { from, hint });
    }

    /// The network is whole again between some: what was held back goes.
    pub(super) fn release_held(&mut self) {
        for from in 0..self.nodes.len() as NodeId {
            let Some(peer) = &self.node(from).peer else { continue };
            let waiting = peer.neighbours.iter().filter(|(_, n)| !n.held.is_empty()).map(|(to, _)| *to);
            for to in waiting.collect::<Vec<_>>() {
                if self.reach(from, to) {
                    let peer = self.nodes[from as usize].peer.as_mut();
                    let held = peer.and_then(|p| p.neighbours.get_mut(&to)).map(|n| std::mem::take(&mut n.held));
                    held.into_iter().flatten().for_each(|message| self.send(from, to, message));
                }
            }
        }
    }
}
