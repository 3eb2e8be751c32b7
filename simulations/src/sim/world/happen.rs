//! The scenario's events: when they come, to whom, and how they end.

use super::World;
use super::event::{Event, NodeId};
use super::node::From;
use super::power::End;
use crate::sim::observe::Observation;
use crate::sim::scenario::{Action, Happening, OriginMood, Targets, When};

impl World {
    /// Puts the events of the scenario into the queue; those that wait for progress wait.
    pub(super) fn plan_happenings(&mut self) {
        for (i, happening) in self.happenings.clone().iter().enumerate() {
            match happening.when {
                When::At(at) => {
                    self.pending += 1;
                    self.queue.put(at, Event::Happens(i, 0));
                }
                When::Progress(_) => self.waiting.push(i),
            }
        }
    }

    /// Lets events begin that waited for what all have by now.
    pub(super) fn look_at_progress(&mut self) {
        if self.waiting.is_empty() || self.needed == 0 {
            return;
        }
        let ppm = (u128::from(self.figures.gained) * 1_000_000 / u128::from(self.needed)) as u64;
        let happenings = &self.happenings;
        let due = |i: &usize| matches!(happenings[*i].when, When::Progress(share) if u64::from(share) <= ppm);
        let (due, waiting): (Vec<usize>, Vec<usize>) = self.waiting.iter().partition(|i| due(i));
        self.waiting = waiting;
        for i in due {
            self.pending += 1;
            self.queue.put(self.now, Event::Happens(i, 0));
        }
    }

    /// Something of the list happens: to all of its targets, or to the next of them.
    pub(super) fn happens(&mut self, index: usize, step: usize) {
        let Some(happening) = self.happenings.get(index).cloned() else { return };
        self.pending -= 1;
        let targets = match happening.action.targets() {
            Some(_) if step > 0 => self.targets.get(&index).cloned().unwrap_or_default(),
            Some(targets) => self.resolve(targets),
            None => Vec::new(),
        };
        self.trace.note(self.now, "happens", &[index as u64, step as u64]);
        if happening.each == 0 || targets.is_empty() {
            return self.begin(index, &happening, targets);
        }
        let now = targets.get(step).copied();
        if step + 1 < targets.len() {
            self.pending += 1;
            self.queue.put(self.now.after(happening.each), Event::Happens(index, step + 1));
        }
        self.targets.insert(index, targets);
        self.begin(index, &happening, now.into_iter().collect());
    }

    fn begin(&mut self, index: usize, happening: &Happening, targets: Vec<NodeId>) {
        match &happening.action {
            Action::Stop(_) => targets.iter().for_each(|node| self.power_off(*node, End::Stop)),
            Action::Crash(_) => targets.iter().for_each(|node| self.power_off(*node, End::Crash)),
            Action::PowerCut(_) => targets.iter().for_each(|node| self.power_off(*node, End::PowerCut)),
            Action::Start(_) => self.power_on_soon(&targets),
            Action::Partition(_) => self.divide(&targets),
            Action::Slow(_, rate) => targets.iter().for_each(|node| self.set_port(*node, *rate)),
            Action::Lie(_, manner) => targets.iter().for_each(|node| self.nodes[*node as usize].manner = *manner),
            Action::Cancel(_) => self.cancel(&targets),
            Action::Origin(mood) => self.set_mood(*mood),
            Action::Uplink(rate) => self.set_uplink(*rate),
        }
        if let Some(us) = happening.lasting {
            self.pending += 1;
            *self.lasting.entry(index).or_default() += 1;
            self.queue.put(self.now.after(us), Event::Undone(Box::new((index, targets))));
        }
    }

    /// What lasted for a time is over.
    pub(super) fn undone(&mut self, index: usize, targets: &[NodeId]) {
        let Some(action) = self.happenings.get(index).map(|happening| happening.action.clone()) else { return };
        self.pending -= 1;
        self.lasting.entry(index).and_modify(|times| *times -= 1);
        self.lasting.retain(|_, times| *times > 0);
        self.trace.note(self.now, "undone", &[targets.len() as u64]);
        match action {
            Action::Stop(_) | Action::Crash(_) | Action::PowerCut(_) => self.power_on_soon(targets),
            Action::Start(_) => targets.iter().for_each(|node| self.power_off(*node, End::Stop)),
            Action::Partition(_) => self.unite(targets),
            Action::Slow(..) => targets.iter().for_each(|node| self.set_port(*node, self.port_of(*node))),
            Action::Lie(..) => {
                targets.iter().for_each(|node| self.nodes[*node as usize].manner = self.manner_of(*node))
            }
            // What is cancelled stays cancelled.
            Action::Cancel(_) => {}
            Action::Origin(_) => self.set_mood(OriginMood::Well),
            Action::Uplink(_) => self.set_uplink(self.site.uplink_rate()),
        }
    }

