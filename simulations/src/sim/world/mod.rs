//! A whole site in virtual time: every device with its peer, the gateway's peer, central, and what is between them.

mod agent;
mod bodies;
mod carrier;
mod central;
mod control;
mod event;
mod fetch;
mod figures;
mod gateway;
mod happen;
mod node;
mod peer;
mod power;
mod serve;
mod site;
mod topology;

pub use event::NodeId;
pub use figures::Figures;
pub use node::Node;

use super::checkers::{Checkers, Violation};
use super::engine::{Moment, Queue, Random, Trace};
use super::flows::Flows;
use super::observe::Observation;
use super::release::Release;
use super::scenario::{Group, Happening, Layers, Manner, OriginMood, Scenario};
use event::{Body, Event, Fetching, Life};
use fullmetal_proto::wire::Announcement;
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::{DeviceId, Digest};
use site::Site;
use std::collections::BTreeMap;
use std::sync::Arc;
use topology::Advertised;

/// Events that may be handled in one run; more is a loop.
const EVENTS_MAX: u64 = 4_000_000_000;
/// Events between two looks at how far everything is.
const LOOK_EVENTS: u64 = 64;

/// An announcement as the fleet passes it on.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Its hint.
    pub hint: Hint,
    /// What it says; without a gateway's core, nothing.
    pub announcement: Option<Arc<Announcement>>,
}

/// What a flow carries.
#[derive(Clone, Copy, Debug)]
enum Moving {
    FromNeighbour { fetching: Fetching, server: NodeId },
    FromCentral { fetching: Fetching, unit: u32 },
    Body { client: Life, from: Option<NodeId>, what: Body, later: u64 },
}

/// Flows by the numbers that they were started with.
#[derive(Debug, Default)]
struct Movings {
    count: u64,
    all: BTreeMap<u64, Moving>,
}

impl Movings {
    fn next(&self) -> u64 {
        self.count
    }

    fn put(&mut self, moving: Moving) {
        self.all.insert(self.count, moving);
        self.count += 1;
    }
}

/// Draws, by what they decide.
#[derive(Debug)]
struct Draws {
    topology: Random,
    loss: Random,
    power: Random,
    targets: Random,
}

/// A site and all that is on its way in it.
#[derive(Debug)]
pub struct World {
    now: Moment,
    seed: u64,
    layers: Layers,
    queue: Queue<Event>,
    flows: Flows,
    trace: Trace,
    draws: Draws,
    release: Arc<Release>,
    site: Site,
    nodes: Vec<Node>,
    groups: Vec<Group>,
    gateway: Group,
    /// The first node of each group.
    first_of: Vec<NodeId>,
    ids: BTreeMap<DeviceId, NodeId>,
    announcements: BTreeMap<Digest, Announced>,
    bodies_moving: BTreeMap<u64, Digest>,
    carriages: BTreeMap<Digest, carrier::Carriage>,
    dispatch: gateway::Gateway,
    moving: Movings,
    advertised: Advertised,
    serial: u64,
    origin_mood: OriginMood,
    happenings: Vec<Happening>,
    /// Events that wait for progress, and events of the scenario that are still to come.
    waiting: Vec<usize>,
    pending: usize,
    targets: BTreeMap<usize, Vec<NodeId>>,
    parts: u32,
    /// Bytes that all honest devices need together.
    needed: u64,
    honest: usize,
    /// Whether the core of who was heard runs.
    hears: bool,
    figures: Figures,
    checkers: Checkers,
}

impl World {
    /// The site of a scenario before anything is switched on.
    pub fn new(scenario: &Scenario, release: Release, seed: u64, trace: Trace, checkers: Checkers) -> Self {
        let mut flows = Flows::default();
        let site = Site::new(scenario, &mut flows, seed);
        let draw = |purpose| Random::new(seed, purpose);
        let draws =
            Draws { topology: draw("topology"), loss: draw("loss"), power: draw("power"), targets: draw("targets") };
        let mut world = World {
            now: Moment::START,
            seed,
            layers: scenario.layers,
            queue: Queue::new(),
            flows,
            trace,
            draws,
            release: Arc::new(release),
            site,
            nodes: Vec::new(),
            groups: scenario.groups.clone(),
            gateway: scenario.gateway.clone(),
            first_of: Vec::new(),
            ids: BTreeMap::new(),
            announcements: BTreeMap::new(),
            bodies_moving: BTreeMap::new(),
            carriages: BTreeMap::new(),
            dispatch: gateway::Gateway::default(),
            moving: Movings::default(),
            advertised: Advertised::default(),
            serial: 0,
            origin_mood: OriginMood::Well,
            happenings: scenario.happenings.clone(),
            waiting: Vec::new(),
            pending: 0,
            targets: BTreeMap::new(),
            parts: 0,
            needed: 0,
            honest: 0,
            hears: scenario.layers >= Layers::Deployment,
            figures: Figures::default(),
            checkers,
        };
        world.furnish(scenario);
        world
    }

