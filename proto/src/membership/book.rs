//! The address book: where members might be reached, what was tried, and what outlives a restart.

use super::limits::{
    BACK_OFF_LONG, BACK_OFF_MAX, FOUND_AGAIN, HEARD_MAX, HEARD_OF_ONE_MAX, HEARD_OF_ONE_WEIGHT, PROVEN_MAX, TRIES_MAX,
};
use crate::draw::Draw;
use crate::wire::transfer::{KnownPeer, PEERS_MAX};
use crate::{DeviceId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Why an address is in the book. Who tells of many addresses is not believed more: see [`choose`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The configuration: never dropped.
    Configured,
    /// A member was proven there in this life.
    Proven,
    /// One was in an earlier life.
    Remembered,
    /// Discovery.
    Found,
    /// The swarm, which wanted it for a neighbour.
    Sought,
    /// A neighbour.
    Neighbour(DeviceId),
    /// Who refused a dial, at this address.
    Refuser(IpAddr),
}

impl Source {
    /// Others say so, and may be wrong or lie.
    fn is_others(&self) -> bool {
        matches!(self, Source::Sought | Source::Neighbour(_) | Source::Refuser(_))
    }
}

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All.
    Any,
    /// Where nobody is known that was connected in this life.
    Unmet,
    /// Discovered since then, and nobody knows who is there.
    Stranger(Timestamp),
}

#[derive(Clone, Debug)]
struct Entry {
    /// Who was proven there, or is said to be there.
    device: Option<DeviceId>,
    /// Others said so.
    told: bool,
    source: Source,
    proven: bool,
    tries: u32,
    not_before: Timestamp,
    seen: Timestamp,
}

impl Entry {
    /// Neither proven in this life or an earlier one, nor configured.
    fn is_hearsay(&self) -> bool {
        !self.proven && !matches!(self.source, Source::Configured | Source::Remembered)
    }

    /// A member was proven there, and answered when it was last dialed.
    fn answers(&self) -> bool {
        self.proven && self.tries == 0
    }

    fn is_stranger(&self) -> bool {
        self.source == Source::Found && self.device.is_none()
    }
}

/// Bounded. Addresses are hints: whoever answers must prove who it is.
#[derive(Debug)]
pub(super) struct Book {
    me: DeviceId,
    entries: BTreeMap<SocketAddr, Entry>,
    /// Whether what would be remembered has changed.
    pub(super) changed: bool,
}

impl Book {
    pub(super) fn new(me: DeviceId) -> Self {
        Book { me, entries: BTreeMap::new(), changed: false }
    }

    /// Somebody was discovered there. What others said of who that is no longer counts. Gives whether it is a stranger:
    /// no member was ever proven there.
    pub(super) fn find(&mut self, address: SocketAddr, now: Timestamp) -> bool {
        self.hear(address, None, Source::Found, now);
        let Some(entry) = self.entries.get_mut(&address) else { return false };
        if !entry.proven && entry.source.is_others() {
            entry.source = Source::Found;
        }
        if std::mem::take(&mut entry.told) {
            entry.device = None;
        }
        entry.seen = now;
        // It is there again, whatever was tried while it was not.
        entry.not_before = entry.not_before.min(now.after(FOUND_AGAIN));
        entry.is_stranger()
    }

