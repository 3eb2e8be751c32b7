//! Central that gives nothing: to all, to some, or of one manifest.

use super::{MIB, connected, device, fleet, frames, manifest, set};
use crate::swarm::{Effect, Failure, Input, Swarm, TransferId};
use crate::wire::transfer::{PeerStatus, SwarmUpdate};
use crate::{Bitmap, Digest, Timestamp};

const PIECES: u32 = 60;

#[test]
fn a_fleet_to_which_central_gives_nothing_backs_off_together_and_goes_on_together() {
    for missing in [false, true] {
        let mut net = fleet(40, 60, 4);
        if missing {
            net.origin.missing = Bitmap::full(60);
        } else {
            net.origin.unreachable.extend(0..40);
        }
        net.ring();
        net.run_for(600_000);
        let tries = net.origin.failures;
        assert!((20..200).contains(&tries), "missing {missing}: {tries} tries of 40 devices in ten minutes");
        net.origin.unreachable.clear();
        net.origin.missing = Bitmap::new(60);
        let time = net.converge(900_000) - 600_000;
        assert!(time < 120_000, "missing {missing}: {time} ms");
        assert!(net.copies() <= 1.02 && net.origin.clients_max <= 5, "missing {missing}: {} copies", net.copies());
    }
}

#[test]
fn elected_that_alone_cannot_reach_central_hold_the_others_up_but_not_for_long() {
    let mut net = fleet(40, 60, 4);
    net.ring();
    net.run_until(60_000, |net| net.origin.sent >= 5 << 20);
    let elected: Vec<usize> =
        (0..40).filter(|i| net.origin.serves(*i) || net.nodes[*i].pieces_from_origin > 0).collect();
    assert_eq!(elected.len(), 4);
    net.origin.unreachable.extend(elected);
    let time = net.converge(200_000);
    assert!(net.origin.failures >= 4, "the fault was met");
    assert!(time < 60_000, "{time} ms");
    assert!(net.copies() <= 1.1 && net.origin.clients_max <= 5, "{} copies", net.copies());
}

/// One that may ask central, wants manifests, and has one neighbour. Central lacks all of some manifests.
struct One {
    swarm: Swarm,
    now: Timestamp,
    seq: u64,
    lacking: Vec<Digest>,
    /// Pieces that central gave, with their manifests; and how often it was asked.
    given: Vec<(Digest, u32)>,
    asked: u32,
    /// What it said of itself last.
    said: Option<PeerStatus>,
}

impl One {
    fn new() -> Self {
        let swarm = Swarm::new(device(0), true, 10, 7);
        let (lacking, given) = (Vec::new(), Vec::new());
        let mut one = One { swarm, now: Timestamp::ZERO, seq: 0, lacking, given, asked: 0, said: None };
        one.tell(connected(1));
        one
    }

    fn wants(&mut self, manifest: Digest) {
        let (frames, need) = (frames(PIECES, MIB), Bitmap::full(PIECES));
        self.tell(Input::Want { manifest, frames, need, have: Bitmap::new(PIECES) });
    }

