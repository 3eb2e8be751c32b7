//! Puts a scenario's devices into a world and plans what happens to them.

use super::event::Event;
use super::{Node, NodeId, SECOND, World};
use crate::sim::engine::{Moment, Random};
use crate::sim::flows::LinkId;
use crate::sim::scenario::{Group, Layers, Manner, Scenario};
use fullmetal_proto::DeviceId;

impl World {
    /// Puts nodes where the scenario says, and plans what happens.
    pub(super) fn furnish(&mut self, scenario: &Scenario) {
        let mut has = Random::new(self.seed, "has");
        let mut on = Random::new(self.seed, "on");
        self.add(&scenario.gateway, None, 0, None, &mut has);
        self.plan_power_on(0, scenario.gateway.on.from);
        for (index, group) in scenario.groups.iter().enumerate() {
            self.places.push(self.nodes.len()..self.nodes.len() + group.devices);
            let cell = group.wifi.map(|rate| self.flows.link(rate));
            for n in 0..group.devices {
                let node = self.nodes.len() as NodeId;
                self.add(group, Some(index), n, cell, &mut has);
                self.plan_power_on(node, group.on.from + on.below(group.on.over.max(1)));
            }
        }
        self.take_note_of_decisions(scenario);
        self.plan_happenings();
        self.queue.put(Moment(SECOND), Event::Second);
        if self.layers >= Layers::Announcement {
            for (release, decision) in scenario.decisions().enumerate() {
                self.pending += 1;
                let decided = Moment(decision.announced).after(self.calibration.decision);
                self.queue.put(decided, Event::Decided(release));
            }
        }
    }

    fn plan_power_on(&mut self, node: NodeId, us: u64) {
        self.pending += 1;
        self.queue.put(Moment(us).after(self.calibration.start), Event::PowerOn(node));
    }

    fn add(&mut self, group: &Group, index: Option<usize>, n: usize, cell: Option<LinkId>, has: &mut Random) {
        let name = if index.is_some() { format!("{}-{n}", group.name) } else { group.name.clone() };
        // The scenario's reader has checked that such names are device ids.
        let Ok(id) = name.parse::<DeviceId>() else { return };
        let links = (self.flows.link(group.port), self.flows.link(group.port), cell);
        let cache = self.releases.share(group.has, has);
        let mut node = Node::new(id.clone(), group, links, cache);
        node.share = self.site.budget_among(1).map(|rate| (1, self.flows.link(rate)));
        node.group = index;
        node.hall = self.site.halls.iter().position(|hall| *hall == group.hall).unwrap_or(0);
        if index.is_some() && group.manner == Manner::Honest {
            self.figures.gained += self.releases.length_of(&node.cache);
        }
        self.ids.insert(id, self.nodes.len() as NodeId);
        self.nodes.push(node);
        let node = self.len() - 1;
        self.nodes[node as usize].is_slow = self.is_slow_by_itself(node);
    }
}
