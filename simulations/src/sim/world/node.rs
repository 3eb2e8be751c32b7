//! One device: what its disk holds, and its peer while it runs.

use super::agent::{Agent, Journal};
use super::decisions::Held;
use super::event::{Fetching, NodeId};
use crate::sim::engine::Moment;
use crate::sim::flows::{FlowId, LinkId};
use crate::sim::scenario::{Group, Manner};
use fullmetal_proto::announce::carried::Carried;
use fullmetal_proto::announce::liveness::Liveness;
use fullmetal_proto::announce::newest::Newest;
use fullmetal_proto::membership::Membership;
use fullmetal_proto::swarm::{Swarm, TransferId};
use fullmetal_proto::wire::transfer::{KnownPeer, StockItem};
use fullmetal_proto::{Bitmap, DeviceId, Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A device or the gateway's machine.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: DeviceId,
    /// Index of its group; none for the gateway's.
    pub group: Option<usize>,
    /// Index of its hall.
    pub hall: usize,
    /// Whether it may fetch from central, and its weight.
    pub origin: bool,
    /// See [`Node::origin`].
    pub weight: u16,
    /// How it behaves towards others.
    pub manner: Manner,
    /// Who is in the same part of a divided network.
    pub part: u32,
    /// Its port is slower than the scenario has it, or what the scenario has is slower than [`SLOW`].
    pub is_slow: bool,
    /// Its port toward the switch, from the switch, and its radio cell.
    pub up: LinkId,
    /// See [`Node::up`].
    pub down: LinkId,
    /// See [`Node::up`].
    pub cell: Option<LinkId>,
    /// Its share of what the site may take of central, where it has a budget: among how many it is split, and a link that
    /// carries as much.
    pub share: Option<(usize, LinkId)>,
    /// Bytes a second that its disk writes, and microseconds of a sync.
    pub disk: u64,
    /// See [`Node::disk`].
    pub sync: u64,
    /// Pieces in its cache under their names.
    pub cache: Bitmap,
    /// Those of them whose names are not synced yet, and since when.
    pub unsynced: VecDeque<(Moment, u32)>,
    /// What it has of each release.
    pub held: BTreeMap<usize, Held>,
    /// Newest announcement in its cache.
    pub announcement: Option<Digest>,
    /// Members that it has written down.
    pub remembered: Vec<KnownPeer>,
    /// What its agent has on disk, and its agent while that runs.
    pub journal: Journal,
    /// See [`Node::journal`].
    pub agent: Option<Box<Agent>>,
    /// Reports and receipts in its cache.
    pub carries: BTreeMap<Digest, StockItem>,
    /// How many times its peer was started.
    pub life: u32,
    /// Its peer, while that runs.
    pub peer: Option<Box<Peer>>,
    /// The release that its peer was told to get, and of which it lacks some.
    pub needs: Option<usize>,
}

/// A running peer: the cores, and what its adapters know.
#[derive(Debug)]
pub struct Peer {
    /// Who fetches what from whom.
    pub swarm: Swarm,
    /// Which announcement counts.
    pub newest: Newest,
    /// Reports and receipts on their way.
    pub carried: Carried,
    /// Who was heard.
    pub liveness: Liveness,
    /// Who is a neighbour.
    pub membership: Membership,
    /// When its cores want to be woken.
    pub wakeups: Wakeups,
    /// When a wakeup is on its way.
    pub wake: Option<Moment>,
    /// Open connections.
    pub neighbours: BTreeMap<NodeId, Neighbour>,
    /// When its discovery asks next, while that runs.
    pub look_at: Option<Moment>,
    /// Transfers under way.
    pub fetches: BTreeMap<TransferId, Fetch>,
    /// What it sends.
    pub uploads: Uploads,
    /// Bodies of announcements in its cache.
    pub bodies: BTreeSet<Digest>,
    /// It has a connection to central.
    pub knows_central: bool,
    /// Manifests that are looked for, by release.
    pub manifests: BTreeMap<usize, super::bodies::Wanted>,
}

/// When each core of a peer wants to be woken. They lie far apart, and with each input of one the first of all is looked
/// for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wakeups {
    /// That of [`Peer::swarm`], and so on.
    pub swarm: Option<Timestamp>,
    /// See [`Wakeups::swarm`].
    pub newest: Option<Timestamp>,
    /// See [`Wakeups::swarm`].
    pub carried: Option<Timestamp>,
    /// See [`Wakeups::swarm`].
    pub liveness: Option<Timestamp>,
    /// See [`Wakeups::swarm`].
    pub membership: Option<Timestamp>,
}

impl Wakeups {
    /// The first of all.
    pub fn first(&self) -> Option<Timestamp> {
        [self.swarm, self.newest, self.carried, self.liveness, self.membership].into_iter().flatten().min()
    }
}

