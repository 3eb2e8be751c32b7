//! When central gives nothing of a manifest: what each learns from the others, so that the fleet backs off together.
//!
//! Who gets nothing says so in its status and waits longer each time; the next in line takes over at once, as it may be that one's
//! own trouble. Once as many have failed as are elected, the rest hold back: only these try again, and from time to time one more,
//! in case it is their trouble after all. A piece that anybody gets ends it for all. Nobody is believed that it no longer fails:
//! only pieces count, as they do when a status came through a peer that does not know the word.

use super::backoff::Backoff;
use super::election::fetchers;
use super::limits::{
    CENTRAL_AWAY, CENTRAL_AWAY_LATER, CENTRAL_AWAY_STEPS, CROWD_MAX, LATE_FAILURES, MISSING_IN_A_ROW_MAX, RUN_TIME,
    SLOW_PIECES, UNREACHABLE,
};
use super::table::{Table, TableKey};
use super::transfers::{Source, Transfer};
use super::{Failure, Swarm};
use crate::wire::transfer::PeerStatus;
use crate::{DeviceId, Timestamp};
use std::time::Duration;

/// What is known of central's part in a manifest.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When somebody was last heard to fail.
    failed_at: Option<Timestamp>,
    /// When central last gave a piece to anybody.
    answered_at: Option<Timestamp>,
    /// How many pieces others got from it.
    pub(super) given: u64,
    /// When we last failed ourselves, unless central has given anybody a piece since.
    own_at: Option<Timestamp>,
    /// Since when we hold back.
    held_since: Option<Timestamp>,
    /// How many runs it did not have, since it last gave us a piece.
    pub(super) missing: u32,
    /// Pause after it did not have several in a row.
    pub(super) lacking: Backoff,
}

/// What a status says of central that the one before did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Fails,
    /// So many pieces that were claimed are there.
    Gave(u64),
}

impl Swarm {
    /// Takes note of what a peer's newer status says of central.
    pub(super) fn hear_of_central(&mut self, key: TableKey, word: Option<Word>, now: Timestamp) {
        let Some(outage) = self.tables.get_mut(&key).map(|table| &mut table.outage) else { return };
        match word {
            Some(Word::Fails) => outage.failed_at = Some(now),
            Some(Word::Gave(pieces)) => {
                outage.answered_at = Some(now);
                outage.given += pieces;
                // What is ours alone goes on, but no longer than that would.
                if let Some(own_at) = outage.own_at.take() {
                    let latest = own_at.after(UNREACHABLE.1 + UNREACHABLE.1 / 4);
                    outage.lacking.until = outage.lacking.until.min(latest);
                    self.unreachable.until = self.unreachable.until.min(latest);
                    self.refresh_origin(now);
                }
            }
            None => {}
        }
    }

    /// Central gave us a piece of this manifest.
    pub(super) fn central_answered(&mut self, key: TableKey, now: Timestamp) {
        let failed = self.unreachable.failures > 0;
        self.unreachable.succeed();
        for (other, Table { outage, .. }) in &mut self.tables {
            if *other == key {
                (outage.answered_at, outage.missing, outage.own_at) = (Some(now), 0, None);
                outage.lacking.succeed();
            } else if failed && outage.lacking.failures == 0 {
                outage.own_at = None;
            }
        }
        self.refresh_origin(now);
    }

    /// Central could not be reached, or broke off.
    pub(super) fn central_failed(&mut self, now: Timestamp) {
        let wanted = || self.tables.values().filter(|table| table.local.is_some());
        let crowd = wanted().map(Table::crowd).max().unwrap_or(0);
        self.unreachable.fail_in(crowd, now, &mut self.random);
        for table in self.tables.values_mut().filter(|table| table.local.is_some()) {
            table.outage.fail(now);
        }
        self.refresh_origin(now);
    }

    /// Who gets no piece while others get many leaves it to them: its port or its way is slow, or became so.
    pub(super) fn leave_central_to_the_fast(&mut self, key: TableKey, now: Timestamp) {
        let Some(given) = self.tables.get(&key).map(|table| table.outage.given) else { return };
        let slow = |t: &Transfer| {
            let others = given.saturating_sub(t.given_at);
            t.source == Source::Origin && t.key == key && now.since(t.piece_at) >= 2 * RUN_TIME && others >= SLOW_PIECES
        };
        for id in self.transfers.select(slow) {
            self.give_up(id, Failure::Local, now);
        }
    }

