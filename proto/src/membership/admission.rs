//! Who becomes a neighbour, and how one stops to be.

use super::limits::{ACCEPTED_MAX, DIALED_MAX, POSTPONE_FULL, POSTPONE_LOST, SETTLED};
use super::{Close, ConnectionId, Effect, Membership, Refusal, Source, up_to};
use crate::{DeviceId, Timestamp};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

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
    connection: ConnectionId,
    pub(super) dialed: bool,
    since: Timestamp,
    pub(super) address: SocketAddr,
    /// We have closed it; its end is still to come.
    is_closing: bool,
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
            if dialed {
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
        if of_kind >= if dialed { DIALED_MAX } else { ACCEPTED_MAX } {
            let others = self.book.share(device, &mut self.draw);
            return self.effects.push_back(refuse(Close::Full(others)));
        }
        self.join(arrival, now);
    }

    fn join(&mut self, arrival: Arrival, now: Timestamp) {
        let Arrival { connection, device, address, dialed } = arrival;
        self.book.proved(address, &device, now);
        let others = self.book.share(&device, &mut self.draw);
        self.neighbours.insert(device, Neighbour { connection, dialed, since: now, address, is_closing: false });
        self.effects.push_back(Effect::Join { connection, others });
    }

    pub(super) fn ended(&mut self, connection: ConnectionId, now: Timestamp) {
        let ended = self.neighbours.iter().find(|(_, n)| n.connection == connection);
        let Some((device, address)) = ended.map(|(device, n)| (device.clone(), n.address)) else { return };
        self.neighbours.remove(&device);
        let slack = up_to(Duration::from_secs(1), &mut self.draw);
        self.book.postpone(address, now.after(POSTPONE_LOST + slack));
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
