//! Who fetches from central: weighted rendezvous hashing, in whole numbers so that all machines agree.
//!
//! Of all candidates the few with the highest score for the manifest are elected; of those, the one with the
//! highest score for a run of frames owns it, the others follow by rank, and behind them all who were not
//! elected. The score is `weight / -log2(hash)`: each peer wins in proportion to its weight
//! (Mosko, Schindelhauer & Schomaker; draft-ietf-bess-weighted-hrw).
//!
//! The first in the order are witnesses, whose statuses everybody knows. Behind the candidates come those who cannot ask
//! central, by their hash, so that a small fleet's peers are all witnesses.

use super::limits::{CANDIDATES_PER_FETCHER, FETCHERS_MAX, FETCHERS_MIN, WITNESSES};
use crate::draw::mix;
use crate::{DeviceId, Digest};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The known peers of one manifest, best first.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    standings: BTreeMap<DeviceId, Standing>,
    order: BTreeSet<Key>,
    candidates: usize,
    elected: Vec<DeviceId>,
    /// The last witness, when there are more peers than these.
    last_witness: Option<Key>,
}

/// The order: higher scores first.
type Key = (Reverse<u128>, DeviceId);

#[derive(Clone, Copy, Debug)]
struct Standing {
    weight: u16,
    hash: u64,
    score: u128,
}

/// A candidate's place in the line for a run; 0 is the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) place: u32,
    pub(super) elected: bool,
    /// Decides between two of one place.
    hash: u64,
}

impl Ranking {
    /// Notes a peer's weight as a candidate; with 0 it is none. Returns whether it is a new one or others are elected
    /// now.
    pub(super) fn set(&mut self, manifest: &Digest, peer: &DeviceId, weight: u16) -> bool {
        let old = self.standings.get(peer).copied();
        if old.is_some_and(|old| old.weight == weight) {
            return false;
        }
        let hash = old.map_or_else(|| hash(manifest, peer), |old| old.hash);
        self.take(peer);
        let score = score(hash, weight);
        self.standings.insert(peer.clone(), Standing { weight, hash, score });
        self.order.insert((Reverse(score), peer.clone()));
        self.candidates += usize::from(weight > 0);
        let is_new = weight > 0 && old.is_none_or(|old| old.weight == 0);
        self.elect() || is_new
    }

    /// Forgets a peer. Returns whether others are elected now.
    pub(super) fn remove(&mut self, peer: &DeviceId) -> bool {
        self.take(peer) && self.elect()
    }

    fn take(&mut self, peer: &DeviceId) -> bool {
        let Some(old) = self.standings.remove(peer) else { return false };
        self.order.remove(&(Reverse(old.score), peer.clone()));
        self.candidates -= usize::from(old.weight > 0);
        true
    }

    fn elect(&mut self) -> bool {
        let count = fetchers(self.candidates);
        let elected = self.order.iter().take(count).map(|(_, p)| p.clone()).collect();
        let before = std::mem::replace(&mut self.elected, elected);
        self.last_witness = self.order.iter().nth(WITNESSES - 1).filter(|_| self.order.len() > WITNESSES).cloned();
        before != self.elected
    }

    /// The score of a known peer.
    pub(super) fn score(&self, peer: &DeviceId) -> Option<u128> {
        self.standings.get(peer).map(|standing| standing.score)
    }

    /// Whether a known peer, by its score, is among the first, whose statuses reach everybody.
    pub(super) fn is_witness(&self, peer: &DeviceId, score: u128) -> bool {
        self.last_witness.as_ref().is_none_or(|(last, name)| (Reverse(score), peer) <= (*last, name))
    }

    /// Whether a peer that is not known yet would be one.
    pub(super) fn would_be_witness(&self, manifest: &Digest, peer: &DeviceId, weight: u16) -> bool {
        self.order.len() < WITNESSES || self.is_witness(peer, score(hash(manifest, peer), weight))
    }

    /// How many candidates there are.
    pub(super) fn len(&self) -> usize {
        self.candidates
    }

    pub(super) fn is_elected(&self, peer: &DeviceId) -> bool {
        self.elected.contains(peer)
    }

    /// The elected in their order for the run that starts at `run`; the first owns it.
    pub(super) fn line(&self, run: u32) -> Vec<&DeviceId> {
        let mut line: Vec<(Reverse<u128>, &DeviceId)> = Vec::with_capacity(self.elected.len());
        for peer in &self.elected {
            let Some(c) = self.standings.get(peer) else { continue };
            line.push((Reverse(score(mix(c.hash ^ mix(u64::from(run) + 1)), c.weight)), peer));
        }
        line.sort_unstable();
        line.into_iter().map(|(_, peer)| peer).collect()
    }

    /// The place of `peer` in the line for the run that starts at `run`; none if it is no candidate.
    pub(super) fn rank(&self, run: u32, peer: &DeviceId) -> Option<Rank> {
        let line = self.line(run);
        if let Some(place) = line.iter().position(|p| *p == peer) {
            return Some(Rank { place: place as u32, elected: true, hash: 0 });
        }
        self.place_unelected(peer)
    }