    /// We cannot take what central gives: nobody else needs to heed it.
    pub(super) fn cannot_take(&mut self, now: Timestamp) {
        self.unreachable.fail_in(0, now, &mut self.random);
        self.refresh_origin(now);
    }

    /// Central lacks a run, as it may one or two that come later; if it is more, this manifest waits.
    pub(super) fn central_lacks_a_run(&mut self, key: TableKey, now: Timestamp) {
        let Some(table) = self.tables.get_mut(&key) else { return };
        let crowd = table.crowd();
        let outage = &mut table.outage;
        outage.missing += 1;
        if outage.missing >= MISSING_IN_A_ROW_MAX {
            outage.lacking.fail_in(crowd, now, &mut self.random);
            outage.fail(now);
            self.refresh_origin(now);
        }
    }

    /// Whether others failed, and are to try again before we do.
    pub(super) fn holds_back(&mut self, key: TableKey, now: Timestamp) -> bool {
        let Some(table) = self.tables.get_mut(&key) else { return false };
        if table.outage.own_at.is_some() || table.crowd() == 0 {
            table.outage.held_since = None;
            return false;
        }
        let since = *table.outage.held_since.get_or_insert(now);
        now < since.after(table.patience_with_central(&self.me))
    }
}

impl Outage {
    /// We got nothing.
    fn fail(&mut self, now: Timestamp) {
        (self.own_at, self.failed_at) = (Some(now), Some(now));
    }

    /// Whether we got nothing when we last asked, and nobody has got anything since.
    pub(super) fn is_ours(&self) -> bool {
        self.own_at.is_some()
    }
}

impl Backoff {
    /// One more failure, while `crowd` times as many others fail as are elected.
    fn fail_in(&mut self, crowd: u32, now: Timestamp, random: &mut crate::draw::Draw) {
        if self.failures == 0 && crowd > 0 {
            // Those before us have waited their short pauses.
            self.failures = LATE_FAILURES;
        }
        self.fail((UNREACHABLE.0, UNREACHABLE.1 * crowd.clamp(1, CROWD_MAX)), now, random);
    }
}

impl Table {
    /// How many others get nothing from central.
    pub(super) fn failing(&self) -> usize {
        self.peers.values().filter(|known| known.status.failing).count()
    }

    /// How many would be elected if all could fetch that fail.
    fn fetchers(&self, failing: usize) -> usize {
        let kept_away = self.peers.values().filter(|known| known.status.failing && !known.status.origin).count();
        fetchers((self.ranking.len() + kept_away).max(failing))
    }

    /// How many times as many others fail as are elected; 0 when central gave somebody a piece since.
    fn crowd(&self) -> u32 {
        if self.outage.failed_at <= self.outage.answered_at {
            return 0;
        }
        let failing = self.failing();
        u32::try_from(failing / self.fetchers(failing).max(1)).unwrap_or(u32::MAX)
    }

    /// How long one that holds back leaves the trying to those that fail, and to others before it: one more tries at a time.
    fn patience_with_central(&self, me: &DeviceId) -> Duration {
        let place = |peer: &DeviceId| self.ranking.place_unelected(peer).map(|rank| rank.place);
        let mine = place(me).unwrap_or(0);
        let is_before = |peer: &DeviceId| place(peer).is_some_and(|place| place < mine);
        let before = self.peers.values().filter(|known| known.status.failing && is_before(&known.status.peer)).count();
        let failing = self.failing();
        let joined = failing.saturating_sub(self.fetchers(failing));
        let turn = mine.saturating_sub(before as u32) + joined as u32;
        let soon = turn.min(CENTRAL_AWAY_STEPS);
        CENTRAL_AWAY * (1 + soon) + CENTRAL_AWAY_LATER * (turn - soon)
    }
}

impl Word {
    /// What is new in the `new` status.
    pub(super) fn of(old: Option<&PeerStatus>, new: &PeerStatus) -> Option<Self> {
        let claimed = old.filter(|old| !old.claims.is_empty());
        let got = |old: &PeerStatus| new.have.iter_minus(&old.have).filter(|piece| old.claims.get(*piece)).count();
        match claimed.map_or(0, got) {
            0 => (new.failing && !old.is_some_and(|old| old.failing)).then_some(Word::Fails),
            pieces => Some(Word::Gave(pieces as u64)),
        }
    }
}
