//! Central: requests cost a round trip and their headers, bytes come over the uplink.
//!
//! A run of frames is one Range request. Of plain pieces each object is one request, some at a time over connections
//! that are kept.

use super::event::{Event, Fetching, Life};
use super::node::{CentralRun, From};
use super::{Moving, World};
use crate::sim::observe::Observation;
use crate::sim::release::{PARALLEL_MAX, REQUEST_LEN};
use crate::sim::scenario::OriginMood;
use fullmetal_proto::swarm::{Failure, TransferId};
use std::ops::Range;

/// How long a dial to central without answer takes in microseconds (`central::CONNECT_MS_MAX`).
const CONNECT_MAX: u64 = 10_000_000;

impl World {
    /// A fetcher asks for pieces of a release, named by their places in that.
    pub(super) fn ask_central(&mut self, client: Life, transfer: TransferId, release: usize, places: Range<u32>) {
        let fetching = Fetching { client, transfer };
        let node = client.node;
        let (first, count) = (places.start, places.len() as u64);
        let pieces: Vec<u32> = places.map(|place| self.releases.number(release, place)).collect();
        self.trace.note(self.now, "central", &[u64::from(node), u64::from(first), count]);
        self.observe(Observation::AskedCentral { node, release, pieces: pieces.clone() });
        let framed = self.releases.is_framed();
        let mut run = CentralRun { one_request: framed, ..CentralRun::default() };
        for piece in pieces {
            let units: Vec<u64> = match self.releases.objects(piece) {
                Some(objects) => objects.to_vec(),
                None => vec![self.releases.length(piece)],
            };
            run.open.insert(piece, units.len() as u32);
            if self.node(node).cache.get(piece) {
                self.queue.put(self.now, Event::Stored { fetching, piece, good: true });
            } else {
                run.units.extend(units.into_iter().map(|bytes| (piece, bytes)));
            }
        }
        let units = run.units.len();
        self.begin_fetch(fetching, release, From::Central(run));
        self.figures.fetch_begins(node);
        let parallel = if framed { 1 } else { PARALLEL_MAX };
        (0..parallel.min(units)).for_each(|_| self.request(fetching));
    }

    /// Sends the next request of a run, if there is one.
    fn request(&mut self, fetching: Fetching) {
        let reaches = self.reaches_central(fetching.client.node);
        let trip = self.central_round_trip();
        let connect_trips = self.calibration.connect_trips;
        let Some(peer) = self.peer_of(fetching.client) else { return };
        let connecting = if peer.knows_central { 0 } else { connect_trips * trip };
        let Some(From::Central(run)) = peer.fetches.get_mut(&fetching.transfer).map(|f| &mut f.from) else { return };
        if run.next as usize >= run.units.len() {
            return;
        }
        let (unit, goes_on) = (run.next, run.one_request && run.next > 0);
        run.next += 1;
        peer.knows_central |= reaches;
        if !reaches {
            let ended = Event::Ended { fetching, why: Failure::OriginUnreachable };
            return self.queue.put(self.now.after(CONNECT_MAX), ended);
        }
        if goes_on {
            return self.central_answers(fetching, unit);
        }
        self.figures.requests += 1;
        self.queue.put(self.now.after(connecting + trip), Event::CentralAnswers { fetching, unit });
    }

    /// The answer to a request begins.
    pub(super) fn central_answers(&mut self, fetching: Fetching, unit: u32) {
        let why = match self.origin_mood {
            OriginMood::Failing => Some(Failure::OriginUnreachable),
            OriginMood::Missing => Some(Failure::OriginMissing),
            _ => None,
        };
        if let Some(why) = why {
            return self.ended(fetching, why);
        }
        let (way, now) = (self.way_from_central(fetching.client.node), self.now);
        let Some(From::Central(run)) = self.fetch(fetching).map(|f| &f.from) else { return };
        let Some((_, bytes)) = run.units.get(unit as usize).copied() else { return };
        let head = if run.one_request && unit > 0 { 0 } else { REQUEST_LEN };
        let on_wire = self.site.on_wire(bytes + head);
        let flow = self.flows.start(way, on_wire, self.moving.next(), now);
        self.moving.put(Moving::FromCentral { fetching, unit });
        if let Some(From::Central(run)) = self.fetch(fetching).map(|f| &mut f.from) {
            run.flows.insert(unit, flow);
        }
    }

    /// All bytes of an answer, or of its next frame, are there.
    pub(super) fn central_sent(&mut self, fetching: Fetching, unit: u32) {
        let good = self.origin_mood != OriginMood::Corrupt;
        let Some(fetch) = self.fetch(fetching) else { return };
        let From::Central(run) = &mut fetch.from else { return };
        run.flows.remove(&unit);
        let Some((piece, bytes)) = run.units.get(unit as usize).copied() else { return };
        fetch.moved_before += bytes;
        let open = run.open.entry(piece).or_insert(1);
        *open -= 1;
        let whole = *open == 0;
        if whole {
            self.arrived(fetching, piece, good);
        }
        self.request(fetching);
    }
}
