//! Neighbours that the swarm wants: others that take part in what we lack.
//!
//! Their addresses come with statuses, which any member can make up. So only one is dialed at a time, and after one that
//! was not there the next waits, longer each time: made-up addresses cost a dial now and then and no ordinary one.

use super::book::Source;
use super::limits::{DIALED_MAX, SEEK_BACK_OFF_MAX, SOUGHT_STAYS};
use super::{Membership, Refusal};
use crate::{DeviceId, Timestamp};
use std::net::SocketAddr;
use std::time::Duration;

/// How the search goes.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    /// What was dialed last.
    dialed: Option<SocketAddr>,
    /// How many in a row were not there.
    failures: u32,
    not_before: Timestamp,
}

impl Seeking {
    pub(super) fn is_for(&self, address: &SocketAddr) -> bool {
        self.dialed.as_ref() == Some(address)
    }

    /// Somebody was there.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A dial came to nothing.
    pub(super) fn failed(&mut self, address: &SocketAddr, why: &Refusal, now: Timestamp) {
        if self.is_for(address) && *why == Refusal::Failed {
            self.failures += 1;
            self.not_before = now.after(Duration::from_secs(1 << self.failures.min(6)).min(SEEK_BACK_OFF_MAX));
        }
    }
}

impl Membership {
    /// Dials the first of `peers` that may be dialed, though there are neighbours enough. Those of `company` are
    /// neighbours of the kind that is sought: they are not left for others.
    pub(super) fn seek(&mut self, peers: Vec<(DeviceId, SocketAddr)>, company: &[DeviceId], now: Timestamp) {
        for device in company {
            if let Some(neighbour) = self.neighbours.get_mut(device) {
                neighbour.stays_until = now.after(SOUGHT_STAYS);
            }
        }
        let is_dialing = self.seeking.dialed.is_some_and(|address| self.dialing.contains_key(&address));
        if is_dialing || now < self.seeking.not_before {
            return;
        }
        let may_be_dialed = |(device, address): &(DeviceId, SocketAddr)| {
            let known = self.book.device_at(address);
            let free = |device: Option<&DeviceId>| device != Some(&self.me) && !self.is_taken(address, device, now);
            self.book.is_due(address, now) && free(Some(device)) && free(known)
        };
        let Some((device, address)) = peers.into_iter().find(may_be_dialed) else { return };
        // It takes somebody's place once it is proven, not before: the address may be made up.
        if self.dialed() >= DIALED_MAX && self.spare(now).is_none() {
            return;
        }
        self.book.hear(address, Some(device), Source::Sought, now);
        self.seeking.dialed = Some(address);
        self.start_dial(address, now);
    }
}
