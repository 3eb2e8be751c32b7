//! When and whom to dial, and when discovery runs.

use super::limits::{
    BEACONS, DIALED_MAX, DIALS_MAX, DISCOVERED_ENOUGH, DISCOVERY_MIN, NEIGHBOURS_WANTED, ROUND, SHUFFLE, SHUFFLED_MAX,
};
use super::{Effect, Membership, book, up_to};
use crate::{DeviceId, Timestamp};
use std::net::SocketAddr;

impl Membership {
    /// How many more neighbours there could be if all dials under way came to something.
    fn lacking(&self) -> usize {
        NEIGHBOURS_WANTED.saturating_sub(self.neighbours.len() + self.dialing.len())
    }

    /// How many more dials there may be.
    fn room(&self) -> usize {
        let dialed = self.neighbours.values().filter(|n| n.dialed).count() + self.dialing.len();
        DIALED_MAX.saturating_sub(dialed).min(DIALS_MAX.saturating_sub(self.dialing.len()))
    }

    pub(super) fn dial_some(&mut self, now: Timestamp) {
        if now >= self.timers.round {
            self.dials_left = DIALS_MAX;
        }
        let mut wanted = self.lacking().min(self.dials_left);
        if now >= self.timers.shuffle {
            self.timers.shuffle = now.after(SHUFFLE * 3 / 4 + up_to(SHUFFLE / 2, &mut self.draw));
            let total = self.neighbours.len() + self.dialing.len();
            wanted = wanted.max(usize::from(total < SHUFFLED_MAX));
        }
        for _ in 0..wanted.min(self.room()) {
            let Some(address) = self.choose(now) else { return };
            self.dial(address, now);
        }
    }

    fn dial(&mut self, address: SocketAddr, now: Timestamp) {
        if now >= self.timers.round {
            self.timers.round = now.after(ROUND + up_to(2 * ROUND, &mut self.draw));
        }
        self.dials_left = self.dials_left.saturating_sub(1);
        self.dialing.insert(address, now);
        self.effects.push_back(Effect::Dial { address });
    }

    /// An address to dial.
    fn choose(&mut self, now: Timestamp) -> Option<SocketAddr> {
        let drawn = [self.draw.below(usize::MAX), self.draw.below(usize::MAX)];
        let taken = |address: &SocketAddr, device: Option<&DeviceId>| self.is_taken(address, device, now);
        let due = self.book.dialable(&taken).filter(|(_, _, not_before)| *not_before <= now);
        book::choose(due.map(|(address, source, _)| (address, source)), drawn)
    }

    /// Whether there is nothing to dial for: a neighbour, a dial under way, a ban.
    fn is_taken(&self, address: &SocketAddr, device: Option<&DeviceId>, now: Timestamp) -> bool {
        let has = |device: &DeviceId| self.neighbours.contains_key(device) || self.is_banned(device, now);
        self.dialing.contains_key(address)
            || device.is_some_and(has)
            || self.neighbours.values().any(|n| n.address == *address)
    }

    /// Discovery runs while few neighbours are there, and always on beacons.
    pub(super) fn look_around(&mut self, now: Timestamp) {
        if now < self.timers.discovery || !self.should_turn() {
            return;
        }
        self.timers.discovery = now.after(DISCOVERY_MIN);
        self.discovers = self.discovers.map(|on| !on);
        self.effects.extend(self.discovers.map(Effect::Discover));
    }

    /// Whether discovery runs and should not, or the other way round.
    fn should_turn(&self) -> bool {
        let wanted = || self.neighbours.len() < DISCOVERED_ENOUGH || self.is_beacon();
        self.discovers.is_some_and(|on| on != wanted())
    }

    /// Of the members that it knows, fewer have lower ids than there are beacons.
    fn is_beacon(&self) -> bool {
        !self.book.knows_lower(BEACONS)
    }

    /// When something is to be done by itself.
    pub(super) fn due(&self, now: Timestamp) -> Timestamp {
        let save = self.book.changed.then_some(self.timers.save);
        let turn = self.should_turn().then_some(self.timers.discovery);
        let taken = |address: &SocketAddr, device: Option<&DeviceId>| self.is_taken(address, device, now);
        let dial = (self.lacking().min(self.room()) > 0).then(|| self.book.dialable(&taken).map(|(_, _, at)| at).min());
        let dial = dial.flatten().map(|at| if self.dials_left > 0 { at } else { at.max(self.timers.round) });
        [save, turn, dial].into_iter().flatten().fold(self.timers.shuffle, Timestamp::min)
    }
}
