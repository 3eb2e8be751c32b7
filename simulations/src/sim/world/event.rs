//! What can happen in a world, and what peers say to each other.

use fullmetal_proto::membership::Refusal;
use fullmetal_proto::swarm::{Failure, TransferId};
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::wire::transfer::{KnownPeer, StockItem, SwarmUpdate};
use fullmetal_proto::{DeviceId, Digest};
use std::net::SocketAddr;

/// Index of a node: 0 is the gateway's peer, the devices follow.
pub type NodeId = u32;

/// One start of a node's peer. Events of an earlier life are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which node.
    pub node: NodeId,
    /// Its how manieth start.
    pub life: u32,
}

/// A transfer of one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Who fetches.
    pub client: Life,
    /// Its name for it.
    pub transfer: TransferId,
}

/// What can happen. Many are under way at a time, so what is long and rare is boxed.
#[derive(Debug)]
pub enum Event {
    /// A device is switched on.
    PowerOn(NodeId),
    /// A second is over: what lasts is looked at.
    Second,
    /// A release is decided on.
    Decided(usize),
    /// Something of a scenario's list happens, to its how manieth target.
    Happens(usize, usize),
    /// Something that lasts for a time ends.
    Undone(Box<(usize, Vec<NodeId>)>),
    /// A core wants to be woken.
    Wake(Life),
    /// A dialer has proved itself.
    Knocks(Life, NodeId),
    /// The listener's Hello is there, on a connection by its number.
    Welcomed(u64),
    /// A dial has come to nothing.
    DialFailed(Life, Box<(SocketAddr, Refusal)>),
    /// `.0` looks whether a neighbour, by the connection's number, has answered.
    Unanswered(Life, NodeId, u64),
    /// A silent connection is kept alive by its dialer.
    KeepsAlive(Life, NodeId, u64),
    /// Discovery asks who is there, and will again after so many microseconds.
    Looks(Life, u64),
    /// A connection without answers is given up by `.0`.
    Idle(Life, NodeId, u64),
    /// Neighbours told that they leave.
    Left(NodeId, NodeId, u64),
    /// A message on a control stream, of a connection by its number.
    Arrives { from: NodeId, to: NodeId, serial: u64, message: Box<Message> },
    /// A gossip message.
    Gossip { from: NodeId, to: NodeId, hint: Box<Hint> },
    /// A request for a piece is there.
    Asked { fetching: Fetching, server: NodeId, piece: u32 },
    /// A request has waited for its turn for too long.
    Waited { server: Life, fetching: Fetching },
    /// A place for uploads is free again.
    Freed(Life),
    /// A request was refused or has failed.
    Ended { fetching: Fetching, why: Failure },
    /// Central begins to answer.
    CentralAnswers { fetching: Fetching, unit: u32 },
    /// A piece has arrived; it is hashed and on disk now.
    Stored { fetching: Fetching, piece: u32, good: bool },
    /// Looks how a transfer gets on.
    Look(Fetching),
    /// A small body was pulled from a neighbour, or from central.
    Pulled { client: Life, from: Option<NodeId>, body: Box<(Digest, Body)> },
    /// A wakeup of an agent's core; its work is done.
    AgentWake(Life),
    /// See [`Event::AgentWake`].
    AgentDone(Life, Box<super::agent::Done>),
    /// The same for the gateway.
    GatewayWake(Life),
    /// See [`Event::GatewayWake`].
    GatewayDone(Life, Box<super::gateway::Done>),
    /// A release's manifest is looked for once more.
    Round(Life, usize),
}

const _: () = assert!(size_of::<Event>() <= 32);

/// Which core a pulled body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Body {
    /// An announcement.
    Announcement,
    /// The manifest of a release.
    Manifest(usize),
    /// A report or receipt.
    Carried,
}

impl Body {
    /// What tells it from others, for the trace.
    pub fn print(self) -> u64 {
        match self {
            Body::Announcement => 0,
            Body::Manifest(_) => 1,
            Body::Carried => 2,
        }
    }
}

/// A message on a control stream.
#[derive(Clone, Debug)]
pub enum Message {
    /// Of the swarm.
    Swarm(SwarmUpdate),
    /// The newest announcement.
    Hint(Hint),
    /// What is carried.
    Stock(Vec<StockItem>),
    /// Who was heard.
    Heard(Vec<(DeviceId, u32)>),
    /// Other members.
    Peers(Vec<KnownPeer>),
}

/// Bytes of a message besides its lists: length, tags, digest.
const MESSAGE_LEN: u64 = 48;
/// Bytes of a status besides its bitmaps and id.
const STATUS_LEN: u64 = 60;
/// Bytes of an item of stock besides its device.
const ITEM_LEN: u64 = 60;

impl Message {
    /// About how many bytes it takes on the wire; encoding each would cost more than all else.
    pub fn length(&self) -> u64 {
        MESSAGE_LEN
            + match self {
                Message::Swarm(update) => {
                    let map = u64::from(update.pieces.div_ceil(8));
                    let status = |id: &DeviceId| STATUS_LEN + 2 * map + id.as_str().len() as u64;
                    update.statuses.iter().map(|s| status(&s.peer)).sum()
                }
                Message::Hint(_) => 32,
                Message::Stock(items) => items.iter().map(|i| ITEM_LEN + i.device.as_str().len() as u64).sum(),
                Message::Heard(devices) => devices.iter().map(|(d, _)| 4 + d.as_str().len() as u64).sum(),
                Message::Peers(peers) => {
                    peers.iter().map(|p| 4 + (p.device.as_str().len() + p.address.len()) as u64).sum()
                }
            }
    }

    /// What tells it from others, for the trace.
    pub fn print(&self) -> [u64; 3] {
        match self {
            Message::Swarm(update) => {
                let print = |sum: u64, s: &fullmetal_proto::wire::transfer::PeerStatus| {
                    sum.wrapping_mul(31).wrapping_add(s.seq ^ u64::from(s.lease_ms) << 32)
                };
                [0, update.statuses.len() as u64, update.statuses.iter().fold(0, print)]
            }
            Message::Hint(hint) => [1, hint.epoch, hint.counter],
            Message::Stock(items) => [2, items.len() as u64, items.iter().map(|i| i.counter).sum()],
            Message::Heard(devices) => [3, devices.len() as u64, devices.iter().map(|(_, s)| u64::from(*s)).sum()],
            Message::Peers(peers) => [4, peers.len() as u64, 0],
        }
    }
}
