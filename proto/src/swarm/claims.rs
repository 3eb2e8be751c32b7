//! What this peer fetches from central, and when it must leave that to others.
//!
//! Never "not found nearby, so go to central": the owner of a run goes at once, everybody else only after the
//! owner and all before it in the line have held no lease for a while. Who is slow claims as little as comes soon, and leaves a
//! claim when others get much while it gets nothing: what it has not come to is fetched by those of the elected who are done with their own.

use super::Swarm;
use super::limits::{
    LEASE, LEASE_RENEW, NEIGHBOUR_FAILURES_MAX, ORIGIN_TRANSFERS_ALONE_MAX, ORIGIN_TRANSFERS_MAX, RUN_TIME, SETTLE,
    SETTLE_ALONE, SETTLE_MAX, SLOW, TAKEOVER, TAKEOVER_STEP,
};
use super::local::Local;
use super::table::{Known, Own, Table, TableKey};
use super::transfers::{Source, Transfer};
use super::{Effect, Failure, TransferId};
use crate::{DeviceId, Timestamp};
use std::ops::Range;

/// The time that views are given to agree before a new claim.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settle {
    since: Timestamp,
    pub(super) until: Timestamp,
    /// When the first neighbour was last met.
    met: Option<Timestamp>,
}

impl Settle {
    /// Something new was learnt of: wait for the rest of the news, but not for ever.
    pub(super) fn extend(&mut self, now: Timestamp) {
        if now > self.until {
            let rested = now.since(self.until) >= self.until.since(self.since) || self.until == Timestamp::ZERO;
            if !rested {
                return;
            }
            self.since = now;
        }
        self.until = now.after(SETTLE).min(self.since.after(SETTLE_MAX));
    }

    /// We are new among the others: what they claimed may still be on its way to us.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if self.until < now.after(SETTLE) {
            (self.since, self.until) = (now, now.after(SETTLE));
        }
    }

    /// The first neighbour was met. One that comes and goes makes us begin anew only so often.
    pub(super) fn meet(&mut self, now: Timestamp) {
        if self.met.is_some_and(|met| now.since(met) < SETTLE_ALONE) {
            return self.extend(now);
        }
        self.met = Some(now);
        self.begin(now);
    }
}

/// Who can be relied on, at one moment.
struct View<'a> {
    own: &'a Own,
    holders: Vec<&'a Known>,
    failing: Vec<&'a Known>,
    last_lease: Timestamp,
}

/// A piece of work at central: a place in the line, a run's index and the pieces to ask for.
pub(super) struct Job {
    place: u32,
    run: u32,
    pieces: Range<u32>,
    /// Its owner is there and has not come to it yet.
    lent: bool,
}

impl Job {
    /// The first is done first. What others have not come to is taken from the end, so that two seldom meet.
    fn order(&self) -> (bool, u32, u32) {
        (self.lent, self.place, if self.lent { u32::MAX - self.run } else { self.run })
    }
}

impl Swarm {
    /// Starts what this peer may fetch from central now.
    pub(super) fn plan_origin(&mut self, key: TableKey, now: Timestamp) {
        self.give_way(key, now);
        while let Some(job) = self.next_job(key, now) {
            self.start_origin(key, &job, now);
        }
    }

    /// When central may be asked: views have settled, and who has no neighbour has looked for one.
    pub(super) fn settled_at(&self, table: &Table) -> Timestamp {
        let alone = self.alone_since.filter(|_| self.neighbours.is_empty());
        table.settle.until.max(alone.map_or(Timestamp::ZERO, |since| since.after(SETTLE_ALONE)))
    }

    /// The job that is first in line, if there is one and a request is free for it.
    fn next_job(&mut self, key: TableKey, now: Timestamp) -> Option<Job> {
        let table = self.tables.get(&key)?;
        let slots = if table.ranking.len() == 1 { ORIGIN_TRANSFERS_ALONE_MAX } else { ORIGIN_TRANSFERS_MAX };
        if now < self.settled_at(table) || self.transfers.origin_count() >= slots {
            return None;
        }
        // Who is not elected only ever takes over, and for that it looks at each tick.
        if !self.ticked && !table.ranking.is_elected(&self.me) {
            return None;
        }
        if self.holds_back(key, now) {
            return None;
        }
        let mut jobs = self.open_jobs(key, now);
        let missing = self.tables.get(&key)?.outage.missing;
        let job = match jobs.len() {
            // What comes next may be missing for the same reason.
            2.. if missing > 0 => jobs.swap_remove(self.random.below(jobs.len())),
            _ => jobs.into_iter().min_by_key(Job::order)?,
        };
        let pieces = self.as_many_as_come_soon(self.tables.get(&key)?.local.as_ref()?, &job);
        Some(Job { pieces, ..job })
    }

