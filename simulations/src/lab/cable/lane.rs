//! One direction of a cable: which frame leaves it when, and which never does. Times are told, in microseconds.

use crate::sim::engine::Random;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a link between two namespaces has by itself, in microseconds: less than this is not worth a relay.
const FELT_FROM: u64 = 2_000;
/// Bytes that are on their way in one direction at most; what comes then is dropped.
const HELD_MAX: usize = 8 << 20;
/// How many pairs of hosts are remembered until those are forgotten between which nothing is on its way.
const PAIRS_MAX: usize = 8 << 10;
/// The addresses at the head of an Ethernet frame (IEEE 802.3): to whom, from whom.
const PAIR_LEN: usize = 12;

/// What frames suffer on one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// By how much each is late, in microseconds.
    pub latency: u64,
    /// What chance adds to that at most, evenly spread.
    pub jitter: u64,
    /// How many of a million are lost, each by itself.
    pub loss: u32,
}

impl Impairment {
    /// Whether it is more than what the kernel's own links are short of.
    pub fn is_felt(&self) -> bool {
        self.latency + self.jitter > FELT_FROM || self.loss > 0
    }
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that were impaired and came through.
    pub delayed: u64,
    /// Frames that chance took.
    pub lost: u64,
    /// Frames that found [`Lane`] full.
    pub dropped: u64,
    /// Microseconds that delayed frames left later than they should have, all together.
    pub late: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.delayed += more.delayed;
        self.lost += more.lost;
        self.dropped += more.dropped;
        self.late += more.late;
    }
}

/// One direction. Frames are [put](Lane::put) in and [taken](Lane::due) out once they are due.
///
/// Frames from one host to another keep their order, as on a wire: one that jitter would let overtake waits for those
/// before it.
#[derive(Debug)]
pub struct Lane {
    suffers: Impairment,
    spared: Option<Ipv4Addr>,
    chance: Random,
    /// By when they are due, and then in the order in which they came; with whether they were impaired.
    waiting: BTreeMap<(u64, u64), (Vec<u8>, bool)>,
    last: BTreeMap<[u8; PAIR_LEN], u64>,
    held: usize,
    serial: u64,
    tally: Tally,
}

impl Lane {
    /// Nothing is on its way. What comes from `spared`, or is for it, passes at once and whole.
    pub fn new(suffers: Impairment, spared: Option<Ipv4Addr>, chance: Random) -> Self {
        let (waiting, last, tally) = (BTreeMap::new(), BTreeMap::new(), Tally::default());
        Lane { suffers, spared, chance, waiting, last, held: 0, serial: 0, tally }
    }

    /// A frame comes in at `now`.
    pub fn put(&mut self, frame: &[u8], now: u64) {
        let impaired = self.suffers.is_felt() && !self.spared.is_some_and(|address| concerns(frame, address));
        if impaired && self.chance.chance(self.suffers.loss) {
            self.tally.lost += 1;
            return;
        }
        if self.held + frame.len() > HELD_MAX {
            self.tally.dropped += 1;
            return;
        }
        let at = if impaired { self.leaves_at(frame, now) } else { now };
        self.waiting.insert((at, self.serial), (frame.to_vec(), impaired));
        self.serial += 1;
        self.held += frame.len();
    }

    /// When an impaired frame leaves, so that it overtakes none of its pair.
    fn leaves_at(&mut self, frame: &[u8], now: u64) -> u64 {
        let at = now + self.suffers.latency + self.chance.below(self.suffers.jitter + 1);
        let Some(pair) = frame.first_chunk::<PAIR_LEN>() else { return at };
        if self.last.len() >= PAIRS_MAX {
            self.last.retain(|_, last| *last > now);
        }
        let last = self.last.entry(*pair).or_default();
        *last = at.max(*last);
        *last
    }

    /// When the next frame is due.
    pub fn next_at(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next frame that is due at `now`.
    pub fn due(&mut self, now: u64) -> Option<Vec<u8>> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let late = now - entry.key().0;
        let (frame, impaired) = entry.remove();
        self.held -= frame.len();
        if impaired {
            self.tally.delayed += 1;
            self.tally.late += late;
        }
        Some(frame)
    }

    /// What became of frames since this was last asked.
    pub fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}