    /// Somebody may be there.
    pub(super) fn hear(&mut self, address: SocketAddr, device: Option<DeviceId>, source: Source, now: Timestamp) {
        if !may_be_dialed(&address) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&address) {
            if entry.device.is_none() {
                (entry.told, entry.device) = (source.is_others(), device);
            }
            if source == Source::Configured {
                entry.source = source;
            }
            return;
        }
        let told = source.is_others();
        let entry = Entry { device, told, source, proven: false, tries: 0, not_before: now, seen: now };
        if entry.is_hearsay() {
            self.make_room(&entry.source);
        }
        self.entries.insert(address, entry);
    }

    /// For one more address from `source`.
    fn make_room(&mut self, source: &Source) {
        let heard = |e: &&Entry| e.is_hearsay();
        let of_one = self.entries.values().filter(|e| e.source == *source && e.is_hearsay()).count();
        let crowded = of_one >= HEARD_OF_ONE_MAX && *source != Source::Found;
        if !crowded && self.entries.values().filter(heard).count() < HEARD_MAX {
            return;
        }
        let heard = self.entries.iter().filter(|(_, e)| e.is_hearsay() && (!crowded || e.source == *source));
        if let Some(most_tried) = heard.max_by_key(|(_, e)| e.tries).map(|(address, _)| *address) {
            self.entries.remove(&most_tried);
        }
    }

    /// `device` is reached there. Where it was before is kept as hearsay: it may have two addresses, and is not to be
    /// taken for a stranger at the other.
    pub(super) fn proved(&mut self, address: SocketAddr, device: &DeviceId, now: Timestamp) {
        if address.port() == 0 {
            return;
        }
        let configured = |e: &Entry| e.source == Source::Configured;
        let elsewhere = |(a, e): &(&SocketAddr, &Entry)| {
            **a != address && !configured(e) && e.proven && e.device.as_ref() == Some(device)
        };
        let elsewhere: Vec<SocketAddr> = self.entries.iter().filter(elsewhere).map(|(a, _)| *a).collect();
        for other in elsewhere {
            self.entries.remove(&other);
            self.hear(other, Some(device.clone()), Source::Found, now);
        }
        let before = self.entries.remove(&address);
        let proven = self.entries.iter().filter(|(_, e)| e.proven && !configured(e));
        if proven.clone().count() >= PROVEN_MAX
            && let Some(oldest) = proven.min_by_key(|(_, e)| e.seen).map(|(a, _)| *a)
        {
            self.entries.remove(&oldest);
        }
        let source = if before.as_ref().is_some_and(configured) { Source::Configured } else { Source::Proven };
        self.changed |= before.is_none_or(|b| !b.proven || b.device.as_ref() != Some(device));
        let device = Some(device.clone());
        let entry = Entry { device, told: false, source, proven: true, tries: 0, not_before: now, seen: now };
        self.entries.insert(address, entry);
    }

    /// Nobody was proven there, this time.
    pub(super) fn failed(&mut self, address: SocketAddr, draw: &mut Draw, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.tries = entry.tries.saturating_add(1);
        let configured = entry.source == Source::Configured;
        let given_up = entry.tries >= TRIES_MAX || entry.source == Source::Sought;
        if given_up && !entry.proven && !configured {
            self.changed |= entry.source == Source::Remembered;
            self.entries.remove(&address);
            return;
        }
        let longest = if entry.tries >= TRIES_MAX && !configured { BACK_OFF_LONG } else { BACK_OFF_MAX };
        let wait = Duration::from_secs(1 << entry.tries.min(9)).min(longest);
        entry.not_before = now.after(wait / 2 + wait / 1000 * draw.below(1000) as u32);
    }

    /// Not to be dialed for a while, for a reason that is nobody's fault.
    pub(super) fn postpone(&mut self, address: SocketAddr, until: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.not_before = until;
        }
    }

    /// `device` is there, but is no neighbour to have: it is banned, or ourselves.
    pub(super) fn is_at(&mut self, address: SocketAddr, device: &DeviceId) {
        self.entries.entry(address).and_modify(|e| (e.told, e.device) = (false, Some(device.clone())));
    }

    /// Who was proven at an address or is said to be there.
    pub(super) fn device_at(&self, address: &SocketAddr) -> Option<&DeviceId> {
        self.entries.get(address)?.device.as_ref()
    }

    /// Addresses of a kind whose device is not `taken`, in order, with when they may be dialed.
    pub(super) fn dialable<'a>(
        &'a self,
        kind: Kind,
        taken: &'a dyn Fn(&SocketAddr, Option<&DeviceId>) -> bool,
    ) -> impl Iterator<Item = (SocketAddr, &'a Source, Timestamp)> {
        let met: BTreeSet<&DeviceId> = match kind {
            Kind::Unmet => self.members(|e| e.proven).map(|(_, device)| device).collect(),
            _ => BTreeSet::new(),
        };
        let is_of_kind = move |e: &Entry| match kind {
            Kind::Any => true,
            Kind::Stranger(since) => e.is_stranger() && e.seen >= since,
            Kind::Unmet => !e.proven && e.device.as_ref().is_none_or(|device| !met.contains(device)),
        };
        let free = move |(address, e): &(&SocketAddr, &Entry)| {
            e.device.as_ref() != Some(&self.me) && is_of_kind(e) && !taken(address, e.device.as_ref())
        };
        self.entries.iter().filter(free).map(|(address, e)| (*address, &e.source, e.not_before))
    }

    /// Whether an address may be dialed, as far as it was tried.
    pub(super) fn is_due(&self, address: &SocketAddr, now: Timestamp) -> bool {
        may_be_dialed(address) && self.entries.get(address).is_none_or(|e| e.not_before <= now)
    }

    /// Proven members that answered when they were last dialed, without `but`, for another member; at most [`PEERS_MAX`],
    /// beginning at a drawn place.
    pub(super) fn share(&self, but: &DeviceId, draw: &mut Draw) -> Vec<KnownPeer> {
        let others = || self.members(Entry::answers).filter(|(_, device)| *device != but);
        let count = others().count();
        let drawn = others().chain(others()).skip(draw.below(count)).take(count.min(PEERS_MAX));
        drawn.map(known).collect()
    }

    /// Those that a restart begins with: proven members, then those of earlier lives.
    pub(super) fn known(&self) -> Vec<KnownPeer> {
        let earlier = self.members(|e| e.source == Source::Remembered && !e.proven);
        self.members(|e| e.proven).chain(earlier).take(PROVEN_MAX).map(known).collect()
    }

    /// Whether at least `count` members have lower ids than ours; proven ones that answered when they were last dialed, or
    /// any that we heard of.
    pub(super) fn knows_lower(&self, count: usize, hearsay: bool) -> bool {
        let mut lower: Vec<&DeviceId> = Vec::with_capacity(count);
        let known = self.members(|e| hearsay || e.answers()).map(|(_, device)| device);
        for device in known.filter(|device| **device < self.me) {
            if !lower.contains(&device) {
                lower.push(device);
            }
            if lower.len() >= count {
                return true;
            }
        }
        false
    }

    /// Others, by the entries that are `of_kind`.
    fn members(&self, of_kind: impl Fn(&Entry) -> bool) -> impl Iterator<Item = (&SocketAddr, &DeviceId)> {
        let entries = self.entries.iter().filter(move |(_, e)| of_kind(e));
        entries.filter_map(|(address, e)| Some((address, e.device.as_ref()?))).filter(|(_, device)| **device != self.me)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn holds(&self, address: &SocketAddr) -> bool {
        self.entries.contains_key(address)
    }
}

fn may_be_dialed(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn known((address, device): (&SocketAddr, &DeviceId)) -> KnownPeer {
    KnownPeer { device: device.clone(), address: address.to_string() }
}

/// One of the addresses by two drawn numbers. Members that we met count each; of what one teller said, few do.
pub(super) fn choose<'a>(
    from: impl Iterator<Item = (SocketAddr, &'a Source)>,
    drawn: [usize; 2],
) -> Option<SocketAddr> {
    let mut by_source: BTreeMap<&Source, Vec<SocketAddr>> = BTreeMap::new();
    from.for_each(|(address, source)| by_source.entry(source).or_default().push(address));
    let weight = |source: &Source, count: usize| match source {
        Source::Configured | Source::Proven | Source::Remembered => count,
        Source::Found | Source::Sought | Source::Neighbour(_) | Source::Refuser(_) => count.min(HEARD_OF_ONE_WEIGHT),
    };
    let total: usize = by_source.iter().map(|(source, all)| weight(source, all.len())).sum();
    let mut place = drawn[0] % total.max(1);
    for (source, all) in by_source {
        let weight = weight(source, all.len());
        if place < weight {
            return all.get(drawn[1] % all.len()).copied();
        }
        place -= weight;
    }
    None
}
