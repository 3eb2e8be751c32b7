//! Transfers as their client sees them: asked for, under way, looked after, stored.

use super::World;
use super::event::{Event, Fetching, Life, NodeId};
use super::node::{Fetch, From, Stage};
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use fullmetal_proto::DeviceId;
use fullmetal_proto::swarm::{Failure, Input, TransferId};

/// Between two looks at a transfer in microseconds: often enough for a lease that bytes renew each second.
const LOOK: u64 = 500_000;
/// Bytes that move before a core is told (`fetch::MOVED_BYTES`), and how long fewer of central's wait (`fetch::unsaid`).
const TOLD_MIN: u64 = 64 << 10;
const TOLD_WAIT: u64 = 500_000;
/// How long a transfer may take for [`PACE_BYTES_MIN`] (`transfer::pace`), also for the answer to its request.
const PACE: u64 = 10_000_000;
const PACE_BYTES_MIN: u64 = 64 << 10;
/// How long a name in the cache may be lost by a power cut (`node::SYNC_MS`).
const SYNC: u64 = 1_000_000;

impl World {
    /// A transfer of a life, while both last.
    pub(super) fn fetch(&mut self, fetching: Fetching) -> Option<&mut Fetch> {
        self.peer_of(fetching.client)?.fetches.get_mut(&fetching.transfer)
    }

    /// Takes note of a new transfer.
    pub(super) fn begin_fetch(&mut self, fetching: Fetching, release: usize, from: From) {
        let now = self.now;
        let Some(peer) = self.peer_of(fetching.client) else { return };
        let fetch = Fetch { release, from, pace_at: now, pace_moved: 0, told: 0, told_at: now, moved_before: 0 };
        peer.fetches.insert(fetching.transfer, fetch);
        self.queue.put(now.after(LOOK), Event::Look(fetching));
    }

    /// Asks a neighbour for a piece of a release, named by its place in that.
    pub(super) fn ask_neighbour(
        &mut self,
        client: Life,
        transfer: TransferId,
        (release, place): (usize, u32),
        peer: &DeviceId,
    ) {
        let piece = self.releases.number(release, place);
        let fetching = Fetching { client, transfer };
        let Some(server) = self.index(peer) else { return };
        self.trace.note(self.now, "ask", &[u64::from(client.node), u64::from(server), u64::from(piece)]);
        if self.node(client.node).cache.get(piece) {
            self.begin_fetch(fetching, release, From::Neighbour { server, piece, stage: Stage::Arrived });
            return self.queue.put(self.now, Event::Stored { fetching, piece, good: true });
        }
        self.begin_fetch(fetching, release, From::Neighbour { server, piece, stage: Stage::Asked });
        let neighbour = self.node(client.node).neighbour(server);
        // No stream overtakes the handshake.
        let Some(not_before) = neighbour.map(|n| n.arrives_after) else {
            return self.queue.put(self.now, Event::Ended { fetching, why: Failure::PeerGone });
        };
        self.figures.requests_to_peers += 1;
        self.sends(client.node, server);
        let at = self.now.after(self.latency(client.node, server)).max(not_before);
        self.queue.put(at, Event::Asked { fetching, server, piece });
    }

    /// Central or a neighbour says no, or the transfer broke.
    pub(super) fn ended(&mut self, fetching: Fetching, why: Failure) {
        let from_neighbour = self.fetch(fetching).is_some_and(|fetch| matches!(fetch.from, From::Neighbour { .. }));
        if self.drop_fetch(fetching, true) {
            let node = fetching.client.node;
            if from_neighbour {
                self.observe(Observation::NeighbourFailed { node });
            }
            self.trace.note(self.now, "failed", &[u64::from(node), fetching.transfer.0, why as u64]);
            self.tell_swarm(node, Input::Failed { transfer: fetching.transfer, why });
        }
    }

    /// The core wants a transfer no more.
    pub(super) fn abort(&mut self, client: Life, transfer: TransferId) {
        self.drop_fetch(Fetching { client, transfer }, true);
    }

    /// Ends a transfer here and at its other end. What it moved was for nothing if it is `wasted`.
    pub(super) fn drop_fetch(&mut self, fetching: Fetching, wasted: bool) -> bool {
        let node = fetching.client.node;
        let Some(fetch) = self.peer_of(fetching.client).and_then(|p| p.fetches.remove(&fetching.transfer)) else {
            return false;
        };
        let release = fetch.release;
        match fetch.from {
            From::Neighbour { server, stage, .. } => {
                if let Stage::Flows(flow) = stage {
                    self.figures.wasted += self.flows.moved(flow, self.now).filter(|_| wasted).unwrap_or(0);
                    self.end_flow(flow);
                }
                self.release_upload(server, fetching, stage);
            }
            From::Central(run) => {
                self.figures.fetch_ends(node);
                for flow in run.flows.values() {
                    self.figures.wasted += self.flows.moved(*flow, self.now).unwrap_or(0);
                    self.end_flow(*flow);
                }
                let pieces: Vec<u32> = run.open.keys().copied().collect();
                self.observe(Observation::LeftToCentral { node, release, pieces });
            }
        }
        true
    }