/// Whether an IPv4 packet, or a question or answer of ARP (RFC 826), comes from an address or is for it.
fn concerns(frame: &[u8], address: Ipv4Addr) -> bool {
    let places = match frame.get(12..14) {
        Some([0x08, 0x00]) => [26, 30],
        Some([0x08, 0x06]) => [28, 38],
        _ => return false,
    };
    places.iter().any(|at| frame.get(*at..at + 4) == Some(&address.octets()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn lane(latency: u64, jitter: u64, loss: u32) -> Lane {
        Lane::new(Impairment { latency, jitter, loss }, Some(Ipv4Addr::new(10, 99, 0, 2)), Random::new(1, "test"))
    }

    /// A frame for host `to` with a number in it.
    fn frame(to: u8, number: u64) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[5] = to;
        frame[52..].copy_from_slice(&number.to_be_bytes());
        frame
    }

    fn number(frame: &[u8]) -> u64 {
        u64::from_be_bytes(*frame.last_chunk().unwrap())
    }

    /// When each number left, in that order.
    fn left(lane: &mut Lane) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| lane.next_at().map(|at| (number(&lane.due(at).unwrap()), at))).collect()
    }

    #[test]
    fn a_frame_leaves_one_latency_after_it_came_and_not_before() {
        let mut lane = lane(20 * MS, 0, 0);
        lane.put(&frame(1, 7), 5 * MS);
        assert_eq!((lane.next_at(), lane.due(25 * MS - 1)), (Some(25 * MS), None));
        assert_eq!(lane.due(25 * MS), Some(frame(1, 7)));
        assert_eq!((lane.next_at(), lane.due(99 * MS)), (None, None));
    }

    #[test]
    fn without_an_impairment_a_frame_leaves_at_once() {
        let mut lane = lane(0, 0, 0);
        lane.put(&frame(1, 7), 5);
        assert_eq!(lane.due(5), Some(frame(1, 7)));
        assert_eq!(lane.tally(), Tally::default());
    }

    #[test]
    fn jitter_spreads_frames_over_its_whole_length() {
        let mut lane = lane(20 * MS, 5 * MS, 0);
        (0..1_000).for_each(|n| lane.put(&frame(1, n), n * 100 * MS));
        let drawn: Vec<u64> = left(&mut lane).into_iter().map(|(n, at)| at - n * 100 * MS).collect();
        assert!(drawn.iter().all(|at| (20 * MS..=25 * MS).contains(at)));
        let mean = drawn.iter().sum::<u64>() / 1_000;
        assert!((22_200..22_800).contains(&mean), "{mean} us");
        assert!(*drawn.iter().min().unwrap() < 20_100 && *drawn.iter().max().unwrap() > 24_900);
    }

    #[test]
    fn frames_to_one_host_keep_their_order_and_those_to_others_overtake() {
        let mut lane = lane(20 * MS, 5 * MS, 0);
        (0..200).for_each(|n| lane.put(&frame((n % 2) as u8, n), n * 100));
        let numbers: Vec<u64> = left(&mut lane).into_iter().map(|(n, _)| n).collect();
        for host in 0..2 {
            assert!(numbers.iter().filter(|n| *n % 2 == host).is_sorted());
        }
        assert!(numbers.len() == 200 && !numbers.is_sorted());
    }

    #[test]
    fn as_many_are_lost_as_are_said_to_be_and_they_are_counted() {
        let mut lane = lane(20 * MS, 0, 200_000);
        (0..2_000).for_each(|n| lane.put(&frame(1, n), n));
        let (came, tally) = (left(&mut lane).len() as u64, lane.tally());
        assert!((1_500..1_700).contains(&came), "{came} of 2,000 at 20 %");
        assert_eq!((tally.delayed, tally.lost, tally.dropped), (came, 2_000 - came, 0));
        assert_eq!(lane.tally(), Tally::default());
    }

    #[test]
    fn a_full_cable_drops_what_comes_and_has_room_again_when_a_frame_has_left() {
        let mut lane = lane(20 * MS, 0, 0);
        let long = vec![0; HELD_MAX / 2];
        (0..3).for_each(|n| lane.put(&long, n));
        assert_eq!(lane.tally().dropped, 1);
        assert!(lane.due(20 * MS).is_some());
        lane.put(&long, 30 * MS);
        assert_eq!((lane.tally().dropped, lane.waiting.len()), (0, 2));
    }

    #[test]
    fn what_leaves_late_is_told() {
        let mut lane = lane(20 * MS, 0, 0);
        lane.put(&frame(1, 1), 0);
        lane.put(&frame(1, 2), 0);
        assert!(lane.due(21 * MS).is_some() && lane.due(23 * MS).is_some());
        assert_eq!(lane.tally().late, 4 * MS);
    }

    #[test]
    fn what_is_for_central_or_from_it_passes_at_once_and_whole() {
        let mut lane = lane(20 * MS, 5 * MS, 1_000_000);
        // An IPv4 packet for central, one from it, and who asks by ARP for its address.
        for (kind, at) in [(0x00, 30), (0x00, 26), (0x06, 38)] {
            let mut frame = frame(1, 0);
            frame[12..14].copy_from_slice(&[0x08, kind]);
            frame[at..at + 4].copy_from_slice(&[10, 99, 0, 2]);
            lane.put(&frame, 3);
            assert_eq!(lane.due(3), Some(frame));
        }
        assert_eq!(lane.tally(), Tally::default());
        lane.put(&frame(1, 0), 3);
        assert_eq!((lane.next_at(), lane.tally().lost), (None, 1));
    }

    #[test]
    fn short_delays_are_not_worth_a_relay() {
        let of = |latency, jitter, loss| Impairment { latency, jitter, loss }.is_felt();
        assert!(!of(500, 200, 0) && !of(2_000, 0, 0));
        assert!(of(2_001, 0, 0) && of(500, 5_000, 0) && of(0, 0, 1));
    }
}
