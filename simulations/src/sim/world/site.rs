//! Halls, links and the way between two places.

use super::World;
use super::event::NodeId;
use crate::sim::engine::{Moment, Random};
use crate::sim::flows::{Flows, LinkId, Path};
use crate::sim::scenario::{Network, Scenario};
use std::collections::{BTreeMap, VecDeque};

/// Bytes a second that central itself can send: never what is scarce.
pub(super) const CENTRAL_RATE: u64 = 125_000_000_000;

/// What a sender waits besides a round trip before it takes a lone packet for lost: QUIC's probe timeout (RFC 9002,
/// section 6.2.1) with the longest delay of an acknowledgement, in microseconds.
const PROBE_US: u64 = 25_000;
/// Bytes of a full packet on the wire, as the links count them.
const PACKET_LEN: u64 = 1_490;
/// How often one packet is lost in a row at most.
const LOST_MAX: u64 = 10;

/// The links that are no device's own.
#[derive(Debug)]
pub struct Site {
    /// Names of the halls; the gateway and the uplink are in the first.
    pub halls: Vec<String>,
    /// Central's own.
    pub central: LinkId,
    /// From central to the site.
    pub uplink: LinkId,
    /// Trunk links by their direction from hall to hall, with their latency.
    pub trunks: BTreeMap<(usize, usize), (LinkId, u64)>,
    /// Which trunks lead from one hall to another.
    routes: BTreeMap<(usize, usize), Vec<(usize, usize)>>,
    network: Network,
    jitter: Random,
    lost: Random,
    /// What loss leaves of connections from one node to another, as links that only they cross.
    lossy: BTreeMap<(NodeId, NodeId), LinkId>,
}

impl Site {
    /// Builds the links of a scenario.
    pub fn new(scenario: &Scenario, flows: &mut Flows, seed: u64) -> Self {
        let network = scenario.network.clone();
        let mut halls = vec![scenario.gateway.hall.clone()];
        for group in &scenario.groups {
            if !halls.contains(&group.hall) {
                halls.push(group.hall.clone());
            }
        }
        let (central, uplink) = (flows.link(CENTRAL_RATE), flows.link(network.uplink));
        let mut trunks = BTreeMap::new();
        for trunk in &network.trunks {
            let ends = trunk.between.clone().map(|name| halls.iter().position(|hall| *hall == name).unwrap_or(0));
            for (a, b) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                trunks.insert((a, b), (flows.link(trunk.rate), trunk.latency));
            }
        }
        let routes = routes(halls.len(), &trunks.keys().copied().collect::<Vec<_>>());
        let [jitter, lost] = ["jitter", "lost"].map(|purpose| Random::new(seed, purpose));
        Site { halls, central, uplink, trunks, routes, network, jitter, lost, lossy: BTreeMap::new() }
    }

    fn route(&self, from: usize, to: usize) -> impl Iterator<Item = &(LinkId, u64)> {
        self.routes.get(&(from, to)).into_iter().flatten().filter_map(|hop| self.trunks.get(hop))
    }

    /// Bytes a second of the uplink as the scenario has it.
    pub fn uplink_rate(&self) -> u64 {
        self.network.uplink
    }

    /// Bytes a second of central that the site allows itself.
    pub fn central_rate(&self) -> Option<u64> {
        self.network.central_rate
    }

    /// Bytes a second on the wire that each of so many fetchers takes of central, where the site has a budget.
    pub fn budget_among(&self, fetchers: usize) -> Option<u64> {
        self.network.central_rate.map(|rate| self.on_wire(rate / fetchers.max(1) as u64))
    }

    /// Whether a trunk is slow.
    pub fn is_slow(&self) -> bool {
        self.network.trunks.iter().any(|trunk| trunk.rate < super::node::SLOW)
    }

    /// Gossip messages that are lost, in millionths.
    pub fn gossip_loss(&self) -> u32 {
        self.network.gossip_loss
    }

    /// Bytes of content in so many bytes on the wire.
    pub fn content(&self, on_wire: u64) -> u64 {
        (u128::from(on_wire) * 1_000_000 / (1_000_000 + u128::from(self.network.overhead))) as u64
    }

    /// Bytes on the wire for so many bytes of content.
    pub fn on_wire(&self, bytes: u64) -> u64 {
        bytes + (u128::from(bytes) * u128::from(self.network.overhead) / 1_000_000) as u64
    }
}

