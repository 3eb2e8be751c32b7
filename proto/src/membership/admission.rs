//! Who becomes a neighbour, and how one stops to be.

use super::limits::{
    ACCEPTED_MAX, DIALED_MAX, LEFT_MAX, NEIGHBOURS_ENOUGH, NEIGHBOURS_WANTED, POSTPONE_FULL, POSTPONE_LOST,
    POSTPONE_SILENT, SETTLED, SOUGHT_STAYS, STAYS_MIN,
};
use super::unanswered::Traffic;
use super::{Close, ConnectionId, Effect, Membership, Refusal, Source, up_to};
use crate::{DeviceId, Timestamp};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A proven member at the door.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) connection: ConnectionId,
    pub(super) device: DeviceId,
    pub(super) address: SocketAddr,
    pub(super) dialed: bool,
}

/// A connected neighbour.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) connection: ConnectionId,
    pub(super) dialed: bool,
    since: Timestamp,
    pub(super) address: SocketAddr,
    /// The most others that it told of at a time.
    pub(super) others: usize,
    pub(super) traffic: Traffic,
    /// Before that it is not left for another.
    pub(super) stays_until: Timestamp,
    /// We have closed it; its end is still to come.
    pub(super) is_closing: bool,
}

impl Neighbour {
    pub(super) fn close(&mut self, why: Close, effects: &mut VecDeque<Effect>) {
        if !self.is_closing {
            self.is_closing = true;
            effects.push_back(Effect::Close { connection: self.connection, why });
        }
    }
}

impl Membership {
    pub(super) fn dial_failed(&mut self, address: SocketAddr, why: Refusal, now: Timestamp) {
        self.dialing.remove(&address);
        self.seeking.failed(&address, &why, now);
        match why {
            Refusal::Full(others) => {
                self.told(others, &Source::Refuser(address.ip()), now);
                self.book.postpone(address, now.after(POSTPONE_FULL));
            }
            Refusal::Duplicate => self.book.postpone(address, now.after(SETTLED)),
            Refusal::Failed => self.book.failed(address, &mut self.draw, now),
        }
    }

    pub(super) fn proven(&mut self, arrival: Arrival, now: Timestamp) {
        let Arrival { connection, ref device, address, dialed } = arrival;
        let refuse = |why| Effect::Close { connection, why };
        let is_me = *device == self.me;
        if is_me || self.is_banned(device, now) {
            // Who dials itself hears of it as the one that was dialed.
            if dialed || is_me {
                self.book.is_at(address, device);
            }
            return self.effects.push_back(refuse(if is_me { Close::Duplicate } else { Close::Banned }));
        }
        if let Some(old) = self.neighbours.get_mut(device) {
            if !replaces(&self.me, old, &arrival, now) {
                return self.effects.push_back(refuse(Close::Duplicate));
            }
            old.close(Close::Duplicate, &mut self.effects);
            if let Some(older) = self.waiting.insert(device.clone(), arrival) {
                self.effects.push_back(Effect::Close { connection: older.connection, why: Close::Duplicate });
            }
            return;
        }
        let of_kind = self.neighbours.values().filter(|n| n.dialed == dialed).count();
        let is_full = of_kind >= if dialed { DIALED_MAX } else { ACCEPTED_MAX };
        // Now that it is proven to be there, who is sought is worth a neighbour.
        let is_sought = of_kind == DIALED_MAX && dialed && self.seeking.is_for(&address);
        if is_full && !(is_sought && self.leave_one(now)) {
            let others = self.book.share(device, &mut self.draw);
            return self.effects.push_back(refuse(Close::Full(others)));
        }
        self.join(arrival, now);
    }

    fn join(&mut self, arrival: Arrival, now: Timestamp) {
        let Arrival { connection, device, address, dialed } = arrival;
        self.book.proved(address, &device, now);
        let others = self.book.share(&device, &mut self.draw);
        let is_sought = dialed && self.seeking.is_for(&address);
        if is_sought {
            self.seeking.succeeded();
        }
        let stays_until = now.after(if is_sought { SOUGHT_STAYS } else { STAYS_MIN });
        let (others_told, traffic, is_closing) = (0, Traffic::default(), false);
        let neighbour = Neighbour {
            connection,
            dialed,
            since: now,
            address,
            others: others_told,
            traffic,
            stays_until,
            is_closing,
        };
        self.neighbours.insert(device, neighbour);
        self.effects.push_back(Effect::Join { connection, others });
        if dialed {
            (0..LEFT_MAX).for_each(|_| _ = self.leave_one(now));
        }
    }

    /// With more neighbours than enough, or as many dialed ones as may be, the dialed one that was there longest is
    /// left, so that the next shuffle has room. One that told of few others stays: we may be all that it has. Returns whether
    /// one was left.
    pub(super) fn leave_one(&mut self, now: Timestamp) -> bool {
        let spare = self.spare(now).cloned();
        let neighbour = spare.and_then(|device| self.neighbours.get_mut(&device));
        neighbour.map(|spare| spare.close(Close::Spare, &mut self.effects)).is_some()
    }

    /// Whom [`Membership::leave_one`] would leave.
    pub(super) fn spare(&self, now: Timestamp) -> Option<&DeviceId> {
        let open = self.neighbours.values().filter(|n| !n.is_closing);
        let dialed = open.clone().filter(|n| n.dialed).count();
        if open.count() <= NEIGHBOURS_ENOUGH && dialed < DIALED_MAX {
            return None;
        }
        let spare = |(_, n): &(&DeviceId, &Neighbour)| {
            n.dialed && !n.is_closing && now >= n.stays_until && n.others >= NEIGHBOURS_WANTED
        };
        self.neighbours.iter().filter(spare).min_by_key(|(_, n)| n.since).map(|(device, _)| device)
    }

    pub(super) fn ended(&mut self, connection: ConnectionId, now: Timestamp) {
        let ended = self.neighbours.iter().find(|(_, n)| n.connection == connection);
        let Some(device) = ended.map(|(device, _)| device.clone()) else { return };
        let Some(old) = self.neighbours.remove(&device) else { return };
        let wait = if old.traffic.is_silent() { POSTPONE_SILENT } else { POSTPONE_LOST };
        let until = now.after(wait + up_to(wait, &mut self.draw));
        self.book.postpone(old.address, until);
        if let Some(next) = self.waiting.remove(&device) {
            self.proven(next, now);
        }
    }
}

/// Whether a new connection takes the place of the one to the same device: always when that one has settled,
/// since nobody dials a neighbour that it still has; else both dialed at once, and the one dialed by the
/// smaller id stays.
fn replaces(me: &DeviceId, old: &Neighbour, new: &Arrival, now: Timestamp) -> bool {
    if old.is_closing || now.since(old.since) >= SETTLED {
        return true;
    }
    let by_smaller = if new.dialed { *me < new.device } else { new.device < *me };
    old.dialed != new.dialed && by_smaller
}
