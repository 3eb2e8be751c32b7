//! What can be asked of a world: by checkers, by who measures it, and by its own parts.

use super::node::SLOW;
use super::{Figures, Node, NodeId, World};
use crate::sim::engine::{Moment, Trace};
use crate::sim::release::Releases;
use crate::sim::scenario::{Group, Manner, OriginMood};
use fullmetal_proto::DeviceId;

/// Nodes.
impl World {
    /// All devices.
    pub fn devices(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.group.is_some())
    }

    /// One node.
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }

    pub(super) fn index(&self, device: &DeviceId) -> Option<NodeId> {
        self.ids.get(device).copied()
    }

    pub(super) fn port_of(&self, node: NodeId) -> u64 {
        self.group_of(node).port
    }

    pub(super) fn manner_of(&self, node: NodeId) -> Manner {
        self.group_of(node).manner
    }

    pub(super) fn group_of(&self, node: NodeId) -> &Group {
        self.node(node).group.map_or(&self.gateway, |group| &self.groups[group])
    }
}

/// What checkers look at.
impl World {
    /// How many nodes there are, the gateway's included.
    pub fn len(&self) -> NodeId {
        self.nodes.len() as NodeId
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether two nodes are in the same part of the network.
    pub fn reaches(&self, a: NodeId, b: NodeId) -> bool {
        self.reach(a, b)
    }

    /// Whether central answers as it should.
    pub fn is_central_well(&self) -> bool {
        self.origin_mood == OriginMood::Well
    }

    /// Whether the port or the disk that the scenario gives a node is slow, or any trunk: what crosses that is late for all.
    pub fn is_slow_by_itself(&self, node: NodeId) -> bool {
        let group = self.group_of(node);
        group.port.min(group.disk) < SLOW || self.site.is_slow()
    }

    /// Events of the scenario that wait for progress.
    pub fn not_begun(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().copied()
    }

    /// Events of the scenario that are to be undone.
    pub fn not_over(&self) -> impl Iterator<Item = usize> {
        self.lasting.keys().copied()
    }

    /// The node of a device.
    pub fn find(&self, device: &DeviceId) -> Option<NodeId> {
        self.index(device)
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

    /// The releases.
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// What all honest devices have of what they need, in millionths.
    pub fn progress(&self) -> u32 {
        (u128::from(self.figures.gained) * 1_000_000 / u128::from(self.needed.max(1))) as u32
    }

    /// Bytes over the uplink.
    pub fn uplink_bytes(&self) -> u64 {
        self.flows.carried(self.site.uplink, self.now)
    }

    /// Bytes of one copy of all releases on the uplink, packets counted.
    pub fn one_copy_bytes(&self) -> u64 {
        self.site.on_wire(self.releases.one_copy())
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
