//! A device in the middle of a release, and what its fleet tells it.

use fullmetal_proto::swarm::{Effect, Input, PieceSpan, Swarm, TransferId};
use fullmetal_proto::wire::transfer::{PeerStatus, SwarmUpdate};
use fullmetal_proto::{Bitmap, DeviceId, Digest, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

pub const PIECES: u32 = 8_000;
const PIECE_BYTES: u32 = 64 << 10;
/// Who takes part. A device hears of all of them, and keeps what the core's limits let it keep.
pub const PEERS: u32 = 200;
const NEIGHBOURS: u32 = 6;
/// So heavy that it is elected: it plans what to ask of central, too.
const WEIGHT: u16 = 60_000;
/// When views agree and central may be asked.
const SETTLED: Timestamp = Timestamp::from_secs(3);
/// After this a device would have to hear again from those of whom it knows.
const GOES_ON: Duration = Duration::from_secs(4);
const STEP: Duration = Duration::from_millis(1);

pub fn name(number: u32) -> DeviceId {
    format!("press-{number:03}").parse().unwrap()
}

pub fn manifest() -> Digest {
    Digest::of(b"manifest")
}

/// The same for the same two numbers, without order (splitmix64).
fn mixed(a: u32, b: u32) -> u64 {
    let mut z = (u64::from(a) << 32 | u64::from(b)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn pieces(which: impl Fn(u32) -> bool) -> Bitmap {
    let mut map = Bitmap::new(PIECES);
    (0..PIECES).filter(|piece| which(*piece)).for_each(|piece| _ = map.set(piece));
    map
}

/// It has every second piece of those that are not at central alone.
fn status(number: u32, seq: u64) -> PeerStatus {
    let have = pieces(|piece| piece % 8 != 7 && mixed(number, piece).is_multiple_of(2));
    PeerStatus {
        peer: name(number),
        seq,
        origin: true,
        weight: 10,
        need: Bitmap::full(PIECES).minus(&have),
        have,
        claims: Bitmap::new(PIECES),
        lease_ms: 0,
        stuck: false,
        failing: false,
        address: None,
    }
}

/// What these peers say, each with a number.
pub fn update(peers: impl Iterator<Item = (u32, u64)>) -> SwarmUpdate {
    let statuses = peers.map(|(number, seq)| status(number, seq)).collect();
    SwarmUpdate { manifest: manifest(), pieces: PIECES, statuses }
}

/// A device that has half of a release.
pub struct Device {
    swarm: Swarm,
    now: Timestamp,
    /// Pieces that were asked for and have not come.
    pending: VecDeque<(TransferId, u32)>,
    /// What the neighbours said last.
    said: Vec<PeerStatus>,
    updates: u32,
}

impl Device {
    pub fn in_the_middle() -> Self {
        let swarm = Swarm::new(name(PEERS), true, WEIGHT, 1);
        let said = (0..NEIGHBOURS).map(|number| status(number, 1)).collect();
        let mut device = Device { swarm, now: Timestamp::ZERO, pending: VecDeque::new(), said, updates: 0 };
        let frames = PieceSpan::in_a_row((0..PIECES).map(|_| PIECE_BYTES));
        let have = pieces(|piece| mixed(PEERS, piece).is_multiple_of(2));
        let need = Bitmap::full(PIECES).minus(&have);
        device.take(Input::Want { manifest: manifest(), frames, need, have }, Timestamp::ZERO);
        for number in 0..NEIGHBOURS {
            let address = ([10, 0, 0, number as u8], 4_000).into();
            device.take(Input::Connected { peer: name(number), address }, Timestamp::ZERO);
        }
        for number in 0..NEIGHBOURS {
            let told = update((number..PEERS).step_by(NEIGHBOURS as usize).map(|peer| (peer, 1)));
            device.take(Input::Update { from: name(number), update: told }, Timestamp::ZERO);
        }
        device.now = SETTLED;
        device.take(Input::Wakeup, SETTLED);
        assert!(!device.pending.is_empty(), "a device that asks for nothing measures nothing");
        device
    }

    /// Nothing is under way, or it would have to hear from others.
    pub fn is_done(&self) -> bool {
        self.pending.is_empty() || self.now.since(SETTLED) >= GOES_ON
    }

    pub fn later(&mut self) -> Timestamp {
        self.now = self.now.after(STEP);
        self.now
    }

    /// The piece that was asked for first is here.
    pub fn next_verified(&mut self) -> Input {
        let (transfer, piece) = self.pending.pop_front().unwrap();
        Input::Verified { transfer, piece }
    }

    /// So did some of its bytes.
    pub fn next_progress(&mut self) -> Input {
        Input::Progress { transfer: self.pending[0].0, bytes: 1 }
    }

    /// One neighbour after the other has one more piece.
    pub fn next_update(&mut self) -> Input {
        self.updates += 1;
        let status = &mut self.said[(self.updates % NEIGHBOURS) as usize];
        let lacked = status.need.iter().next();
        if let Some(piece) = lacked {
            status.need.clear(piece);
            status.have.set(piece);
        }
        status.seq += 1;
        let update = SwarmUpdate { manifest: manifest(), pieces: PIECES, statuses: vec![status.clone()] };
        Input::Update { from: status.peer.clone(), update }
    }

    /// Hands it to the core and does what that says.
    pub fn take(&mut self, input: Input, now: Timestamp) {
        self.swarm.handle(input, now);
        while let Some(effect) = self.swarm.poll() {
            match effect {
                Effect::FetchFromPeer { transfer, piece, .. } => self.pending.push_back((transfer, piece)),
                Effect::FetchFromOrigin { transfer, first, count, .. } => {
                    self.pending.extend((first..first + count).map(|piece| (transfer, piece)));
                }
                Effect::Abort { transfer } => self.pending.retain(|(pending, _)| *pending != transfer),
                _ => {}
            }
        }
    }
}
