//! Uploads: so many at once, a short queue, then Busy (`fullmetal::peer::serve`).

use super::event::{Event, Fetching, Life, NodeId};
use super::node::{From, Stage};
use super::{Moving, World};
use crate::sim::flows::FlowId;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use fullmetal_proto::swarm::Failure;

/// Uploads at once (`serve::UPLOADS_MAX`).
const UPLOADS_MAX: usize = 8;
/// How long a request waits for its turn in microseconds (`serve::QUEUE_MS_MAX`).
const QUEUE: u64 = 500_000;
/// How long an upload to nobody keeps its place in microseconds (`transfer::pace::WINDOW_MS`).
const STALLED: u64 = 10_000_000;

impl World {
    /// A request is there.
    pub(super) fn asked(&mut self, fetching: Fetching, server: NodeId, piece: u32) {
        let client = fetching.client.node;
        let of = self.node(server);
        let connected = of.peer.as_ref().is_some_and(|p| p.neighbours.contains_key(&client));
        if !connected || !self.reach(client, server) || of.manner == Manner::Silence {
            return;
        }
        let has = of.manner == Manner::Bytes || (of.manner == Manner::Honest && of.cache.get(piece));
        if !has {
            return self.refuse(fetching, server, Failure::NotHere);
        }
        let Some(peer) = &mut self.nodes[server as usize].peer else { return };
        if peer.uploads.active < UPLOADS_MAX {
            return self.upload(fetching, server, piece);
        }
        peer.uploads.queue.push_back((fetching, piece));
        let server = self.life(server);
        self.queue.put(self.now.after(QUEUE), Event::Waited { server, fetching });
    }

    fn refuse(&mut self, fetching: Fetching, server: NodeId, why: Failure) {
        if why == Failure::Busy {
            self.figures.busy += 1;
        }
        let at = self.now.after(self.latency(server, fetching.client.node));
        self.queue.put(at, Event::Ended { fetching, why });
    }

    /// A request that still waits has waited for too long.
    pub(super) fn waited(&mut self, server: Life, fetching: Fetching) {
        let Some(peer) = self.peer_of(server) else { return };
        let before = peer.uploads.queue.len();
        peer.uploads.queue.retain(|(waiting, _)| *waiting != fetching);
        if peer.uploads.queue.len() < before {
            self.refuse(fetching, server.node, Failure::Busy);
        }
    }

    /// Sends a piece.
    fn upload(&mut self, fetching: Fetching, server: NodeId, piece: u32) {
        if let Some(peer) = &mut self.nodes[server as usize].peer {
            peer.uploads.active += 1;
        }
        self.observe(Observation::Served { server, piece });
        self.flow_from(fetching, server, self.releases.length(piece));
        if self.fetch(fetching).is_none() {
            // Its client has lost interest while the request was on its way.
            self.free_upload(server);
        }
    }

    fn flow_from(&mut self, fetching: Fetching, server: NodeId, bytes: u64) {
        let (client, now) = (fetching.client.node, self.now);
        let (way, on_wire) = (self.way(server, client), self.site.on_wire(bytes));
        if self.fetch(fetching).is_none() {
            return;
        }
        let flow = self.flows.start(way, on_wire, self.moving.next(), now);
        self.moving.put(Moving::FromNeighbour { fetching, server });
        self.set_stage(fetching, Stage::Flows(flow));
    }

    fn set_stage(&mut self, fetching: Fetching, to: Stage) {
        if let Some(From::Neighbour { stage, .. }) = self.fetch(fetching).map(|f| &mut f.from) {
            *stage = to;
        }
    }

    /// All bytes of a piece have left a neighbour.
    pub(super) fn uploaded(&mut self, fetching: Fetching, server: NodeId) {
        self.free_upload(server);
        let good = self.node(server).manner != Manner::Bytes;
        let latency = self.latency(server, fetching.client.node);
        let Some(fetch) = self.fetch(fetching) else { return };
        let From::Neighbour { piece, stage, .. } = &mut fetch.from else { return };
        *stage = Stage::Arrived;
        let piece = *piece;
        let length = self.releases.length(piece);
        if let Some(fetch) = self.fetch(fetching) {
            fetch.moved_before = length;
        }
        let stored = self.node(fetching.client.node).storing(length);
        self.queue.put(self.now.after(latency + stored), Event::Stored { fetching, piece, good });
    }

    /// A place is free: the next in the queue gets it.
    fn free_upload(&mut self, server: NodeId) {
        let Some(peer) = &mut self.nodes[server as usize].peer else { return };
        peer.uploads.active = peer.uploads.active.saturating_sub(1);
        while let Some((fetching, piece)) = self.next_in_queue(server) {
            if self.fetch(fetching).is_some() {
                return self.upload(fetching, server, piece);
            }
        }
    }

