//! What the hub does from time to time: dial, look around, judge again, remember.

use super::{DIALED_MAX, Hub, NEIGHBOURS_WANTED, draw};
use crate::identity::member_of;
use crate::peer::discovery::{Discovery, Presence};
use crate::peer::gossip;
use crate::peer::membership::{CLOSE_NOT_MEMBER, Credentials, remembered};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::PublicKey;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// With fewer neighbours than this, one more is dialed every [`SHUFFLE`] where others are known: halves of a
/// fleet that know of each other do not stay apart.
const SHUFFLED_MAX: usize = 8;
/// See [`SHUFFLED_MAX`].
pub(super) const SHUFFLE: Duration = Duration::from_secs(300);
/// Dials at a time.
const DIALS_MAX: usize = 3;
/// Neighbours with which discovery is not needed any more.
const DISCOVERED_ENOUGH: usize = 3;
/// Members with the lowest ids that can always be discovered.
const BEACONS: usize = 3;
/// Discovery is neither started nor stopped more often.
const DISCOVERY_MIN: Duration = Duration::from_secs(30);
/// How often certificates are judged again.
pub(super) const RECHECK: Duration = Duration::from_secs(60);
/// How often known members are written down, if they changed.
pub(super) const SAVE: Duration = Duration::from_secs(5);

impl Hub {
    /// Closes connections whose certificate does not hold any more.
    pub(super) fn recheck(&mut self) {
        let Credentials { trust, clock, .. } = &self.credentials;
        for (device, neighbour) in &self.neighbours {
            if let Err(error) = member_of(neighbour.connection.peer_identity(), trust, clock) {
                tracing::warn!(peer = %device, %error, "no member any more");
                neighbour.connection.close(CLOSE_NOT_MEMBER, b"not a member any more");
            }
        }
    }

    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.recheck_at {
            self.recheck_at = now + RECHECK;
            self.recheck();
        }
        if now >= self.save_at && self.book.changed {
            self.save_at = now + SAVE;
            self.save();
        }
        self.look_around(now);
        self.dial_some(now);
    }

    fn dial_some(&mut self, now: Instant) {
        let dialed = self.neighbours.values().filter(|n| n.dialed).count() + self.dialing.len();
        let total = self.neighbours.len() + self.dialing.len();
        let mut room = NEIGHBOURS_WANTED.saturating_sub(total);
        if now >= self.shuffle_at {
            self.shuffle_at = now + SHUFFLE.mul_f64(0.75 + f64::from(draw() % 500) / 1000.0);
            room = room.max(usize::from(total < SHUFFLED_MAX));
        }
        room = room.min(DIALED_MAX.saturating_sub(dialed)).min(DIALS_MAX.saturating_sub(self.dialing.len()));
        if room == 0 {
            return;
        }
        let busy: BTreeSet<SocketAddr> =
            self.neighbours.values().map(|n| n.address).chain(self.dialing.clone()).collect();
        let taken = |d: &DeviceId| self.neighbours.contains_key(d) || self.shared.is_banned(d);
        let mut addresses = self.book.dialable(&taken, &busy, now);
        for _ in 0..room.min(addresses.len()) {
            let address = addresses.swap_remove(draw() as usize % addresses.len());
            self.dial(address);
        }
    }

    /// Discovery runs while few neighbours are there, and always on beacons.
    fn look_around(&mut self, now: Instant) {
        if !self.settings.discovery || now < self.discovery_at {
            return;
        }
        let wanted = self.neighbours.len() < DISCOVERED_ENOUGH || self.is_beacon();
        if wanted == self.discovery.is_some() {
            return;
        }
        self.discovery_at = now + DISCOVERY_MIN;
        if !wanted {
            tracing::debug!("discovery rests");
            self.discovery = None;
            return;
        }
        let Some(peer) = gossip::peer_id(&PublicKey::of(&self.credentials.identity.key)) else {
            return;
        };
        let fleet = self.credentials.identity.fleet.clone();
        let presence =
            Presence { fleet, peer, listen: self.endpoint.local, interfaces: self.settings.interfaces.clone() };
        match Discovery::start(&presence, self.found.clone()) {
            Ok(discovery) => self.discovery = Some(discovery),
            Err(error) => tracing::warn!(%error, "members on the same link are not found"),
        }
    }

    fn is_beacon(&self) -> bool {
        let known = self.book.known();
        let lower: BTreeSet<&DeviceId> = known.iter().map(|p| &p.device).filter(|d| **d < self.me).collect();
        lower.len() < BEACONS
    }

    pub(super) fn save(&mut self) {
        if !self.book.changed {
            return;
        }
        self.book.changed = false;
        if let Err(error) = remembered::save(&self.settings.cache, &self.book.known()) {
            tracing::warn!(%error, cache = %self.settings.cache.display(), "peers not remembered");
        }
    }
}