    /// Puts nodes where the scenario says, and plans what happens.
    fn furnish(&mut self, scenario: &Scenario) {
        let mut has = Random::new(self.seed, "has");
        let mut on = Random::new(self.seed, "on");
        self.add(&scenario.gateway, None, 0, None, &mut has);
        self.plan_power_on(0, scenario.gateway.on.from);
        for (index, group) in scenario.groups.iter().enumerate() {
            self.first_of.push(self.nodes.len() as NodeId);
            let cell = group.wifi.map(|rate| self.flows.link(rate));
            for n in 0..group.devices {
                let node = self.nodes.len() as NodeId;
                self.add(group, Some(index), n, cell, &mut has);
                self.plan_power_on(node, group.on.from + on.below(group.on.over.max(1)));
            }
        }
        self.plan_happenings();
        if self.layers >= Layers::Announcement {
            self.pending += 1;
            self.queue.put(Moment(scenario.release.announced), Event::Decided);
        }
    }

    fn plan_power_on(&mut self, node: NodeId, us: u64) {
        self.pending += 1;
        self.queue.put(Moment(us), Event::PowerOn(node));
    }

    fn add(
        &mut self,
        group: &Group,
        index: Option<usize>,
        n: usize,
        cell: Option<super::flows::LinkId>,
        has: &mut Random,
    ) {
        let name = if index.is_some() { format!("{}-{n}", group.name) } else { group.name.clone() };
        // The scenario's reader has checked that such names are device ids.
        let Ok(id) = name.parse::<DeviceId>() else { return };
        let links = (self.flows.link(group.port), self.flows.link(group.port), cell);
        let cache = self.release.share(group.has, has);
        let mut node = Node::new(id.clone(), group, links, cache);
        node.group = index;
        node.hall = self.site.halls.iter().position(|hall| *hall == group.hall).unwrap_or(0);
        if index.is_some() && group.manner == Manner::Honest {
            self.needed += self.release.bytes;
            self.figures.gained += self.release.length_of(&node.cache);
            self.honest += 1;
        }
        self.ids.insert(id, self.nodes.len() as NodeId);
        self.nodes.push(node);
    }

    /// Runs until everybody has everything and nothing is planned any more, a checker objects, or `until`.
    pub fn run(&mut self, until: Moment, mut progress: impl FnMut(&World)) -> Option<Violation> {
        while !self.is_over() && self.figures.events < EVENTS_MAX {
            let next = [self.queue.next_at(), self.flows.next_at()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else {
                self.now = until;
                break;
            };
            self.now = at;
            self.step();
            self.figures.events += 1;
            if self.figures.events.is_multiple_of(LOOK_EVENTS) {
                self.look_at_progress();
                progress(self);
            }
            if let Some(violation) = self.checkers.violation() {
                return Some(violation);
            }
        }
        self.checkers.end(self.now);
        self.checkers.violation()
    }

    fn is_over(&self) -> bool {
        if self.pending > 0 || !self.waiting.is_empty() || self.figures.done == 0 {
            return false;
        }
        // Cheap first: as many as there are have come to have everything.
        let lacking = self.figures.done < self.honest;
        (!lacking || self.lacking().next().is_none()) && (self.layers < Layers::Deployment || self.reported())
    }

    /// Whether the end of each device that is on is known at the gateway, or the gateway is gone.
    pub fn reported(&self) -> bool {
        let counted = self.devices().filter(|n| n.manner == Manner::Honest && n.is_on());
        !self.node(0).is_on() || self.all_reported(counted.map(|n| &n.id))
    }

    /// Honest devices that are on and lack something.
    pub fn lacking(&self) -> impl Iterator<Item = &Node> {
        self.devices().filter(|node| node.manner == Manner::Honest && node.is_on() && node.done_at.is_none())
    }

    /// All devices.
    pub fn devices(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.group.is_some())
    }