/// The shortest way over trunks from each hall to each other; halls that none joins are on one switch.
fn routes(halls: usize, trunks: &[(usize, usize)]) -> BTreeMap<(usize, usize), Vec<(usize, usize)>> {
    let mut routes = BTreeMap::new();
    for start in 0..halls {
        let mut queue = VecDeque::from([(start, Vec::new())]);
        while let Some((hall, way)) = queue.pop_front() {
            for hop in trunks.iter().filter(|(from, _)| *from == hall) {
                if hop.1 != start && !routes.contains_key(&(start, hop.1)) {
                    let longer: Vec<(usize, usize)> = way.iter().copied().chain([*hop]).collect();
                    routes.insert((start, hop.1), longer.clone());
                    queue.push_back((hop.1, longer));
                }
            }
        }
    }
    routes
}

impl World {
    /// Whether two nodes are in the same part of the network.
    pub(super) fn reach(&self, a: NodeId, b: NodeId) -> bool {
        self.parts == 0 || self.node(a).part == self.node(b).part
    }

    /// Whether a node can reach central.
    pub(super) fn reaches_central(&self, node: NodeId) -> bool {
        self.node(node).part == 0
    }

    /// The links from one node to another.
    pub(super) fn way(&mut self, from: NodeId, to: NodeId) -> Path {
        let lossy = self.lossy(from, to);
        let (a, b) = (self.node(from), self.node(to));
        let mut path = Path::default();
        path.push(a.up);
        a.cell.into_iter().for_each(|cell| path.push(cell));
        self.site.route(a.hall, b.hall).for_each(|(link, _)| path.push(*link));
        b.cell.into_iter().for_each(|cell| path.push(cell));
        path.push(b.down);
        lossy.into_iter().for_each(|connection| path.push(connection));
        path
    }

    /// A connection as a link that carries what congestion control finds where packets are lost (Mathis, Semke, Mahdavi,
    /// Ott: "The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm", 1997): packets of a round trip, by the
    /// square root of one and a half by the share that is lost. CUBIC, which QUIC has here, is as fast when it is slow.
    fn lossy(&mut self, from: NodeId, to: NodeId) -> Option<LinkId> {
        let loss = u64::from(self.site.network.loss);
        if loss == 0 {
            return None;
        }
        let round_trip = 2 * (self.site.network.latency + self.trunks(from, to)) + self.site.network.jitter;
        let thousandths = (1_500_000 * 1_000_000 / loss).isqrt();
        let rate = PACKET_LEN * thousandths * 1_000 / round_trip.max(1);
        let flows = &mut self.flows;
        Some(*self.site.lossy.entry((from, to)).or_insert_with(|| flows.link(rate)))
    }

    /// Microseconds one way that trunks between two nodes add.
    fn trunks(&self, from: NodeId, to: NodeId) -> u64 {
        self.site.route(self.node(from).hall, self.node(to).hall).map(|(_, latency)| latency).sum()
    }

    /// The links from central to a node.
    pub(super) fn way_from_central(&self, to: NodeId) -> Path {
        let node = self.node(to);
        let mut path = Path::default();
        path.push(self.site.central);
        path.push(self.site.uplink);
        node.share.into_iter().for_each(|(_, share)| path.push(share));
        self.site.route(0, node.hall).for_each(|(link, _)| path.push(*link));
        node.cell.into_iter().for_each(|cell| path.push(cell));
        path.push(node.down);
        path
    }

    /// Microseconds one way between two nodes, with this time's jitter. What is lost is sent again.
    pub(super) fn latency(&mut self, from: NodeId, to: NodeId) -> u64 {
        let network = &self.site.network;
        let (latency, jitter, loss) = (network.latency + self.trunks(from, to), network.jitter, network.loss);
        let lost = (0..LOST_MAX).take_while(|_| self.site.lost.chance(loss)).count() as u64;
        latency + self.site.jitter.below(jitter + 1) + lost * (2 * latency + PROBE_US)
    }

    /// Microseconds to central and back.
    pub(super) fn central_round_trip(&mut self) -> u64 {
        let (latency, jitter) = (self.site.network.central_latency, self.site.network.jitter);
        2 * latency + self.site.jitter.below(jitter + 1)
    }

    /// When a connection that hears nothing from now on is given up.
    pub(super) fn idle_at(&self) -> Moment {
        self.now.after(self.site.network.idle)
    }
}