    /// Of a job's pieces those that central gives within [`RUN_TIME`], at least one.
    fn as_many_as_come_soon(&self, local: &Local, job: &Job) -> Range<u32> {
        let Range { mut start, mut end } = job.pieces;
        let bytes_max = soon(self.origin_bytes_per_s);
        let mut bytes: u64 = (start..end).map(|piece| local.length(piece)).sum();
        while bytes > bytes_max && end - start > 1 {
            let dropped = if job.lent { start } else { end - 1 };
            (start, end) = if job.lent { (start + 1, end) } else { (start, end - 1) };
            bytes -= local.length(dropped);
        }
        start..end
    }

    /// All runs of which this peer may fetch something now; notes since when runs are open.
    pub(super) fn open_jobs(&mut self, key: TableKey, now: Timestamp) -> Vec<Job> {
        let Some(mut local) = self.tables.get_mut(&key).and_then(|t| t.local.take()) else { return Vec::new() };
        let jobs = match self.tables.get(&key) {
            Some(table) if table.own.as_ref().is_some_and(|own| own.origin) => self.find_jobs(table, &mut local, now),
            _ => Vec::new(),
        };
        if let Some(table) = self.tables.get_mut(&key) {
            table.local = Some(local);
        }
        jobs
    }

    fn find_jobs(&self, table: &Table, local: &mut Local, now: Timestamp) -> Vec<Job> {
        let Some(view) = self.view(table, now) else { return Vec::new() };
        let elected = table.ranking.is_elected(&self.me);
        let unelected = if elected { None } else { table.ranking.place_unelected(&self.me) };
        let (mut jobs, mut lent) = (Vec::new(), Vec::new());
        let mut has_own = false;
        for run in 0..local.runs.len() {
            let Some(pieces) = view.open_stretch(local, local.runs[run].clone()) else {
                local.open_since[run] = None;
                continue;
            };
            let since = table.elected_at.max(*local.open_since[run].get_or_insert(now));
            let waits = local.missing.get(&(run as u32)).is_some_and(|backoff| !backoff.is_over(now));
            let mut slow = false;
            let (place, quiet) = match unelected {
                Some(rank) => (rank.place, view.last_lease),
                None => {
                    let mut line = table.ranking.line(local.runs[run].start);
                    line.truncate(line.iter().position(|peer| **peer == self.me).unwrap_or(line.len()));
                    slow = view.all_are_slow(table, &line, now);
                    (line.len() as u32, view.quiet_since(table, &line))
                }
            };
            let (takes_over, run) = (TAKEOVER + TAKEOVER_STEP * place, run as u32);
            if waits {
                continue;
            }
            has_own |= place == 0;
            if place == 0 || now >= since.max(quiet).after(takes_over) {
                jobs.push(Job { place, run, pieces, lent: false });
            } else if slow && now >= since.after(takes_over) {
                lent.push(Job { place, run, pieces, lent: true });
            }
        }
        // Who is done with its own helps those that are not, so that nobody waits for a slow one.
        if !has_own {
            jobs.append(&mut lent);
        }
        jobs
    }

