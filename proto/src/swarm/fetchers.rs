//! How many peers share the uplink, so that each can take its part of what the whole site may take of central.

use super::Swarm;
use super::limits::{FETCHERS_COUNTED_MAX, LEASE_BYTES_PER_S_MIN};
use super::table::Known;
use crate::{DeviceId, Timestamp};

impl Swarm {
    /// How many peers fetch from central, by what was last heard of them: those whose claims hold, of whatever manifest, and
    /// this one, whether it does or is about to. From 1 to [`FETCHERS_COUNTED_MAX`].
    ///
    /// One that died counts until its lease ends; one that has begun, from when its status is here.
    pub fn fetchers(&self) -> usize {
        let known = self.tables.values().flat_map(|table| table.peers.values());
        let mut others: Vec<&DeviceId> = Vec::new();
        for peer in known.filter(|known| known.fetches(self.now)).map(|known| &known.status.peer) {
            if others.len() + 1 == FETCHERS_COUNTED_MAX {
                break;
            }
            if !others.contains(&peer) {
                others.push(peer);
            }
        }
        1 + others.len()
    }

    /// Tells that the site gives itself no more than so many bytes a second at some times: claims of long pieces are believed
    /// for as long as these then take, also when the fetchers are as many as are counted.
    pub fn set_least_budget(&mut self, bytes_per_s: u64) {
        self.slowest = (bytes_per_s / FETCHERS_COUNTED_MAX as u64).clamp(1, LEASE_BYTES_PER_S_MIN);
    }
}

impl Known {
    fn fetches(&self, now: Timestamp) -> bool {
        self.holds_lease(now) && !self.status.claims.is_empty()
    }
}