    /// All bytes of a piece are there: it is hashed and stored.
    pub(super) fn arrived(&mut self, fetching: Fetching, piece: u32, good: bool) {
        let node = fetching.client.node;
        let at = self.now.after(self.node(node).storing(self.releases.length(piece)));
        self.queue.put(at, Event::Stored { fetching, piece, good });
    }

    /// A piece was hashed and is on disk, or its hash is wrong.
    pub(super) fn stored(&mut self, fetching: Fetching, piece: u32, good: bool) {
        let node = fetching.client.node;
        let transfer = fetching.transfer;
        let fetch = self.fetch(fetching).map(|f| (f.release, matches!(f.from, From::Central(_))));
        let Some((release, from_central)) = fetch else { return };
        let Some(place) = self.releases.place(release, piece) else { return };
        self.trace.note(self.now, "stored", &[u64::from(node), u64::from(piece), u64::from(good)]);
        if !good {
            self.figures.wasted += self.releases.length(piece);
            self.drop_fetch(fetching, false);
            return self.tell_swarm(node, Input::Corrupt { transfer, piece: place });
        }
        let is_last = match self.fetch(fetching).map(|f| &mut f.from) {
            None | Some(From::Neighbour { .. }) => true,
            Some(From::Central(run)) => {
                run.open.remove(&piece);
                run.open.is_empty()
            }
        };
        if is_last {
            self.drop_fetch(fetching, false);
        }
        self.keep(node, piece);
        self.observe(Observation::Stored { node, piece, from_central });
        self.tell_swarm(node, Input::Verified { transfer, piece: place });
    }

    /// A verified piece gets its name in the cache; a power cut may still take it for a while.
    fn keep(&mut self, node: NodeId, piece: u32) {
        let now = self.now;
        let of = &mut self.nodes[node as usize];
        if of.cache.set(piece) {
            of.unsynced.push_back((now, piece));
            while of.unsynced.front().is_some_and(|(at, _)| now.since(*at) > SYNC) {
                of.unsynced.pop_front();
            }
            if of.group.is_some() && of.manner == Manner::Honest {
                self.figures.gained += self.releases.length(piece);
            }
        } else {
            self.figures.wasted += self.releases.length(piece);
        }
    }

    /// Tells the core of bytes that moved, and ends a transfer that is too slow.
    pub(super) fn look(&mut self, fetching: Fetching) {
        let (now, node) = (self.now, fetching.client.node);
        let Some(moved) = self.moved(fetching) else { return };
        let Some(fetch) = self.fetch(fetching) else { return };
        let from_central = matches!(fetch.from, From::Central(_));
        let is_storing = matches!(fetch.from, From::Neighbour { stage: Stage::Arrived, .. });
        // Of central any byte is enough (`central::Body`).
        let pace_min = if from_central { 1 } else { PACE_BYTES_MIN };
        if moved.saturating_sub(fetch.pace_moved) >= pace_min || is_storing {
            (fetch.pace_at, fetch.pace_moved) = (now, moved);
        } else if now.since(fetch.pace_at) >= PACE {
            let why = if from_central { Failure::OriginUnreachable } else { Failure::Stalled };
            return self.ended(fetching, why);
        }
        let news = moved.saturating_sub(fetch.told);
        let waits = from_central && news > 0 && now.since(fetch.told_at) >= TOLD_WAIT;
        let is_told = news >= TOLD_MIN || waits;
        if is_told {
            (fetch.told, fetch.told_at) = (moved, now);
        }
        self.queue.put(now.after(LOOK), Event::Look(fetching));
        if is_told {
            let (transfer, bytes) = (fetching.transfer, news);
            if from_central {
                self.observe(Observation::CentralMoves { node, bytes });
            }
            self.tell_swarm(node, Input::Progress { transfer, bytes });
        }
    }

    /// Bytes that a transfer has moved so far.
    fn moved(&mut self, fetching: Fetching) -> Option<u64> {
        let now = self.now;
        let node = self.nodes.get(fetching.client.node as usize)?;
        let peer = node.peer.as_ref().filter(|_| node.life == fetching.client.life)?;
        let fetch = peer.fetches.get(&fetching.transfer)?;
        let of_flow = |flow| self.site.content(self.flows.moved(flow, now).unwrap_or(0));
        let moving: u64 = match &fetch.from {
            From::Neighbour { stage: Stage::Flows(flow), .. } => of_flow(*flow),
            From::Neighbour { .. } => 0,
            From::Central(run) => run.flows.values().map(|flow| of_flow(*flow)).sum(),
        };
        Some(fetch.moved_before + moving)
    }

    /// A power cut: names that were not synced are gone, unless the disk was lucky.
    pub(super) fn lose_unsynced(&mut self, node: NodeId) {
        let (now, releases) = (self.now, &self.releases);
        let of = &mut self.nodes[node as usize];
        for (at, piece) in std::mem::take(&mut of.unsynced) {
            if now.since(at) <= SYNC && self.draws.power.chance(500_000) && of.cache.clear(piece) {
                self.figures.gained = self.figures.gained.saturating_sub(releases.length(piece));
            }
        }
    }
}
