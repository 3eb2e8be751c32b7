//! What checkers are shown.

use super::world::NodeId;

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
        /// Which.
        pieces: Vec<u32>,
    },
    /// A run at central is over; these of its pieces did not come.
    LeftToCentral {
        /// Who.
        node: NodeId,
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
