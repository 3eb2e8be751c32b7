//! What neighbours offer and is missing here, and which pulls are under way.

use crate::draw::Draw;
use crate::wire::transfer::StockItem;
use crate::{DeviceId, Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The most pulls at a time.
pub(super) const PULLS_MAX: usize = 8;
/// The most pulls at a time from one neighbour.
pub(super) const PULLS_PER_PEER_MAX: usize = 4;
/// The most offers of one neighbour that wait; more are ignored until they are made again.
pub(super) const OFFERS_PER_PEER_MAX: usize = 4096;
/// The most tries with one source.
pub(super) const TRIES_MAX: u32 = 5;
/// Milliseconds after which another source is tried.
pub(super) const PULL_MS_MAX: u64 = 10_000;
/// Milliseconds before a source is tried again; doubles with every failure.
const RETRY_MS: u64 = 1_000;
/// The most refused offers that are remembered; the oldest gives way.
pub(super) const REFUSED_MAX: usize = 256;

#[derive(Debug)]
struct Want {
    item: StockItem,
    /// Tries so far and when the next may begin, by neighbour.
    sources: BTreeMap<DeviceId, (u32, Timestamp)>,
}

#[derive(Debug, Default)]
pub(super) struct Wants {
    wants: BTreeMap<Digest, Want>,
    /// How many wants name each neighbour.
    offers: BTreeMap<DeviceId, usize>,
    /// Source and deadline.
    pulling: BTreeMap<Digest, (DeviceId, Timestamp)>,
    refused: VecDeque<(DeviceId, Digest)>,
    /// What is wanted of each device, by counter.
    of_devices: BTreeMap<DeviceId, BTreeSet<(u64, Digest)>>,
}

impl Wants {
    /// A neighbour has an item that is missing here.
    pub(super) fn offer(&mut self, from: &DeviceId, item: StockItem, now: Timestamp) {
        let offers = self.offers.entry(from.clone()).or_default();
        let refused = self.refused.iter().any(|(peer, digest)| peer == from && *digest == item.digest);
        if refused || *offers >= OFFERS_PER_PEER_MAX {
            return;
        }
        let of_devices = &mut self.of_devices;
        let want = self.wants.entry(item.digest).or_insert_with(|| {
            of_devices.entry(item.device.clone()).or_default().insert((item.counter, item.digest));
            Want { item, sources: BTreeMap::new() }
        });
        if !want.sources.contains_key(from) {
            want.sources.insert(from.clone(), (0, now));
            *offers += 1;
        }
    }

    /// A neighbour is gone, with its offers and the pulls from it.
    pub(super) fn forget(&mut self, peer: &DeviceId) {
        self.pulling.retain(|_, (from, _)| from != peer);
        let digests: Vec<Digest> = self.wants.keys().copied().collect();
        digests.iter().for_each(|digest| self.remove_source(digest, peer));
        self.offers.remove(peer);
    }

    /// The body is here: the want ends, and offers that lied about it are not believed again. Gives the
    /// neighbour that it came from.
    pub(super) fn take(&mut self, item: &StockItem) -> Option<DeviceId> {
        let lied = self.wants.get(&item.digest).filter(|want| want.item != *item);
        let liars: Vec<DeviceId> = lied.map(|w| w.sources.keys().cloned().collect()).unwrap_or_default();
        liars.into_iter().for_each(|peer| self.remember_refused(peer, item.digest));
        self.remove_want(&item.digest);
        self.pulling.remove(&item.digest).map(|(from, _)| from)
    }

    /// A receipt came: reports up to it are not wanted any more.
    pub(super) fn settle(&mut self, device: &DeviceId, counter: u64) {
        let wanted = self.of_devices.get(device).into_iter().flatten();
        let digests: Vec<Digest> = wanted.take_while(|(at, _)| *at <= counter).map(|(_, digest)| *digest).collect();
        digests.iter().for_each(|digest| self.remove_want(digest));
    }

    /// The body does not hold: not pulled from this neighbour again.
    pub(super) fn refused(&mut self, digest: &Digest) {
        let Some((from, _)) = self.pulling.remove(digest) else { return };
        self.remove_source(digest, &from);
        self.remember_refused(from, *digest);
    }

    /// The pull gave nothing: its source waits, others go first.
    pub(super) fn failed(&mut self, digest: &Digest, now: Timestamp) {
        let Some((from, _)) = self.pulling.remove(digest) else { return };
        let source = self.wants.get_mut(digest).and_then(|w| w.sources.get_mut(&from));
        let Some((tries, not_before)) = source else { return };
        *not_before = now.after(Duration::from_millis(RETRY_MS << *tries));
        *tries += 1;
        if *tries >= TRIES_MAX {
            self.remove_source(digest, &from);
        }
    }

    /// Fails the pulls that take too long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let late: Vec<Digest> = self.pulling.iter().filter(|(_, (_, by))| *by <= now).map(|(d, _)| *d).collect();
        late.iter().for_each(|digest| self.failed(digest, now));
    }

    /// The pulls to begin now: source, digest, length.
    pub(super) fn pulls(&mut self, now: Timestamp, draw: &mut Draw) -> Vec<(DeviceId, Digest, u32)> {
        let mut begun = Vec::new();
        for (digest, want) in &self.wants {
            if self.pulling.len() >= PULLS_MAX {
                break;
            }
            if self.pulling.contains_key(digest) {
                continue;
            }
            let free = |peer: &DeviceId| self.pulls_from(peer) < PULLS_PER_PEER_MAX;
            let ready = want.sources.iter().filter(|(peer, (_, not_before))| *not_before <= now && free(peer));
            let ready: Vec<_> = ready.map(|(peer, (tries, _))| (*tries, peer)).collect();
            let Some(fewest) = ready.iter().map(|(tries, _)| *tries).min() else { continue };
            let best: Vec<_> = ready.into_iter().filter(|(tries, _)| *tries == fewest).collect();
            let from = best[draw.below(best.len())].1.clone();
            self.pulling.insert(*digest, (from.clone(), now.after(Duration::from_millis(PULL_MS_MAX))));
            begun.push((from, *digest, want.item.length));
        }
        begun
    }

    /// When a pull is late or a source may be tried again.
    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        let late = self.pulling.values().map(|(_, by)| *by).min();
        if self.pulling.len() >= PULLS_MAX {
            return late;
        }
        let idle = self.wants.iter().filter(|(digest, _)| !self.pulling.contains_key(digest));
        let sources = idle.flat_map(|(_, w)| w.sources.iter());
        let retry = sources.filter(|(p, _)| self.pulls_from(p) < PULLS_PER_PEER_MAX).map(|(_, (_, at))| *at).min();
        late.into_iter().chain(retry).min()
    }

    fn remember_refused(&mut self, peer: DeviceId, digest: Digest) {
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((peer, digest));
    }

    fn pulls_from(&self, peer: &DeviceId) -> usize {
        self.pulling.values().filter(|(from, _)| from == peer).count()
    }

    fn remove_want(&mut self, digest: &Digest) {
        let Some(Want { item, sources }) = self.wants.remove(digest) else { return };
        if let Some(wanted) = self.of_devices.get_mut(&item.device) {
            wanted.remove(&(item.counter, *digest));
            if wanted.is_empty() {
                self.of_devices.remove(&item.device);
            }
        }
        for peer in sources.keys() {
            if let Some(offers) = self.offers.get_mut(peer) {
                *offers -= 1;
            }
        }
    }

    fn remove_source(&mut self, digest: &Digest, peer: &DeviceId) {
        let Some(want) = self.wants.get_mut(digest) else { return };
        if want.sources.remove(peer).is_some()
            && let Some(offers) = self.offers.get_mut(peer)
        {
            *offers -= 1;
        }
        if want.sources.is_empty() {
            self.remove_want(digest);
        }
    }
}
