//! When and whom to dial, and when discovery runs.

use super::book::{self, Kind};
use super::limits::{
    BEACONS, DIAL_SLOW, DIALED_MAX, DIALS_MAX, DISCOVERED_ENOUGH, DISCOVERY_AGAIN, DISCOVERY_AGAIN_FEW, DISCOVERY_MIN,
    NEIGHBOURS_WANTED, ROUND, SHUFFLE, STRANGER,
};
use super::{Effect, Membership, up_to};
use crate::{DeviceId, Timestamp};
use std::net::SocketAddr;

impl Membership {
    /// When each dial that still has time for its answer becomes slow.
    fn fresh(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.dialing.values().map(|since| since.after(DIAL_SLOW)).filter(move |slow| *slow > now)
    }

    /// How many more neighbours are wanted if all fresh dials come to something.
    fn lacking(&self, now: Timestamp) -> usize {
        NEIGHBOURS_WANTED.saturating_sub(self.neighbours.len() + self.fresh(now).count())
    }

    /// How many neighbours were dialed by us and stay.
    pub(super) fn dialed(&self) -> usize {
        self.neighbours.values().filter(|n| n.dialed && !n.is_closing).count()
    }

    /// How many more dials there may be, though all came to something.
    fn room(&self, now: Timestamp) -> usize {
        DIALED_MAX
            .saturating_sub(self.dialed() + self.dialing.len())
            .min(DIALS_MAX.saturating_sub(self.fresh(now).count()))
    }

    pub(super) fn found(&mut self, address: SocketAddr, now: Timestamp) {
        let is_stranger = self.book.find(address, now) && now >= self.grown_up_at;
        if is_stranger && self.timers.stranger.is_none() {
            self.timers.stranger = Some(now.after(STRANGER + up_to(STRANGER, &mut self.draw)));
        }
    }

    pub(super) fn dial_some(&mut self, now: Timestamp) {
        if now >= self.timers.round {
            self.dials_left = DIALS_MAX;
        }
        self.dial_up_to(self.lacking(now).min(self.dials_left), &[Kind::Any], now);
        if now >= self.timers.shuffle {
            self.timers.shuffle = now.after(SHUFFLE * 3 / 4 + up_to(SHUFFLE / 2, &mut self.draw));
            self.tell_one();
            self.make_room(now);
            let kinds = [Kind::Unmet, Kind::Any];
            // Where nobody is met who is said to be, those that were met before have their turn, too.
            let first = self.draw.below(2);
            self.dial_up_to(1, &kinds[first..], now);
        }
        if self.timers.stranger.is_some_and(|at| now >= at) {
            let stranger = Kind::Stranger(self.grown_up_at);
            // While a fleet is young nearly all would be beacons by whom they met: hearsay is enough to leave it to others.
            let is_beacon = !self.book.knows_lower(BEACONS, true);
            if is_beacon {
                self.make_room(now);
                self.dial_up_to(1, &[stranger], now);
            }
            let more = is_beacon && self.book.dialable(stranger, &|_, _| false).next().is_some();
            self.timers.stranger = more.then(|| now.after(STRANGER + up_to(STRANGER, &mut self.draw)));
        }
    }

    /// As many dialed neighbours as may be leave no room for another.
    fn make_room(&mut self, now: Timestamp) {
        if self.room(now) == 0 {
            self.leave_one(now);
        }
    }

    /// Dials so many, of the first kind of which one may be dialed.
    fn dial_up_to(&mut self, count: usize, kinds: &[Kind], now: Timestamp) {
        for _ in 0..count.min(self.room(now)) {
            let chosen = kinds.iter().find_map(|kind| self.choose(*kind, now));
            let Some(address) = chosen else { return };
            self.dial(address, now);
        }
    }

    /// Tells a drawn neighbour of others: what a peer knows does not end at those that it met by chance.
    fn tell_one(&mut self) {
        let drawn = self.draw.below(self.neighbours.len());
        let Some((device, neighbour)) = self.neighbours.iter().nth(drawn) else { return };
        let others = self.book.share(device, &mut self.draw);
        if !others.is_empty() {
            self.effects.push_back(Effect::Tell { connection: neighbour.connection, others });
        }
    }

    fn dial(&mut self, address: SocketAddr, now: Timestamp) {
        if now >= self.timers.round {
            self.timers.round = now.after(ROUND + up_to(ROUND / 2, &mut self.draw));
        }
        self.dials_left = self.dials_left.saturating_sub(1);
        self.start_dial(address, now);
    }

    pub(super) fn start_dial(&mut self, address: SocketAddr, now: Timestamp) {
        self.dialing.insert(address, now);
        self.effects.push_back(Effect::Dial { address });
    }

    /// An address to dial.
    fn choose(&mut self, kind: Kind, now: Timestamp) -> Option<SocketAddr> {
        let drawn = [self.draw.below(usize::MAX), self.draw.below(usize::MAX)];
        let taken = |address: &SocketAddr, device: Option<&DeviceId>| self.is_taken(address, device, now);
        let due = self.book.dialable(kind, &taken).filter(|(_, _, not_before)| *not_before <= now);
        book::choose(due.map(|(address, source, _)| (address, source)), drawn)
    }

    /// Whether there is nothing to dial for: a neighbour, a dial under way, a ban.
    pub(super) fn is_taken(&self, address: &SocketAddr, device: Option<&DeviceId>, now: Timestamp) -> bool {
        let has = |device: &DeviceId| self.neighbours.contains_key(device) || self.is_banned(device, now);
        self.dialing.contains_key(address)
            || device.is_some_and(has)
            || self.neighbours.values().any(|n| n.address == *address)
    }

    /// Discovery runs while few neighbours are there, and always on beacons.
    pub(super) fn look_around(&mut self, now: Timestamp) {
        let Some((_, on)) = self.next_turn().filter(|(at, _)| *at <= now) else { return };
        (self.discovers, self.timers.asks_since) = (Some(on), now);
        self.timers.discovery = now.after(DISCOVERY_MIN);
        self.effects.push_back(Effect::Discover(on));
    }

    /// When discovery is to be started, anew or at all, or stopped.
    fn next_turn(&self) -> Option<(Timestamp, bool)> {
        let few = self.neighbours.len() < DISCOVERED_ENOUGH;
        let wanted = few || self.is_beacon();
        match self.discovers? {
            on if on != wanted => Some((self.timers.discovery, wanted)),
            true => {
                let again = if few { DISCOVERY_AGAIN_FEW } else { DISCOVERY_AGAIN };
                Some((self.timers.asks_since.after(again), true))
            }
            false => None,
        }
    }

    /// Of the members that it knows, fewer have lower ids than there are beacons.
    fn is_beacon(&self) -> bool {
        !self.book.knows_lower(BEACONS, false)
    }

    /// When something is to be done by itself.
    pub(super) fn due(&self, now: Timestamp) -> Timestamp {
        let save = self.book.changed.then_some(self.timers.save);
        let turn = self.next_turn().map(|(at, _)| at);
        let taken = |address: &SocketAddr, device: Option<&DeviceId>| self.is_taken(address, device, now);
        let dial = (self.lacking(now).min(self.room(now)) > 0)
            .then(|| self.book.dialable(Kind::Any, &taken).map(|(_, _, at)| at).min());
        let dial = dial.flatten().map(|at| if self.dials_left > 0 { at } else { at.max(self.timers.round) });
        let slow = if self.neighbours.len() < NEIGHBOURS_WANTED { self.fresh(now).min() } else { None };
        [save, turn, dial, slow, self.timers.stranger].into_iter().flatten().fold(self.timers.shuffle, Timestamp::min)
    }
}
