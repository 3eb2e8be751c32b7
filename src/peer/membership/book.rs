//! The address book: where members might be reached, what was tried, and what outlives a restart.

use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::transfer::{KnownPeer, PEERS_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The most addresses that never proved a member; a new one takes the place of the most tried.
pub(super) const UNPROVEN_MAX: usize = 128;
/// The most addresses of proven members; the longest unseen gives way.
pub(super) const PROVEN_MAX: usize = 256;
/// Tries after which an address that never proved a member is dropped.
const TRIES_MAX: u32 = 6;
/// The longest wait between two tries.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// The same for addresses that failed [`TRIES_MAX`] times.
const BACK_OFF_LONG: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
struct Entry {
    /// Who was proven there, or is said to be there.
    device: Option<DeviceId>,
    proven: bool,
    /// From the configuration: never dropped.
    configured: bool,
    tries: u32,
    not_before: Instant,
    seen: Instant,
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
    pub(super) fn new(me: DeviceId, configured: &[SocketAddr], now: Instant) -> Self {
        let mut book = Book { me, entries: BTreeMap::new(), changed: false };
        for address in configured {
            book.hear(*address, None, now);
            book.entries.entry(*address).and_modify(|e| e.configured = true);
        }
        book
    }

    /// Somebody may be there.
    pub(super) fn hear(&mut self, address: SocketAddr, device: Option<DeviceId>, now: Instant) {
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.device = entry.device.take().or(device);
            return;
        }
        let unproven = self.entries.iter().filter(|(_, e)| !e.proven && !e.configured);
        if unproven.clone().count() >= UNPROVEN_MAX
            && let Some(most_tried) = unproven.max_by_key(|(_, e)| e.tries).map(|(a, _)| *a)
        {
            self.entries.remove(&most_tried);
        }
        let entry = Entry { device, proven: false, configured: false, tries: 0, not_before: now, seen: now };
        self.entries.insert(address, entry);
    }

    /// `device` is reached there, and so nowhere else.
    pub(super) fn proved(&mut self, address: SocketAddr, device: &DeviceId, now: Instant) {
        if address.port() == 0 {
            return;
        }
        self.entries.retain(|a, e| *a == address || e.configured || e.device.as_ref() != Some(device));
        let proven = self.entries.iter().filter(|(_, e)| e.proven && !e.configured);
        if proven.clone().count() >= PROVEN_MAX
            && let Some(oldest) = proven.min_by_key(|(_, e)| e.seen).map(|(a, _)| *a)
        {
            self.entries.remove(&oldest);
        }
        let configured = self.entries.get(&address).is_some_and(|e| e.configured);
        let entry =
            Entry { device: Some(device.clone()), proven: true, configured, tries: 0, not_before: now, seen: now };
        let before = self.entries.insert(address, entry);
        self.changed |= before.is_none_or(|b| !b.proven || b.device.as_ref() != Some(device));
    }

    /// Nobody was proven there, this time.
    pub(super) fn failed(&mut self, address: SocketAddr, jitter: u32, now: Instant) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.tries += 1;
        if entry.tries >= TRIES_MAX && !entry.proven && !entry.configured {
            self.entries.remove(&address);
            return;
        }
        let longest = if entry.tries >= TRIES_MAX && !entry.configured { BACK_OFF_LONG } else { BACK_OFF_MAX };
        let wait = Duration::from_secs(1 << entry.tries.min(9)).min(longest);
        entry.not_before = now + wait.mul_f64(0.5 + f64::from(jitter % 1000) / 1000.0);
    }

    /// Not to be dialed for a while, for a reason that is nobody's fault.
    pub(super) fn postpone(&mut self, address: SocketAddr, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.not_before = until;
        }
    }

    /// Our own address was found.
    pub(super) fn is_me(&mut self, address: SocketAddr) {
        let me = self.me.clone();
        self.entries.entry(address).and_modify(|e| e.device = Some(me));
    }

    /// Addresses that may be dialed now: not those of `connected` devices or `busy` addresses.
    pub(super) fn dialable(
        &self,
        connected: &dyn Fn(&DeviceId) -> bool,
        busy: &BTreeSet<SocketAddr>,
        now: Instant,
    ) -> Vec<SocketAddr> {
        let free = |e: &Entry| e.device.as_ref().is_none_or(|d| *d != self.me && !connected(d));
        let due = self.entries.iter().filter(|(a, e)| e.not_before <= now && !busy.contains(a) && free(e));
        due.map(|(address, _)| *address).collect()
    }

    /// Proven members by id, without `but`, for another member; at most [`PEERS_MAX`], beginning at a drawn place.
    pub(super) fn share(&self, but: &DeviceId, draw: usize) -> Vec<KnownPeer> {
        let others: Vec<KnownPeer> = self.known().into_iter().filter(|p| p.device != *but).collect();
        let start = if others.is_empty() { 0 } else { draw % others.len() };
        others.iter().cycle().skip(start).take(others.len().min(PEERS_MAX)).cloned().collect()
    }

    /// All proven members.
    pub(super) fn known(&self) -> Vec<KnownPeer> {
        let proven = self.entries.iter().filter(|(_, e)| e.proven);
        let known = proven.filter_map(|(address, e)| {
            let device = e.device.clone().filter(|d| *d != self.me)?;
            Some(KnownPeer { device, address: address.to_string() })
        });
        known.collect()
    }

    /// Those that a restart begins with.
    pub(super) fn restore(&mut self, peers: Vec<KnownPeer>, now: Instant) {
        for peer in peers.into_iter().take(PROVEN_MAX) {
            if let Ok(address) = peer.address.parse() {
                self.hear(address, Some(peer.device), now);
            }
        }
        self.changed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> DeviceId {
        format!("d{n}").parse().unwrap()
    }

    fn address(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250 + 1) as u8], 4000))
    }

    fn dialable(book: &Book, now: Instant) -> usize {
        book.dialable(&|_| false, &BTreeSet::new(), now).len()
    }

    #[test]
    fn ten_thousand_false_records_displace_no_proven_or_configured_member() {
        let now = Instant::now();
        let mut book = Book::new(id(0), &[address(0)], now);
        book.proved(address(1), &id(1), now);
        (100..10_100).for_each(|n| book.hear(address(n), None, now));
        assert_eq!(book.entries.len(), UNPROVEN_MAX + 2);
        assert!(book.entries.contains_key(&address(0)));
        assert_eq!(book.known().len(), 1);
    }

    #[test]
    fn a_dead_address_is_tried_ever_more_rarely_and_dropped_when_it_never_was_a_member() {
        let start = Instant::now();
        let (mut book, mut now) = (Book::new(id(0), &[address(1)], start), start);
        book.hear(address(2), None, start);
        book.proved(address(3), &id(3), start);
        for _ in 0..TRIES_MAX {
            assert_eq!(dialable(&book, now), 3);
            (1..=3).for_each(|n| book.failed(address(n), 7, now));
            assert_eq!(dialable(&book, now), 0);
            now += BACK_OFF_MAX * 2;
        }
        assert!(!book.entries.contains_key(&address(2)));
        assert_eq!(dialable(&book, now + BACK_OFF_LONG), 2);
    }

    #[test]
    fn connected_devices_and_ourselves_are_not_dialed() {
        let now = Instant::now();
        let mut book = Book::new(id(0), &[], now);
        (1..=3).for_each(|n| book.hear(address(n), Some(id(n)), now));
        book.is_me(address(2));
        let busy = BTreeSet::from([address(3)]);
        assert!(book.dialable(&|d| *d == id(1), &busy, now).is_empty());
        assert_eq!(book.dialable(&|_| false, &busy, now), [address(1)]);
    }

    #[test]
    fn a_device_that_moved_is_known_by_its_new_address_only() {
        let now = Instant::now();
        let mut book = Book::new(id(0), &[], now);
        book.proved(address(1), &id(1), now);
        book.proved(address(2), &id(1), now);
        assert_eq!(book.known(), [KnownPeer { device: id(1), address: address(2).to_string() }]);
        assert!(book.share(&id(1), 5).is_empty());
        (10..40).for_each(|n| book.proved(address(n), &id(n), now));
        assert_eq!(book.share(&id(1), 1 << 40).len(), PEERS_MAX);
        let mut later = Book::new(id(0), &[], now);
        later.restore(book.known(), now);
        assert_eq!(dialable(&later, now), 31);
    }
}
