//! What checkers are shown.

use super::world::NodeId;
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::ReportState;

/// Something that a world does and that must keep to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A piece whose hash was right got its name in a node's cache.
    Stored {
        /// Whose.
        node: NodeId,
        /// Which.
        piece: u32,
        /// It came from central rather than from a neighbour.
        from_central: bool,
    },
    /// A node began to send a piece to a neighbour.
    Served {
        /// Who.
        server: NodeId,
        /// Which.
        piece: u32,
    },
    /// A node asks central for pieces.
    AskedCentral {
        /// Who.
        node: NodeId,
        /// As pieces of which release.
        release: usize,
        /// Which, by their numbers among all pieces, as everywhere here.
        pieces: Vec<u32>,
    },
    /// Bytes of a run at central arrived.
    CentralMoves {
        /// At whose.
        node: NodeId,
        /// How many.
        bytes: u64,
    },
    /// A run at central is over; these of its pieces did not come.
    LeftToCentral {
        /// Who.
        node: NodeId,
        /// As pieces of which release.
        release: usize,
        /// Which.
        pieces: Vec<u32>,
    },
    /// A node has a newer announcement.
    Accepted {
        /// Who.
        node: NodeId,
        /// Its epoch and counter.
        rank: (u64, u64),
    },
    /// A node saw two announcements of one rank.
    Alarm {
        /// Who.
        node: NodeId,
    },
    /// A core or its adapter broke the contract between them.
    Contract {
        /// Who.
        node: NodeId,
        /// What happened.
        what: String,
    },
    /// A device put a report into its spool.
    Reported {
        /// Who.
        node: NodeId,
        /// The report's counter.
        counter: u64,
        /// The action.
        action: u64,
        /// How far it is.
        state: ReportState,
    },
    /// The gateway handed a terminal report on.
    Delivered {
        /// Whose.
        device: DeviceId,
        /// Which action.
        action: u64,
        /// The report's counter.
        counter: u64,
        /// The counter of the first that was handed on for this device and action.
        first: u64,
    },
    /// The gateway's counter is on disk.
    Counted {
        /// Epoch and counter.
        rank: (u64, u64),
    },
    /// A node has all pieces of a release.
    Completed {
        /// Who.
        node: NodeId,
        /// Which release.
        release: usize,
    },
    /// A device runs a release.
    InForce {
        /// Who.
        node: NodeId,
        /// Which release.
        release: usize,
    },
    /// A neighbour had not what a node asked it for, was busy, or did not answer.
    NeighbourFailed {
        /// Who asked.
        node: NodeId,
    },
    /// A node's swarm is told what it wants of a release.
    Wanted {
        /// Who.
        node: NodeId,
    },
    /// Central or the links to it changed.
    CentralChanged,
    /// A second of virtual time is over.
    Second,
    /// Something came from outside: the network was divided or became whole.
    Disturbed,
    /// A node was started.
    Started {
        /// Who.
        node: NodeId,
    },
    /// A node's peer is gone.
    Gone {
        /// Who.
        node: NodeId,
    },
}