    fn tell(&mut self, input: Input) {
        self.swarm.handle(input, self.now);
        while let Some(effect) = self.swarm.poll() {
            match effect {
                Effect::FetchFromOrigin { transfer, manifest, first, count } => {
                    self.asked += 1;
                    self.answer(transfer, manifest, first..first + count);
                }
                Effect::Send { update, .. } => {
                    self.said = update.statuses.into_iter().find(|s| s.peer == device(0)).or(self.said.take());
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, transfer: TransferId, manifest: Digest, pieces: std::ops::Range<u32>) {
        self.now = self.now.after(std::time::Duration::from_millis(20));
        if self.lacking.contains(&manifest) {
            return self.tell(Input::Failed { transfer, why: Failure::OriginMissing });
        }
        for piece in pieces {
            self.given.push((manifest, piece));
            self.tell(Input::Verified { transfer, piece });
        }
    }

    /// Time passes, a second at a time, while `each` happens.
    fn passes(&mut self, seconds: u64, mut each: impl FnMut(&mut One, u64)) {
        for second in 0..seconds {
            self.now = self.now.after(std::time::Duration::from_secs(1));
            self.tell(Input::Wakeup);
            each(self, second);
        }
    }

    /// Its neighbour tells of others: whether they fail, claim pieces, have pieces.
    fn hears(&mut self, of: impl Iterator<Item = usize>, failing: bool, claims: &Bitmap, have: &Bitmap) {
        self.seq += 1;
        let lease_ms = if claims.is_empty() { 0 } else { 3_000 };
        let status = |peer: usize| PeerStatus {
            peer: device(peer),
            seq: self.seq,
            origin: !failing,
            weight: 10,
            have: have.clone(),
            need: Bitmap::full(PIECES),
            claims: claims.clone(),
            lease_ms,
            stuck: false,
            failing,
            address: None,
        };
        let update = SwarmUpdate { manifest: manifest(), pieces: PIECES, statuses: of.map(status).collect() };
        self.tell(Input::Update { from: device(1), update });
    }
}

#[test]
fn a_manifest_that_central_lacks_does_not_hold_up_another() {
    for lacking in [b"x", b"y"] {
        let wanted = [Digest::of(b"x"), Digest::of(b"y")];
        let mut one = One::new();
        one.lacking = vec![Digest::of(lacking)];
        wanted.into_iter().for_each(|manifest| one.wants(manifest));
        one.passes(60, |_, _| {});
        assert_eq!(one.given.len(), PIECES as usize, "all of the other");
        let asked = one.asked;
        one.passes(600, |_, _| {});
        assert!((1..60).contains(&(one.asked - asked)), "{} times in ten minutes", one.asked - asked);
        one.lacking.clear();
        one.passes(400, |_, _| {});
        assert_eq!(one.given.len(), 2 * PIECES as usize, "and that one when it is there");
    }
}

#[test]
fn made_up_failures_hold_nobody_up_for_longer_than_a_quarter_of_an_hour() {
    let none = Bitmap::new(PIECES);
    let mut one = One::new();
    one.wants(manifest());
    one.hears(2..60, true, &none, &none);
    one.passes(25, |one, _| one.hears(2..60, true, &none, &none));
    assert_eq!(one.asked, 0, "it holds back");
    // Old names and new ones again and again.
    let mut seconds = 25;
    while one.asked == 0 {
        assert!(seconds < 1_000, "held up for {seconds} s");
        let first = 2 + seconds as usize;
        one.passes(1, |one, _| one.hears(first..first + 60, true, &none, &none));
        seconds += 1;
    }
}

#[test]
fn a_piece_that_another_got_ends_the_waiting_and_a_mere_word_does_not() {
    let (none, some) = (Bitmap::new(PIECES), set(PIECES, 0..4));
    let mut one = One::new();
    one.hears(2..6, true, &none, &none);
    one.wants(manifest());
    one.passes(20, |one, _| one.hears(2..6, true, &none, &none));
    assert_eq!(one.asked, 0, "as many fail as are elected");
    one.hears(6..7, false, &some, &none);
    one.passes(5, |one, _| one.hears(2..6, true, &none, &none));
    assert_eq!(one.asked, 0, "one more tries");
    one.hears(6..7, false, &none, &some);
    one.passes(10, |_, _| {});
    assert!(one.asked > 0, "it got something");
}

#[test]
fn who_failed_says_so_until_somebody_got_a_piece() {
    let (none, some) = (Bitmap::new(PIECES), set(PIECES, 0..4));
    let mut one = One::new();
    one.lacking = vec![manifest()];
    one.wants(manifest());
    one.passes(30, |_, _| {});
    let says = |one: &One| one.said.as_ref().is_some_and(|status| status.failing);
    assert!(says(&one) && one.asked >= 3, "asked {} times", one.asked);
    one.hears(6..7, false, &some, &none);
    one.passes(1, |_, _| {});
    assert!(says(&one), "nobody has got anything");
    one.hears(6..7, false, &none, &some);
    one.passes(1, |_, _| {});
    assert!(!says(&one), "the other has");
}