    /// The place of a candidate that is not elected, which is the same for all runs. Who is no witness does not know how
    /// many are before it, and takes a place behind them by its hash.
    pub(super) fn place_unelected(&self, peer: &DeviceId) -> Option<Rank> {
        let c = self.standings.get(peer).filter(|c| c.weight > 0)?;
        let before = self.order.range(..(Reverse(c.score), peer.clone())).count();
        let place = if before < WITNESSES { before } else { WITNESSES + (c.hash % WITNESSES as u64) as usize };
        Some(Rank { place: place as u32, elected: false, hash: c.hash })
    }
}

/// How many of `candidates` are elected.
pub(super) fn fetchers(candidates: usize) -> usize {
    (FETCHERS_MIN + candidates / CANDIDATES_PER_FETCHER).min(FETCHERS_MAX).min(candidates)
}

fn hash(manifest: &Digest, peer: &DeviceId) -> u64 {
    let digest = Digest::of_parts(&[b"fullmetal/fetcher\0", manifest.as_bytes(), peer.as_str().as_bytes()]);
    digest.as_bytes().iter().take(8).fold(0, |h, b| h << 8 | u64::from(*b))
}

/// Who is no candidate is below all who are.
fn score(hash: u64, weight: u16) -> u128 {
    if weight == 0 {
        return u128::from(hash >> 38);
    }
    (u128::from(weight) << 64) / u128::from((64 << FRACTION) - log2(hash | 1))
}

/// Bits after the point of [`log2`].
const FRACTION: u32 = 32;

/// The logarithm to base 2 of `x` >= 1, with [`FRACTION`] binary places, rounded down: the point's digits are
/// what doubles over when the mantissa is squared again and again.
fn log2(x: u64) -> u64 {
    let whole = 63 - x.leading_zeros();
    let mut mantissa = u128::from(x << x.leading_zeros());
    let mut out = u64::from(whole);
    for _ in 0..FRACTION {
        mantissa = (mantissa * mantissa) >> 63;
        let carry = (mantissa >> 64) as u64;
        mantissa >>= carry;
        out = out << 1 | carry;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(i: usize) -> DeviceId {
        format!("device-{i}").parse().unwrap()
    }

    fn ranking(n: usize, weight: impl Fn(usize) -> u16, manifest: &Digest) -> Ranking {
        let mut ranking = Ranking::default();
        for i in 0..n {
            ranking.set(manifest, &peer(i), weight(i));
        }
        ranking
    }

    #[test]
    fn the_logarithm_is_right_to_nine_places() {
        for x in [1u64, 2, 3, 1000, 1 << 40, u64::MAX / 3, u64::MAX] {
            let ours = log2(x) as f64 / (1u64 << FRACTION) as f64;
            assert!((ours - (x as f64).log2()).abs() < 1e-9, "{x}: {ours}");
        }
    }

    #[test]
    fn two_to_four_are_elected_and_one_is_when_nobody_else_can() {
        let manifest = Digest::of(b"m");
        for (n, elected) in [(0, 0), (1, 1), (2, 2), (5, 2), (16, 3), (40, 4), (1000, 4)] {
            assert_eq!(ranking(n, |_| 1, &manifest).elected.len(), elected, "{n} candidates");
        }
        assert!(ranking(5, |_| 0, &manifest).elected.is_empty());
    }

    #[test]
    fn peers_win_in_proportion_to_their_weight() {
        let wins = (0..4000u32)
            .filter(|i| {
                let manifest = Digest::of(&i.to_be_bytes());
                ranking(2, |p| if p == 0 { 3 } else { 1 }, &manifest).order.first().map(|(_, p)| p.clone())
                    == Some(peer(0))
            })
            .count();
        assert!((2850..3150).contains(&wins), "{wins} of 4000, expected about 3000");
    }

    #[test]
    fn runs_are_spread_over_the_elected() {
        let ranking = ranking(40, |_| 10, &Digest::of(b"m"));
        for elected in &ranking.elected {
            let owned = (0..800).filter(|run| ranking.line(run * 8)[0] == elected).count();
            assert!((130..270).contains(&owned), "{owned} of 800, expected about 200");
        }
    }

    #[test]
    fn every_candidate_has_its_own_place_in_each_line() {
        let ranking = ranking(12, |_| 1, &Digest::of(b"m"));
        let places: BTreeSet<u32> = (0..12).map(|i| ranking.rank(8, &peer(i)).unwrap().place).collect();
        assert_eq!(places, (0..12).collect());
        assert_eq!(ranking.rank(8, &peer(99)), None);
    }

    #[test]
    fn a_candidate_that_leaves_moves_only_its_own_runs() {
        let manifest = Digest::of(b"m");
        let mut ranking = ranking(2, |_| 1, &manifest);
        let before: Vec<DeviceId> = (0..100).map(|run| ranking.line(run)[0].clone()).collect();
        ranking.set(&manifest, &peer(2), 1);
        ranking.set(&manifest, &peer(2), 0);
        let after: Vec<DeviceId> = (0..100).map(|run| ranking.line(run)[0].clone()).collect();
        assert_eq!(before, after);
    }
}
