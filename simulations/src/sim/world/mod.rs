//! A whole site in virtual time: every device with its peer, the gateway's peer, central, and what is between them.

mod agent;
mod bodies;
mod carrier;
mod central;
mod connections;
mod control;
mod decisions;
mod event;
mod fetch;
mod figures;
mod furnish;
mod gateway;
mod happen;
mod node;
mod peer;
mod power;
mod serve;
mod site;
mod topology;
mod unanswered;
mod views;

pub use event::NodeId;
pub use figures::Figures;
pub use node::{Load, Node};

use super::checkers::{Checkers, Violation};
use super::engine::{Moment, Queue, Random, Trace};
use super::flows::Flows;
use super::observe::Observation;
use super::release::Releases;
use super::scenario::{Calibration, Group, Happening, Layers, OriginMood, Scenario};
use connections::Connections;
use event::{Body, Event, Fetching, Life};
use fullmetal_proto::wire::Announcement;
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::{DeviceId, Digest};
use site::Site;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use topology::{Advertised, Handshake};

/// Events that may be handled in one run; more is a loop.
const EVENTS_MAX: u64 = 4_000_000_000;
/// Microseconds.
const SECOND: u64 = 1_000_000;
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
    calibration: Calibration,
    queue: Queue<Event>,
    flows: Flows,
    trace: Trace,
    draws: Draws,
    releases: Arc<Releases>,
    decisions: decisions::Decisions,
    site: Site,
    nodes: Vec<Node>,
    groups: Vec<Group>,
    gateway: Group,
    /// Where the nodes of each group stand.
    places: Vec<Range<usize>>,
    ids: BTreeMap<DeviceId, NodeId>,
    announcements: BTreeMap<Digest, Announced>,
    bodies_moving: BTreeMap<u64, Digest>,
    carriages: BTreeMap<Digest, carrier::Carriage>,
    dispatch: gateway::Gateway,
    moving: Movings,
    advertised: Advertised,
    /// Connections that the dialer has not decided on, by their numbers.
    handshakes: BTreeMap<u64, Handshake>,
    connections: Connections,
    origin_mood: OriginMood,
    happenings: Vec<Happening>,
    /// Events that wait for progress, and events of the scenario that are still to come.
    waiting: Vec<usize>,
    pending: usize,
    /// How often events are to be undone.
    lasting: BTreeMap<usize, usize>,
    targets: BTreeMap<usize, Vec<NodeId>>,
    parts: u32,
    /// Bytes that all honest devices need together, of all releases that are for them.
    needed: u64,
    /// Whether the core of who was heard runs.
    hears: bool,
    figures: Figures,
    checkers: Checkers,
}

impl World {
    /// The site of a scenario before anything is switched on.
    pub fn new(scenario: &Scenario, releases: Releases, seed: u64, trace: Trace, checkers: Checkers) -> Self {
        let mut flows = Flows::default();
        let site = Site::new(scenario, &mut flows, seed);
        let draw = |purpose| Random::new(seed, purpose);
        let draws =
            Draws { topology: draw("topology"), loss: draw("loss"), power: draw("power"), targets: draw("targets") };
        let mut world = World {
            now: Moment::START,
            seed,
            layers: scenario.layers,
            calibration: scenario.calibration,
            queue: Queue::new(),
            flows,
            trace,
            draws,
            releases: Arc::new(releases),
            decisions: decisions::Decisions::default(),
            site,
            nodes: Vec::new(),
            groups: scenario.groups.clone(),
            gateway: scenario.gateway.clone(),
            places: Vec::new(),
            ids: BTreeMap::new(),
            announcements: BTreeMap::new(),
            bodies_moving: BTreeMap::new(),
            carriages: BTreeMap::new(),
            dispatch: gateway::Gateway::default(),
            moving: Movings::default(),
            advertised: Advertised::default(),
            handshakes: BTreeMap::new(),
            connections: Connections::default(),
            origin_mood: OriginMood::Well,
            happenings: scenario.happenings.clone(),
            waiting: Vec::new(),
            pending: 0,
            lasting: BTreeMap::new(),
            targets: BTreeMap::new(),
            parts: 0,
            needed: 0,
            hears: scenario.layers >= Layers::Deployment,
            figures: Figures::default(),
            checkers,
        };
        world.furnish(scenario);
        world
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
        let planned = self.pending > 0 || !self.waiting.is_empty();
        !planned && self.lacking().next().is_none() && (self.layers < Layers::Deployment || self.reported())
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
            Event::Second => {
                self.observe(Observation::Second);
                self.queue.put(self.now.after(SECOND), Event::Second);
            }
            Event::Decided(release) => self.decided(release),
            Event::Happens(index, step) => self.happens(index, step),
            Event::Undone(what) => self.undone(what.0, &what.1),
            Event::Wake(life) => self.wake(life),
            Event::Knocks(dialer, listener) => self.knocks(dialer, listener),
            Event::Welcomed(serial) => self.welcomed(serial),
            Event::DialFailed(life, what) => self.dial_failed(life, what.0, what.1),
            Event::Unanswered(life, other, serial) => self.unanswered(life, other, serial),
            Event::KeepsAlive(life, other, serial) => self.keeps_alive(life, other, serial),
            Event::Looks(life, after) => self.looks(life, after),
            Event::Idle(life, other, serial) => self.idle(life, other, serial),
            Event::Left(node, other, serial) => self.lose_serial(node, other, serial),
            Event::Arrives { from, to, serial, message } => self.arrives(from, to, serial, *message),
            Event::Gossip { from, to, hint } => self.gossip(from, to, *hint),
            Event::Asked { fetching, server, piece } => self.asked(fetching, server, piece),
            Event::Waited { server, fetching } => self.waited(server, fetching),
            Event::Freed(life) => self.freed(life),
            Event::Ended { fetching, why } => self.ended(fetching, why),
            Event::CentralAnswers { fetching, unit } => self.central_answers(fetching, unit),
            Event::Stored { fetching, piece, good } => self.stored(fetching, piece, good),
            Event::Look(fetching) => self.look(fetching),
            Event::Pulled { client, from, body } => self.pulled(client, from, body.0, body.1),
            Event::AgentWake(life) => self.agent_wake(life),
            Event::AgentDone(life, done) => self.agent_done(life, *done),
            Event::GatewayWake(life) => self.gateway_wake(life),
            Event::GatewayDone(life, done) => self.gateway_done(life, *done),
            Event::Round(life, release) => self.look_for_manifest(life, release),
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
                self.queue.put(self.now.after(later), Event::Pulled { client, from, body: Box::new((digest, what)) });
            }
        }
    }

    /// A decision is made; without a gateway's core, its announcement is there at once, or when the gateway is.
    fn decided(&mut self, release: usize) {
        if self.layers == Layers::Announcement && !self.node(0).is_on() {
            return self.queue.put(self.now.after(SECOND), Event::Decided(release));
        }
        self.pending -= 1;
        if self.layers == Layers::Deployment {
            return self.decide(release);
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
}