    /// Flows first: what has arrived by now is there before anything else happens.
    fn step(&mut self) {
        if self.flows.next_at().is_some_and(|at| at <= self.now) {
            for finished in self.flows.step(self.now) {
                self.flow_ended(finished.owner);
            }
            return;
        }
        let Some((_, event)) = self.queue.take() else { return };
        match event {
            Event::PowerOn(node) => {
                self.pending -= 1;
                self.power_on(node);
            }
            Event::Decided => self.decided(),
            Event::Happens(index, step) => self.happens(index, step),
            Event::Undone(action, targets) => self.undone(&action, &targets),
            Event::Wake(life) => self.wake(life),
            Event::Meet(life) => self.meet(life),
            Event::Dialed(life, to) => self.dialed(life, to),
            Event::Idle(life, other, serial) => self.idle(life, other, serial),
            Event::Left(node, other, serial) => self.lose_serial(node, other, serial),
            Event::Arrives { from, to, serial, message } => self.arrives(from, to, serial, *message),
            Event::Gossip { from, to, hint } => self.gossip(from, to, hint),
            Event::Asked { fetching, server, piece } => self.asked(fetching, server, piece),
            Event::Waited { server, fetching } => self.waited(server, fetching),
            Event::Freed(life) => self.freed(life),
            Event::Ended { fetching, why } => self.ended(fetching, why),
            Event::CentralAnswers { fetching, unit } => self.central_answers(fetching, unit),
            Event::Stored { fetching, piece, good } => self.stored(fetching, piece, good),
            Event::Look(fetching) => self.look(fetching),
            Event::Pulled { client, from, digest, what } => self.pulled(client, from, digest, what),
            Event::AgentWake(life) => self.agent_wake(life),
            Event::AgentDone(life, done) => self.agent_done(life, *done),
            Event::GatewayWake(life) => self.gateway_wake(life),
            Event::GatewayDone(life, done) => self.gateway_done(life, *done),
            Event::Round(life) => self.look_for_manifest(life),
        }
    }

    fn flow_ended(&mut self, owner: u64) {
        let Some(moving) = self.moving.all.remove(&owner) else { return };
        self.trace.note(self.now, "flow", &[owner]);
        match moving {
            Moving::FromNeighbour { fetching, server } => self.uploaded(fetching, server),
            Moving::FromCentral { fetching, unit } => self.central_sent(fetching, unit),
            Moving::Body { client, from, what, later } => {
                let digest = self.bodies_moving.remove(&owner).unwrap_or_default();
                self.queue.put(self.now.after(later), Event::Pulled { client, from, digest, what });
            }
        }
    }

    /// A decision is made; without a gateway's core, its announcement is there at once.
    fn decided(&mut self) {
        self.pending -= 1;
        if self.layers == Layers::Deployment {
            return self.decide();
        }
        let text = format!("announcement {}", self.announcements.len());
        let length = (400 + 60 * self.nodes.len()) as u32;
        let counter = self.announcements.len() as u64 + 1;
        let hint = Hint { epoch: 1, counter, digest: Digest::of(text.as_bytes()), length };
        self.announce(0, Announced { hint, announcement: None });
    }

    fn observe(&mut self, observation: Observation) {
        let mut checkers = std::mem::take(&mut self.checkers);
        checkers.observe(self.now, self, &observation);
        self.checkers = checkers;
    }

    /// One node.
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }

    fn index(&self, device: &DeviceId) -> Option<NodeId> {
        self.ids.get(device).copied()
    }

    fn port_of(&self, node: NodeId) -> u64 {
        self.group_of(node).port
    }

    fn manner_of(&self, node: NodeId) -> Manner {
        self.group_of(node).manner
    }

    fn group_of(&self, node: NodeId) -> &Group {
        self.node(node).group.map_or(&self.gateway, |group| &self.groups[group])
    }
}

/// What a run is measured by.
impl World {
    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The counters.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// What happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The release.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// What all honest devices have of what they need, in millionths.
    pub fn progress(&self) -> u32 {
        (u128::from(self.figures.gained) * 1_000_000 / u128::from(self.needed.max(1))) as u32
    }

    /// Bytes over the uplink.
    pub fn uplink_bytes(&self) -> u64 {
        self.flows.carried(self.site.uplink, self.now)
    }

    /// Bytes of one copy on the uplink, packets counted.
    pub fn one_copy_bytes(&self) -> u64 {
        self.site.on_wire(self.release.one_copy)
    }

    /// Bytes over all trunks, into all devices' ports and over the air.
    pub fn local_bytes(&self) -> (u64, u64, u64) {
        let carried = |link| self.flows.carried(link, self.now);
        let trunks = self.site.trunks.values().map(|(link, _)| carried(*link)).sum();
        let ports = self.nodes.iter().map(|node| carried(node.down)).sum();
        let mut cells: Vec<_> = self.nodes.iter().filter_map(|node| node.cell).collect();
        cells.dedup();
        (trunks, ports, cells.into_iter().map(carried).sum())
    }
}
