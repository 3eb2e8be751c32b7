//! Hinted bodies that are not verified yet, who hinted them, and which pulls are under way.

use crate::draw::Draw;
use crate::wire::gossip::Hint;
use crate::{DeviceId, Digest, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The most hints of one neighbour that wait; its lowest gives way.
pub(super) const HINTS_PER_PEER_MAX: usize = 4;
/// The most pulls at a time, each of another digest, at most one from a neighbour.
pub(super) const PULLS_MAX: usize = 4;
/// The most tries with one source.
pub(super) const TRIES_MAX: u32 = 5;
/// Milliseconds after which another source is tried.
pub(super) const PULL_MS_MAX: u64 = 20_000;
/// Milliseconds before a source is tried again; doubles with every failure.
const RETRY_MS: u64 = 2_000;
/// The most refused hints that are remembered; the oldest gives way.
pub(super) const REFUSED_MAX: usize = 256;

type Pull = (DeviceId, Digest, u32);

/// A source's tries so far, and when it may be tried again.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    tries: u32,
    not_before: Timestamp,
}

/// Bounded by the number of neighbours, which the adapter bounds, times [`HINTS_PER_PEER_MAX`].
#[derive(Debug, Default)]
pub(super) struct Candidates {
    hints: BTreeMap<Hint, BTreeMap<DeviceId, Source>>,
    pulling: BTreeMap<Digest, (DeviceId, Timestamp)>,
    refused: VecDeque<(DeviceId, Hint)>,
}

impl Candidates {
    /// A neighbour claims a hint that is not older than what is in force.
    pub(super) fn offer(&mut self, from: DeviceId, hint: Hint, now: Timestamp) {
        if self.refused.iter().any(|(peer, refused)| *peer == from && *refused == hint) {
            return;
        }
        let source = Source { tries: 0, not_before: now };
        self.hints.entry(hint).or_default().entry(from.clone()).or_insert(source);
        let of_peer: Vec<Hint> = self.hints.iter().filter(|(_, s)| s.contains_key(&from)).map(|(h, _)| *h).collect();
        if of_peer.len() > HINTS_PER_PEER_MAX {
            self.remove_source(&of_peer[0], &from);
        }
    }

    /// A neighbour is gone: so are its claims and the pull from it.
    pub(super) fn forget(&mut self, peer: &DeviceId) {
        self.pulling.retain(|_, (from, _)| from != peer);
        for sources in self.hints.values_mut() {
            sources.remove(peer);
        }
        self.hints.retain(|_, sources| !sources.is_empty());
    }

    /// Gives the neighbour that the body came from. Hints that lied about its rank are refused.
    pub(super) fn verified(&mut self, hint: &Hint) -> Option<DeviceId> {
        let source = self.pulling.remove(&hint.digest).map(|(from, _)| from);
        self.hints.remove(hint);
        let lies: Vec<Hint> = self.hints.keys().filter(|h| h.digest == hint.digest).copied().collect();
        lies.into_iter().for_each(|lie| self.refuse_sources(&lie));
        source
    }

    /// The body does not hold: the hints of the neighbour that gave it are not believed again.
    pub(super) fn refused(&mut self, digest: &Digest) -> impl Iterator<Item = Hint> + use<> {
        let from = self.pulling.remove(digest).map(|(from, _)| from);
        let hints: Vec<Hint> = self.hints.keys().filter(|h| h.digest == *digest).copied().collect();
        for (hint, from) in hints.iter().zip(from.iter().cycle()) {
            self.remove_source(hint, from);
            self.remember_refused(from.clone(), *hint);
        }
        hints.into_iter()
    }

    /// The pull gave nothing: its source waits, others go first.
    pub(super) fn failed(&mut self, digest: &Digest, now: Timestamp) {
        let Some((from, _)) = self.pulling.remove(digest) else { return };
        let hints: Vec<Hint> = self.hints.keys().filter(|h| h.digest == *digest).copied().collect();
        for hint in hints {
            let Some(source) = self.hints.get_mut(&hint).and_then(|s| s.get_mut(&from)) else { continue };
            source.tries += 1;
            source.not_before = now.after(Duration::from_millis(RETRY_MS << (source.tries - 1)));
            if source.tries >= TRIES_MAX {
                self.remove_source(&hint, &from);
            }
        }
    }

    /// Fails the pulls that take too long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let late: Vec<Digest> = self.pulling.iter().filter(|(_, (_, by))| *by <= now).map(|(d, _)| *d).collect();
        late.iter().for_each(|digest| self.failed(digest, now));
    }

    /// Everything below `rank` is not worth a pull any more.
    pub(super) fn drop_older(&mut self, rank: (u64, u64)) {
        self.hints.retain(|hint, _| hint.rank() >= rank);
    }

    /// The pulls to begin now, highest rank first.
    pub(super) fn pulls(&mut self, now: Timestamp, draw: &mut Draw) -> Vec<Pull> {
        let mut begun = Vec::new();
        for (hint, sources) in self.hints.iter().rev() {
            if self.pulling.len() >= PULLS_MAX {
                break;
            }
            if self.pulling.contains_key(&hint.digest) {
                continue;
            }
            let busy = |peer: &DeviceId| self.pulling.values().any(|(from, _)| from == peer);
            let ready = sources.iter().filter(|(peer, s)| s.not_before <= now && !busy(peer));
            let ready: Vec<_> = ready.map(|(peer, s)| (s.tries, peer)).collect();
            let Some(fewest) = ready.iter().map(|(tries, _)| *tries).min() else { continue };
            let best: Vec<_> = ready.into_iter().filter(|(tries, _)| *tries == fewest).collect();
            let from = best[draw.below(best.len())].1.clone();
            self.pulling.insert(hint.digest, (from.clone(), now.after(Duration::from_millis(PULL_MS_MAX))));
            begun.push((from, hint.digest, hint.length));
        }
        begun
    }

    /// When a pull is late or a source may be tried again.
    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        let late = self.pulling.values().map(|(_, by)| *by);
        let full = self.pulling.len() >= PULLS_MAX;
        let waiting = self.hints.iter().filter(|(h, _)| !full && !self.pulling.contains_key(&h.digest));
        let busy = |peer: &DeviceId| self.pulling.values().any(|(from, _)| from == peer);
        let retry = waiting.flat_map(|(_, s)| s.iter()).filter(|(p, _)| !busy(p)).map(|(_, s)| s.not_before);
        late.chain(retry).min()
    }

    fn refuse_sources(&mut self, hint: &Hint) {
        let sources = self.hints.remove(hint).unwrap_or_default();
        sources.into_keys().for_each(|peer| self.remember_refused(peer, *hint));
    }

    fn remember_refused(&mut self, peer: DeviceId, hint: Hint) {
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((peer, hint));
    }

    fn remove_source(&mut self, hint: &Hint, peer: &DeviceId) {
        if let Some(sources) = self.hints.get_mut(hint) {
            sources.remove(peer);
            if sources.is_empty() {
                self.hints.remove(hint);
            }
        }
    }
}
