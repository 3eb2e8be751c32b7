//! What is counted while a world runs.

use super::event::NodeId;
use std::collections::BTreeMap;

/// Counters of a run; they only rise, but for [`Figures::gained`], which power cuts lower.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests to central.
    pub requests: u64,
    /// Requests to neighbours, and how many of them were answered with Busy.
    pub requests_to_peers: u64,
    /// See [`Figures::requests_to_peers`].
    pub busy: u64,
    /// Bytes that were fetched for nothing.
    pub wasted: u64,
    /// Messages on control streams and by gossip.
    pub control_messages: u64,
    /// About how many bytes they took.
    pub control_bytes: u64,
    /// Neighbours that were banned.
    pub bans: u64,
    /// Bytes that honest devices have of what they need, together.
    pub gained: u64,
    /// Events that were handled.
    pub events: u64,
    /// The most nodes that fetched pieces from central at a time.
    pub fetchers_max: usize,
    /// Runs under way at central, by node.
    fetching: BTreeMap<NodeId, usize>,
}

impl Figures {
    /// A node asks central for a run of pieces.
    pub fn fetch_begins(&mut self, node: NodeId) {
        *self.fetching.entry(node).or_default() += 1;
        self.fetchers_max = self.fetchers_max.max(self.fetching.len());
    }

    /// A run from central has come, or was left.
    pub fn fetch_ends(&mut self, node: NodeId) {
        let Some(runs) = self.fetching.get_mut(&node) else { return };
        *runs -= 1;
        if *runs == 0 {
            self.fetching.remove(&node);
        }
    }
}