    fn view<'a>(&self, table: &'a Table, now: Timestamp) -> Option<View<'a>> {
        let failing =
            |peer: &DeviceId| self.neighbours.get(peer).is_some_and(|n| n.failing.failures >= NEIGHBOUR_FAILURES_MAX);
        let known = || table.peers.values();
        Some(View {
            own: table.own.as_ref()?,
            holders: known().filter(|k| k.holds_lease(now)).collect(),
            failing: known().filter(|k| k.near && failing(&k.status.peer)).collect(),
            last_lease: known().map(Known::last_lease).max().unwrap_or_default(),
        })
    }

    fn start_origin(&mut self, key: TableKey, job: &Job, now: Timestamp) {
        let Some(table) = self.tables.get_mut(&key) else { return };
        let (Some(local), Some(own)) = (&mut table.local, &mut table.own) else { return };
        for piece in job.pieces.clone() {
            local.in_flight.set(piece);
            own.claims.set(piece);
        }
        // Whoever failed before proves itself by bytes first, so that nobody waits for it.
        if self.unreachable.failures == 0 && table.outage.lacking.failures == 0 {
            own.lease_until = now.after(LEASE);
        }
        own.moved = false;
        let bytes = job.pieces.clone().map(|piece| local.length(piece)).sum();
        let (left, given_at) = (job.pieces.clone().collect(), table.outage.given);
        let source = Source::Origin;
        let transfer =
            self.transfers.start(Transfer { key, source, left, bytes, moved_at: now, piece_at: now, given_at });
        let (first, count) = (job.pieces.start, job.pieces.len() as u32);
        self.effects.push_back(Effect::FetchFromOrigin { transfer, manifest: key.manifest, first, count });
        self.bump(key, now);
    }

    /// Of two that fetch the same piece, the one later in the line stops, or the one that gets no bytes.
    fn give_way(&mut self, key: TableKey, now: Timestamp) {
        for id in self.transfers.select(|t| t.key == key && t.source == Source::Origin) {
            if !self.must_give_way(key, id, now) {
                continue;
            }
            if self.transfers.live.get(&id).is_some_and(|t| now.since(t.moved_at) >= LEASE) {
                self.give_up(id, Failure::Stalled, now);
            } else {
                self.abort(id, now);
            }
        }
    }

    fn must_give_way(&self, key: TableKey, id: TransferId, now: Timestamp) -> bool {
        let (Some(transfer), Some(table)) = (self.transfers.live.get(&id), self.tables.get(&key)) else { return false };
        let (Some(local), Some(own), Some(first)) = (&table.local, &table.own, transfer.left.first()) else {
            return false;
        };
        let run = local.runs[local.run_of(*first) as usize].start;
        let mine = table.ranking.rank(run, &self.me);
        let rivals = table.peers.values().filter(|k| k.holds_lease(now));
        rivals.filter(|k| transfer.left.iter().any(|piece| k.status.claims.get(*piece))).any(|rival| {
            let theirs = table.ranking.rank(run, &rival.status.peer);
            now >= own.lease_until || mine.is_none() || theirs.is_some_and(|theirs| Some(theirs) < mine)
        })
    }

    /// Bytes from central: a lease that ran out holds again.
    pub(super) fn revive_lease(&mut self, key: TableKey, now: Timestamp) {
        let Some(own) = self.tables.get_mut(&key).and_then(|t| t.own.as_mut()) else { return };
        own.moved = true;
        if own.lease_until <= now && !own.claims.is_empty() {
            own.lease_until = now.after(LEASE);
            self.bump(key, now);
        }
    }

    /// Renews the lease if bytes moved since it was last renewed.
    pub(super) fn renew_lease(&mut self, key: TableKey, now: Timestamp) {
        let Some(own) = self.tables.get_mut(&key).and_then(|t| t.own.as_mut()) else { return };
        if own.claims.is_empty() || !own.moved || own.lease_until.since(now) > LEASE_RENEW {
            return;
        }
        own.moved = false;
        own.lease_until = now.after(LEASE);
        self.bump(key, now);
    }

    /// Tells all who look for fetchers whether this one can fetch right now.
    pub(super) fn refresh_origin(&mut self, now: Timestamp) {
        let can = self.origin && self.weight > 0 && self.unreachable.is_over(now);
        let says = |t: &Table| match &t.local {
            Some(_) => (can && t.outage.lacking.is_over(now), t.outage.is_ours()),
            None => (false, false),
        };
        let changed = |t: &Table| t.own.as_ref().is_some_and(|own| (own.origin, own.failing) != says(t));
        let keys: Vec<TableKey> = self.tables.iter().filter(|(_, t)| changed(t)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(table) = self.tables.get_mut(&key) else { continue };
            let (can, failing) = says(table);
            table.rank(&key.manifest, &self.me, if can { self.weight } else { 0 }, now);
            if let Some(own) = &mut table.own {
                if can && !own.origin {
                    table.settle.begin(now);
                }
                (own.origin, own.failing) = (can, failing);
            }
            self.bump(key, now);
        }
    }
}

/// Bytes that come within [`RUN_TIME`] at a rate in bytes a second.
pub(super) fn soon(rate: u64) -> u64 {
    rate.saturating_mul(RUN_TIME.as_secs())
}

impl View<'_> {
    /// The first pieces of `run` that somebody needs, nobody has and nobody fetches.
    fn open_stretch(&self, local: &Local, run: Range<u32>) -> Option<Range<u32>> {
        let first = run.clone().find(|piece| self.is_open(local, *piece))?;
        let last = (first..run.end).find(|piece| !self.is_open(local, *piece)).unwrap_or(run.end);
        Some(first..last)
    }

    fn is_open(&self, local: &Local, piece: u32) -> bool {
        let count = local.counts[piece as usize];
        let needed = self.own.need.get(piece) || count.need > 0;
        if !needed || self.own.have.get(piece) || local.in_flight.get(piece) {
            return false;
        }
        let failing = self.failing.iter().filter(|k| k.offers(piece)).count() as u32;
        let to_be_had = count.near > failing || (count.far > 0 && !local.doubtful.get(piece));
        !to_be_had && !self.holders.iter().any(|k| k.status.claims.get(piece))
    }

    /// None of those before us in the line has got a piece for a while.
    fn all_are_slow(&self, table: &Table, before: &[&DeviceId], now: Timestamp) -> bool {
        let mut known = before.iter().filter_map(|peer| table.peers.get(peer));
        known.all(|peer| now.since(peer.progress_at) >= SLOW)
    }

    /// Since when none of those before us in the line has held a lease.
    fn quiet_since(&self, table: &Table, before: &[&DeviceId]) -> Timestamp {
        let known = before.iter().filter_map(|peer| table.peers.get(peer));
        known.map(Known::last_lease).max().unwrap_or_default()
    }
}