/// An open connection, as one side sees it.
#[derive(Debug)]
pub struct Neighbour {
    /// The connection's number.
    pub serial: u64,
    /// Since when.
    pub since: Moment,
    /// Whether this side dialed.
    pub dialed: bool,
    /// Packets that it left unanswered, and looks at which it was silent.
    pub unanswered: (u64, u64),
    /// Answers after a silence.
    pub answers: u64,
    /// No message to it arrives before this: streams keep their order.
    pub arrives_after: Moment,
    /// Messages that a divided network holds back.
    pub held: Vec<super::event::Message>,
}

/// A transfer, as its client sees it.
#[derive(Debug)]
pub struct Fetch {
    /// As a piece of which release it is fetched.
    pub release: usize,
    /// Where it comes from.
    pub from: From,
    /// When the present window of [`Fetch::pace_moved`] began.
    pub pace_at: Moment,
    /// Bytes that had moved then.
    pub pace_moved: u64,
    /// Bytes that were told to the core.
    pub told: u64,
    /// When.
    pub told_at: Moment,
    /// Bytes of flows that are over.
    pub moved_before: u64,
}

/// Where a transfer comes from, and how far it is.
#[derive(Debug)]
pub enum From {
    /// A neighbour sends a piece.
    Neighbour {
        /// Who.
        server: NodeId,
        /// Which.
        piece: u32,
        /// How far.
        stage: Stage,
    },
    /// Central sends.
    Central(CentralRun),
}

/// How far a transfer of one piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The request is on its way, or waits for its turn.
    Asked,
    /// Bytes flow.
    Flows(FlowId),
    /// The other side is gone or out of reach; so many bytes are left.
    Hangs {
        /// Bytes.
        left: u64,
    },
    /// All bytes are there and being hashed and stored.
    Arrived,
}

/// A run of pieces from central.
#[derive(Debug, Default)]
pub struct CentralRun {
    /// Requests in order: the piece that each is for, and its bytes.
    pub units: Vec<(u32, u64)>,
    /// The next that is to be asked for.
    pub next: u32,
    /// Units under way.
    pub flows: BTreeMap<u32, FlowId>,
    /// For each piece, how many of its units have not come.
    pub open: BTreeMap<u32, u32>,
    /// Whether the units are parts of one answer.
    pub one_request: bool,
}

/// What a peer sends.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Uploads under way.
    pub active: usize,
    /// Requests that wait for their turn, with their pieces.
    pub queue: VecDeque<(Fetching, u32)>,
}

/// Below this many bytes a second (1 Mbit/s) a port, a disk or a trunk is slow: a piece takes longer than others wait.
pub const SLOW: u64 = 125_000;

impl Node {
    /// A device of `group` that was never on.
    pub fn new(id: DeviceId, group: &Group, links: (LinkId, LinkId, Option<LinkId>), cache: Bitmap) -> Self {
        let (up, down, cell) = links;
        Node {
            id,
            group: None,
            hall: 0,
            origin: group.origin,
            weight: group.weight,
            manner: group.manner,
            part: 0,
            is_slow: false,
            up,
            down,
            cell,
            share: None,
            disk: group.disk.max(1),
            sync: group.sync,
            cache,
            unsynced: VecDeque::new(),
            held: BTreeMap::new(),
            announcement: None,
            remembered: Vec::new(),
            journal: Journal::default(),
            agent: None,
            carries: BTreeMap::new(),
            life: 0,
            peer: None,
            needs: None,
        }
    }

    /// Whether its peer runs.
    pub fn is_on(&self) -> bool {
        self.peer.is_some()
    }

    /// Microseconds from a piece's last byte until it is hashed, synced and named.
    pub fn storing(&self, bytes: u64) -> u64 {
        self.sync + bytes * 1_000_000 / self.disk
    }
}

/// How much a peer has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Open connections.
    pub neighbours: usize,
    /// Requests to neighbours under way, and most of them to one.
    pub requests: usize,
    /// See [`Load::requests`].
    pub requests_to_one: usize,
    /// Runs at central under way.
    pub runs: usize,
    /// Requests that wait to be served.
    pub queue: usize,
}

impl Node {
    /// How much its peer has to do; nothing while that does not run.
    pub fn load(&self) -> Load {
        let Some(peer) = &self.peer else { return Load::default() };
        let mut load = Load { neighbours: peer.neighbours.len(), queue: peer.uploads.queue.len(), ..Load::default() };
        let mut by_server: BTreeMap<NodeId, usize> = BTreeMap::new();
        for fetch in peer.fetches.values() {
            match &fetch.from {
                From::Neighbour { server, .. } => *by_server.entry(*server).or_default() += 1,
                From::Central(_) => load.runs += 1,
            }
        }
        load.requests = by_server.values().sum();
        load.requests_to_one = by_server.into_values().max().unwrap_or(0);
        load
    }

    /// The open connection of its peer to another node.
    pub fn neighbour(&self, other: NodeId) -> Option<&Neighbour> {
        self.peer.as_ref()?.neighbours.get(&other)
    }

    /// Nodes with which its peer has open connections.
    pub fn neighbours(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peer.iter().flat_map(|peer| peer.neighbours.keys().copied())
    }
}
