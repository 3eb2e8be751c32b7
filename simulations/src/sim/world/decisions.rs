//! Which releases are decided for whom, and what each device is to end with.

use super::event::NodeId;
use super::{Node, World};
use crate::sim::engine::Moment;
use crate::sim::scenario::{Action, Manner, Scenario};
use std::collections::BTreeSet;

/// The decisions of a run.
#[derive(Debug, Default)]
pub struct Decisions {
    /// For each release, the devices that it is for; `None` is all.
    pub(super) devices: Vec<Option<BTreeSet<NodeId>>>,
    /// For each release, whether its app is never healthy.
    pub(super) fails: Vec<bool>,
    /// Releases that were decided by now.
    pub(super) taken: BTreeSet<usize>,
    /// What the deployment server took back.
    pub(super) cancelled: BTreeSet<(usize, NodeId)>,
    /// The server has an action for each device, as one must that can take it back from some.
    single: bool,
}

/// What a node has of a release.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// The manifest is in its cache, and it serves what it has.
    pub manifest: bool,
    /// It is in its agent's store.
    pub imported: bool,
    /// When it first had all pieces.
    pub done_at: Option<Moment>,
}

impl Node {
    /// What it has of a release.
    pub fn held(&self, release: usize) -> Held {
        self.held.get(&release).copied().unwrap_or_default()
    }

    pub(super) fn held_mut(&mut self, release: usize) -> &mut Held {
        self.held.entry(release).or_default()
    }

    /// Whether it is on and serves what it has of a release.
    pub fn serves(&self, release: usize) -> bool {
        self.is_on() && self.held(release).manifest
    }
}

impl World {
    /// Notes for whom the releases of a scenario are.
    pub(super) fn take_note_of_decisions(&mut self, scenario: &Scenario) {
        for decision in scenario.decisions() {
            let devices = decision.devices.as_ref().map(|targets| self.resolve(targets).into_iter().collect());
            self.decisions.devices.push(devices);
            self.decisions.fails.push(decision.fails);
        }
        self.decisions.single = self.happenings.iter().any(|h| matches!(h.action, Action::Cancel(_)));
        let needed = |node| self.releases.bytes_of((0..self.releases.count()).filter(|r| self.is_for(*r, node)));
        let honest = (1..self.len()).filter(|node| self.node(*node).manner == Manner::Honest);
        self.needed = honest.map(needed).sum();
    }

    /// Whether a release is for a device.
    pub fn is_for(&self, release: usize, node: NodeId) -> bool {
        self.decisions.devices[release].as_ref().is_none_or(|devices| devices.contains(&node))
    }

    /// The newest release that was decided for a device.
    pub(super) fn newest_for(&self, node: NodeId) -> Option<usize> {
        self.decisions.taken.iter().rev().copied().find(|release| self.is_for(*release, node))
    }

    /// The last release that is for a device; none if that was taken back from it.
    pub fn goal(&self, node: NodeId) -> Option<usize> {
        let last = (0..self.releases.count()).rev().find(|release| self.is_for(*release, node))?;
        Some(last).filter(|release| !self.decisions.cancelled.contains(&(*release, node)))
    }

    /// The server's number of the action that brings a release to a device.
    pub(super) fn action(&self, release: usize, node: NodeId) -> u64 {
        let (release, devices) = (release as u64, u64::from(self.len()) - 1);
        if self.decisions.single { release * devices + u64::from(node) } else { release + 1 }
    }

    /// Whether the server has an action for each device.
    pub(super) fn is_single(&self) -> bool {
        self.decisions.single
    }

    /// Devices by whom a run is measured: honest, on, and with a goal.
    pub fn counted(&self) -> impl Iterator<Item = (&Node, usize)> {
        let devices = (1..self.len()).map(|node| (node, self.node(node)));
        let counted = devices.filter(|(_, node)| node.manner == Manner::Honest && node.is_on());
        counted.filter_map(|(index, node)| Some((node, self.goal(index)?)))
    }

    /// Those of them that lack something.
    pub fn lacking(&self) -> impl Iterator<Item = &Node> {
        self.counted().filter(|(node, goal)| node.held(*goal).done_at.is_none()).map(|(node, _)| node)
    }

    /// Devices of which the gateway does not know an end that it must: of their goal's action, and of each action that
    /// their record took note of.
    pub fn unreported(&self) -> impl Iterator<Item = &Node> {
        let devices = (1..self.len()).map(|node| (node, self.node(node)));
        let honest = devices.filter(|(_, node)| node.manner == Manner::Honest && node.is_on());
        let open = |index: NodeId, node: &Node| {
            let goal = self.goal(index).map(|goal| self.action(goal, index));
            let mut owed = node.journal.noted.iter().copied().chain(goal);
            owed.any(|action| !self.has_end(&node.id, action))
        };
        honest.filter(move |(index, node)| open(*index, node)).map(|(_, node)| node)
    }

    /// Whether the end of each device that is on is known at the gateway, or the gateway is gone.
    pub fn reported(&self) -> bool {
        !self.node(0).is_on() || self.unreported().next().is_none()
    }
}
