//! Company: others that want the same manifest.
//!
//! Neighbours are chosen without regard to what they want. Of a release for a part of the fleet, none of them may have
//! a piece, while who has one is known by its status, but is no neighbour that could be asked. So whoever lacks pieces and
//! has little company asks membership to dial one of these, where their neighbours say that they are.

use super::limits::{COMPANY_WANTED, SEEK, SOUGHT_MAX};
use super::table::{Known, Table, TableKey, lacks};
use super::{Effect, Swarm};
use crate::{DeviceId, Timestamp};
use std::net::SocketAddr;

impl Swarm {
    /// Asks for more company if we lack pieces and have too little.
    pub(super) fn seek_company(&mut self, key: TableKey, now: Timestamp) {
        let Some(table) = self.tables.get_mut(&key).filter(|table| table.lacks_company(now)) else { return };
        table.seek_at = now.after(SEEK);
        let company = table.company().map(|known| known.status.peer.clone()).collect();
        let far = table.peers.values().filter(|known| !known.near && known.takes_part());
        let found = far.filter_map(|known| Some((known.status.peer.clone(), known.status.address?)));
        let mut peers: Vec<(DeviceId, SocketAddr)> = found.collect();
        let sought = peers.len().min(SOUGHT_MAX);
        for place in 0..sought {
            let drawn = self.random.below(peers.len() - place);
            peers.swap(place, place + drawn);
        }
        peers.truncate(sought);
        if !peers.is_empty() {
            self.effects.push_back(Effect::Seek { peers, company });
        }
    }
}

impl Table {
    fn lacks_company(&self, now: Timestamp) -> bool {
        let needs = self.local.is_some() && self.own.as_ref().is_some_and(|own| lacks(&own.need, &own.have));
        needs && now >= self.seek_at && self.company().take(COMPANY_WANTED).count() < COMPANY_WANTED
    }

    /// Neighbours that take part.
    fn company(&self) -> impl Iterator<Item = &Known> {
        self.peers.values().filter(|known| known.near && known.takes_part())
    }
}

impl Known {
    /// Whether it wants the manifest, or has something of it.
    fn takes_part(&self) -> bool {
        !self.status.need.is_empty() || !self.status.have.is_empty()
    }
}
