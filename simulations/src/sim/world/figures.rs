//! What is counted while a world runs.

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
}