    /// Starts nodes, which takes as long as programs need to start.
    fn power_on_soon(&mut self, nodes: &[NodeId]) {
        let at = self.now.after(self.calibration.start);
        self.pending += nodes.len();
        nodes.iter().for_each(|node| self.queue.put(at, Event::PowerOn(*node)));
    }

    pub(super) fn resolve(&mut self, targets: &Targets) -> Vec<NodeId> {
        let nodes = &self.nodes;
        let fetches = |n: &usize| {
            let peer = nodes[*n].peer.as_ref();
            peer.is_some_and(|p| p.fetches.values().any(|f| matches!(f.from, From::Central(_))))
        };
        let devices = 1..nodes.len();
        let fetcher = || devices.clone().find(fetches).or_else(|| devices.clone().find(|n| nodes[*n].is_on()));
        let found = targets.resolve(&self.places, &mut self.draws.targets, fetcher);
        found.into_iter().map(|node| node as NodeId).collect()
    }

    /// These are a part of their own from now on.
    fn divide(&mut self, targets: &[NodeId]) {
        self.parts += 1;
        self.observe(Observation::Disturbed);
        targets.iter().for_each(|node| self.nodes[*node as usize].part = self.parts);
        self.hang(|world, client, server| !world.reach(client, server));
        for node in targets {
            let runs = self.node(*node).peer.iter().flat_map(|p| p.fetches.values());
            let flows =
                runs.filter_map(|f| if let From::Central(run) = &f.from { Some(run.flows.values()) } else { None });
            let flows: Vec<_> = flows.flatten().copied().collect();
            // What central sent stays unanswered until the transfer is found to be too slow.
            flows.into_iter().for_each(|flow| self.end_flow(flow));
        }
        for node in 0..self.nodes.len() as NodeId {
            let neighbours = self.node(node).peer.iter().flat_map(|p| p.neighbours.iter());
            let cut = neighbours.filter(|(other, _)| !self.reach(node, **other)).map(|(other, n)| (*other, n.serial));
            for (other, serial) in cut.collect::<Vec<_>>() {
                self.queue.put(self.idle_at(), Event::Idle(self.life(node), other, serial));
                self.plan_keep_alive(node, other, serial);
            }
        }
    }

    fn unite(&mut self, targets: &[NodeId]) {
        targets.iter().for_each(|node| self.nodes[*node as usize].part = 0);
        self.observe(Observation::Disturbed);
        self.release_held();
        self.unhang();
    }

    /// A connection whose other end has been out of reach for long.
    pub(super) fn idle(&mut self, life: super::event::Life, other: NodeId, serial: u64) {
        if !self.reach(life.node, other) && self.peer_of(life).is_some() {
            self.lose_serial(life.node, other, serial);
        }
    }

    fn set_port(&mut self, node: NodeId, rate: u64) {
        let (up, down) = (self.node(node).up, self.node(node).down);
        self.flows.set_capacity(up, rate, self.now);
        self.flows.set_capacity(down, rate, self.now);
        let is_slow = rate < self.port_of(node) || self.is_slow_by_itself(node);
        self.nodes[node as usize].is_slow = is_slow;
    }

    fn set_uplink(&mut self, rate: u64) {
        self.observe(Observation::CentralChanged);
        self.flows.set_capacity(self.site.uplink, rate, self.now);
    }

    fn set_mood(&mut self, mood: OriginMood) {
        self.observe(Observation::CentralChanged);
        self.origin_mood = mood;
        let rate = if mood == OriginMood::Stalled { 0 } else { super::site::CENTRAL_RATE };
        self.flows.set_capacity(self.site.central, rate, self.now);
    }
}
