//! What the core of membership is told, and what it wants done.

use crate::DeviceId;
use crate::wire::transfer::KnownPeer;
use std::net::SocketAddr;
use std::time::Duration;

/// Names a connection; the adapter numbers them and uses no number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Discovery: somebody of the fleet may be there.
    Found {
        /// Where.
        address: SocketAddr,
    },
    /// A neighbour told of others. More than [`PEERS_MAX`](crate::wire::transfer::PEERS_MAX) are not looked at.
    Told {
        /// Who told.
        from: DeviceId,
        /// Of whom.
        peers: Vec<KnownPeer>,
    },
    /// A dial came to nothing.
    DialFailed {
        /// As in [`Effect::Dial`].
        address: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// A member proved itself on a new connection. The answer is [`Effect::Join`] or [`Effect::Close`], at once or
    /// after the [`Input::Ended`] of an older connection to it.
    Proven {
        /// The new connection.
        connection: ConnectionId,
        /// Who.
        device: DeviceId,
        /// Where it is dialed: as in [`Effect::Dial`], or what it said in its Hello.
        address: SocketAddr,
        /// By us.
        dialed: bool,
    },
    /// A connection that had joined is over, for whatever reason.
    Ended {
        /// Which.
        connection: ConnectionId,
    },
    /// How much went over a neighbour's connection so far; said every [`LOOK`](super::limits::LOOK).
    Traffic {
        /// Which.
        connection: ConnectionId,
        /// Whatever needs an acknowledgement that was sent, sent again included.
        sent: u64,
        /// Datagrams that came.
        received: u64,
    },
    /// One of these is to be a neighbour, too, the first that may be dialed.
    Seek {
        /// Whom, and where it is said to be.
        peers: Vec<(DeviceId, SocketAddr)>,
        /// Others like these that may be neighbours already, and are to stay it.
        company: Vec<DeviceId>,
    },
    /// A device did wrong: not to be a neighbour for a time.
    Ban {
        /// Who.
        device: DeviceId,
        /// For how long.
        duration: Duration,
    },
    /// `next_wakeup` has come.
    Wakeup,
}

/// Why a dial came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has as many neighbours as it takes; these it knows.
    Full(Vec<KnownPeer>),
    /// It has another connection to us.
    Duplicate,
    /// Nobody answered, or no member, or one that does not want us.
    Failed,
}

/// What the adapter is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Dial; ends with [`Input::Proven`] or [`Input::DialFailed`].
    Dial {
        /// Where.
        address: SocketAddr,
    },
    /// The connection is that of a neighbour from now on; its end is to be told.
    Join {
        /// Which.
        connection: ConnectionId,
        /// Members that it is to be told of; nothing needs to be said when there are none.
        others: Vec<KnownPeer>,
    },
    /// Close a connection. If it had joined, [`Input::Ended`] follows as for every other end.
    Close {
        /// Which.
        connection: ConnectionId,
        /// What the other side is to be told.
        why: Close,
    },
    /// Tell a neighbour of others.
    Tell {
        /// On which connection.
        connection: ConnectionId,
        /// Of whom; never nobody.
        others: Vec<KnownPeer>,
    },
    /// Look for members on the same link and let them find us, or stop it. Said again while it runs: begin anew.
    Discover(bool),
    /// Write these down for the next start.
    Remember(Vec<KnownPeer>),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// There is another connection to the same device, or it leads to ourselves.
    Duplicate,
    /// We have as many neighbours as we take; whom it may try instead.
    Full(Vec<KnownPeer>),
    /// The device is banned.
    Banned,
    /// It left unanswered what was sent to it.
    Unanswered,
    /// We have neighbours enough, and so it seems has it. Nobody's fault: both may dial each other again.
    Spare,
}