    fn next_in_queue(&mut self, server: NodeId) -> Option<(Fetching, u32)> {
        let peer = self.nodes[server as usize].peer.as_mut()?;
        if peer.uploads.active >= UPLOADS_MAX { None } else { peer.uploads.queue.pop_front() }
    }

    /// A client ended its transfer.
    pub(super) fn release_upload(&mut self, server: NodeId, fetching: Fetching, stage: Stage) {
        match stage {
            Stage::Flows(_) => self.free_upload(server),
            Stage::Asked => {
                if let Some(peer) = &mut self.nodes[server as usize].peer {
                    peer.uploads.queue.retain(|(waiting, _)| *waiting != fetching);
                }
            }
            Stage::Hangs { .. } | Stage::Arrived => {}
        }
    }

    /// A server is free of an upload to a client that died without a word.
    pub(super) fn freed(&mut self, server: Life) {
        if self.peer_of(server).is_some() {
            self.free_upload(server.node);
        }
    }

    /// A flow is over or of no use any more.
    pub(super) fn end_flow(&mut self, flow: FlowId) {
        self.flows.stop(flow, self.now);
    }

    /// A node's peer is gone: what it fetched and what it sent stops where it is.
    pub(super) fn stop_transfers(&mut self, node: NodeId, told: bool) {
        let life = self.life(node);
        let fetches: Vec<_> = self.node(node).peer.iter().flat_map(|p| p.fetches.keys().copied()).collect();
        for transfer in fetches {
            let fetching = Fetching { client: life, transfer };
            let server = match self.fetch(fetching).map(|f| &mut f.from) {
                // An upload keeps its place until the server sees that nobody takes it.
                Some(From::Neighbour { server, stage: stage @ Stage::Flows(_), .. }) if !told => {
                    let Stage::Flows(flow) = std::mem::replace(stage, Stage::Hangs { left: 0 }) else { continue };
                    Some((*server, flow))
                }
                _ => None,
            };
            if let Some((server, flow)) = server {
                self.end_flow(flow);
                let freed = Event::Freed(self.life(server));
                self.queue.put(self.now.after(STALLED), freed);
            }
            self.drop_fetch(fetching, true);
        }
        self.hang(|world, client, server| server == node && client != node && world.node(client).is_on());
    }

    /// Flows between neighbours of which `matches` says true, by client and server, hang from now on.
    pub(super) fn hang(&mut self, matches: impl Fn(&World, NodeId, NodeId) -> bool) {
        for client in 0..self.nodes.len() as NodeId {
            for (transfer, server, flow) in self.flows_to(client) {
                if !matches(self, client, server) {
                    continue;
                }
                let client = self.life(client);
                let piece_moved = self.site.content(self.flows.moved(flow, self.now).unwrap_or(0));
                self.end_flow(flow);
                let fetching = Fetching { client, transfer };
                let releases = self.releases.clone();
                let Some(fetch) = self.fetch(fetching) else { continue };
                let From::Neighbour { piece, stage, .. } = &mut fetch.from else { continue };
                fetch.moved_before += piece_moved;
                *stage = Stage::Hangs { left: releases.length(*piece).saturating_sub(fetch.moved_before) };
            }
        }
    }

    /// Hanging transfers whose two ends can reach each other again go on.
    pub(super) fn unhang(&mut self) {
        for client in 0..self.nodes.len() as NodeId {
            let fetches = self.node(client).peer.iter().flat_map(|p| p.fetches.iter());
            let hanging = fetches.filter_map(|(transfer, fetch)| match fetch.from {
                From::Neighbour { server, stage: Stage::Hangs { left }, .. } => Some((*transfer, server, left)),
                _ => None,
            });
            for (transfer, server, left) in hanging.collect::<Vec<_>>() {
                let peer = self.node(server).peer.as_ref();
                let connected = peer.is_some_and(|p| p.neighbours.contains_key(&client));
                if connected && self.reach(client, server) {
                    self.flow_from(Fetching { client: self.life(client), transfer }, server, left);
                }
            }
        }
    }

    fn flows_to(&self, client: NodeId) -> Vec<(fullmetal_proto::swarm::TransferId, NodeId, FlowId)> {
        let fetches = self.node(client).peer.iter().flat_map(|p| p.fetches.iter());
        let flowing = fetches.filter_map(|(transfer, fetch)| match fetch.from {
            From::Neighbour { server, stage: Stage::Flows(flow), .. } => Some((*transfer, server, flow)),
            _ => None,
        });
        flowing.collect()
    }
}
