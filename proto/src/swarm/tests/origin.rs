//! Central: one uplink that all its downloads share, and what can go wrong there.

use super::net::{Event, Net};
use super::set;
use crate::Bitmap;
use crate::swarm::{Failure, Input, TransferId};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// Milliseconds from a request to its first byte.
const ROUND_TRIP: u64 = 30;
/// Milliseconds that the uplink sends for one download before the next has its turn.
const TURN: u64 = 5;

pub(super) struct Origin {
    /// Bytes a millisecond: 100 Mbit/s unless told otherwise.
    pub(super) rate: u64,
    pub(super) sent: u64,
    /// How often each piece was sent whole.
    pub(super) times: Vec<u32>,
    /// Nodes for which central is out of reach.
    pub(super) unreachable: BTreeSet<usize>,
    /// Nodes that get no bytes.
    pub(super) stalled: BTreeSet<usize>,
    /// Pieces that it has not.
    pub(super) missing: Bitmap,
    pub(super) requests: u32,
    pub(super) failures: u32,
    /// The most nodes that it served at a time.
    pub(super) clients_max: usize,
    downloads: VecDeque<Download>,
    length: u32,
    stepping: bool,
}

#[derive(Clone)]
struct Download {
    node: usize,
    life: u32,
    id: TransferId,
    pieces: Range<u32>,
    done: u32,
    from: u64,
}

impl Origin {
    pub(super) fn new(pieces: u32, length: u32) -> Self {
        Origin {
            rate: 12_500,
            sent: 0,
            times: vec![0; pieces as usize],
            unreachable: BTreeSet::new(),
            stalled: BTreeSet::new(),
            missing: set(pieces, []),
            requests: 0,
            failures: 0,
            clients_max: 0,
            downloads: VecDeque::new(),
            length,
            stepping: false,
        }
    }

    pub(super) fn abort(&mut self, node: usize, id: TransferId) {
        self.downloads.retain(|d| d.node != node || d.id != id);
    }

    pub(super) fn drop_node(&mut self, node: usize) {
        self.downloads.retain(|d| d.node != node);
    }

    /// Bytes of unfinished pieces that a node has received.
    pub(super) fn in_flight(&self, node: usize) -> u64 {
        self.downloads.iter().filter(|d| d.node == node).map(|d| u64::from(d.done)).sum()
    }

    /// The piece that a node is being sent.
    pub(super) fn piece_for(&self, node: usize) -> Option<u32> {
        self.downloads.iter().find(|d| d.node == node).map(|d| d.pieces.start)
    }

    /// Whether a node is being sent something.
    pub(super) fn serves(&self, node: usize) -> bool {
        self.downloads.iter().any(|d| d.node == node)
    }

    fn holders(&self, pieces: &Range<u32>) -> BTreeSet<usize> {
        let overlaps = |d: &&Download| d.pieces.start < pieces.end && pieces.start < d.pieces.end;
        self.downloads.iter().filter(overlaps).map(|d| d.node).collect()
    }
}

impl Net {
    pub(super) fn origin_asked(&mut self, node: usize, id: TransferId, pieces: Range<u32>) {
        self.origin.requests += 1;
        assert!(self.nodes[node].origin, "node {node} has no way to central");
        let (now, life) = (self.now, self.nodes[node].life);
        let part = self.links.part_of(node);
        let others = self.origin.holders(&pieces).into_iter().filter(|o| *o != node && part.contains(o));
        let others: Vec<usize> = others.filter(|o| !self.origin.stalled.contains(o)).collect();
        if !others.is_empty() && now > self.disturbed_at + 2_000 {
            self.doubles.push(format!("{now}: {node} asks for {pieces:?}, held by {others:?}"));
        }
        let why = match () {
            () if self.origin.unreachable.contains(&node) => Some(Failure::OriginUnreachable),
            () if self.origin.missing.get(pieces.start) => Some(Failure::OriginMissing),
            () => None,
        };
        if let Some(why) = why {
            self.origin.failures += 1;
            return self.at(now + ROUND_TRIP, Event::Input { node, life, input: Input::Failed { transfer: id, why } });
        }
        let origin = &mut self.origin;
        origin.downloads.push_back(Download { node, life, id, pieces, done: 0, from: now + ROUND_TRIP });
        let clients: BTreeSet<usize> = origin.downloads.iter().map(|d| d.node).collect();
        origin.clients_max = origin.clients_max.max(clients.len());
        self.wake_origin();
    }

    fn wake_origin(&mut self) {
        if !std::mem::replace(&mut self.origin.stepping, true) {
            self.at(self.now + 1, Event::OriginStep);
        }
    }

    /// Sends one chunk of the next download in turn.
    pub(super) fn origin_step(&mut self) {
        self.origin.stepping = false;
        let (now, origin) = (self.now, &mut self.origin);
        if origin.downloads.is_empty() {
            return;
        }
        let ready = |d: &Download| d.from <= now && !origin.stalled.contains(&d.node);
        let Some(turn) = origin.downloads.iter().position(ready) else { return self.wake_origin() };
        let Some(mut download) = origin.downloads.remove(turn) else { return };
        let chunk = ((origin.rate * TURN) as u32).min(origin.length - download.done);
        origin.sent += u64::from(chunk);
        download.done += chunk;
        let (node, id, life) = (download.node, download.id, download.life);
        let whole = (download.done == origin.length).then_some(download.pieces.start);
        if let Some(piece) = whole {
            origin.times[piece as usize] += 1;
            download.pieces.start += 1;
            download.done = 0;
        }
        if !download.pieces.is_empty() {
            origin.downloads.push_back(download);
        }
        origin.stepping = true;
        let time = u64::from(chunk).div_ceil(origin.rate);
        self.at(now + time, Event::OriginStep);
        let progress = Input::Progress { transfer: id, bytes: u64::from(chunk) };
        self.at(now + time, Event::Input { node, life, input: progress });
        if let Some(piece) = whole {
            self.nodes[node].pieces_from_origin += 1;
            self.at(now + time, Event::Input { node, life, input: Input::Verified { transfer: id, piece } });
        }
    }
}
