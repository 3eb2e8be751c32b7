//! When central gives nothing: what each learns from the others, so that the fleet backs off together.
//!
//! Who gets nothing says so in its status and waits longer each time; the next in line takes over at once, as it may be that one's
//! own trouble. Once as many have failed as are elected, the rest hold back: only these try again, more seldom the more they
//! are, and from time to time one more, in case it is their trouble after all. A piece that anybody gets ends it for all.

use super::Swarm;
use super::election::fetchers;
use super::limits::{CENTRAL_AWAY, LATE_FAILURES, MISSING_IN_A_ROW_MAX, UNREACHABLE, UNREACHABLE_RETRY};
use super::table::Table;
use crate::Timestamp;
use crate::wire::transfer::PeerStatus;

/// What is known of central.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When somebody last failed who had not before.
    failed_at: Timestamp,
    /// When it last gave a piece to anybody.
    answered_at: Timestamp,
    /// When we last failed ourselves.
    own_at: Timestamp,
    /// How many runs it did not have, since it last gave us a piece.
    missing: u32,
}

/// What a status says of central that the one before did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Fails,
    FailsNoMore,
    /// A piece that was claimed is there.
    Gave,
}

impl Swarm {
    /// Takes note of what a peer's newer status says of central.
    pub(super) fn hear_of_central(&mut self, word: Option<Word>, now: Timestamp) {
        match word {
            Some(Word::Fails) => self.outage.failed_at = now,
            Some(Word::FailsNoMore) => self.central_is_back(now),
            Some(Word::Gave) => self.outage.answered_at = now,
            None => {}
        }
    }

    /// Another got something again, or took its word back: we try soon, if it is our turn.
    fn central_is_back(&mut self, now: Timestamp) {
        self.outage.answered_at = now;
        if self.unreachable.failures > 0 {
            self.unreachable.failures = 0;
            // Whoever plays with its word does not make us try more often.
            self.unreachable.until = self.unreachable.until.min(now.max(self.outage.own_at.after(UNREACHABLE_RETRY)));
            self.refresh_origin(now);
        }
    }

    /// Central gave us a piece.
    pub(super) fn central_answered(&mut self, now: Timestamp) {
        (self.outage.answered_at, self.outage.missing) = (now, 0);
        if self.unreachable.failures > 0 {
            self.unreachable.succeed();
            self.refresh_origin(now);
        }
    }

    /// Central gave us nothing.
    pub(super) fn central_failed(&mut self, now: Timestamp) {
        self.outage.own_at = now;
        let crowd = self.tables.values().filter(|table| table.local.is_some()).map(Table::crowd).max().unwrap_or(0);
        if self.unreachable.failures == 0 {
            self.outage.failed_at = now;
            // Those before us have waited their short pauses.
            self.unreachable.failures = if crowd > 0 { LATE_FAILURES } else { 0 };
        }
        let longest = UNREACHABLE.1.saturating_mul(crowd.max(1));
        self.unreachable.fail((UNREACHABLE.0, longest), now, &mut self.random);
        self.refresh_origin(now);
    }

    /// Central lacks a run, as it may one or two that come later; if it is more, it is as good as away.
    pub(super) fn central_lacks_a_run(&mut self, now: Timestamp) {
        self.outage.missing += 1;
        if self.outage.missing >= MISSING_IN_A_ROW_MAX {
            self.central_failed(now);
        }
    }

    /// Whether others failed, and are to try again before we do.
    pub(super) fn holds_back(&self, table: &Table, now: Timestamp) -> bool {
        let outage = &self.outage;
        if self.unreachable.failures > 0 || outage.answered_at > outage.failed_at {
            return false;
        }
        let failing = table.failing();
        let place = table.ranking.place_unelected(&self.me).map_or(0, |rank| rank.place);
        let turn = outage.failed_at.after(CENTRAL_AWAY * (1 + place));
        failing > 0 && failing >= table.fetchers(failing) && now < turn
    }
}

impl Table {
    /// How many others get nothing from central.
    fn failing(&self) -> usize {
        self.peers.values().filter(|known| known.status.failing).count()
    }

    /// How many would be elected if these could fetch.
    fn fetchers(&self, failing: usize) -> usize {
        let candidates = self.ranking.len() + self.peers.values().filter(|known| known.is_kept_away()).count();
        fetchers(candidates.max(failing))
    }

    /// How many times as many others fail as would be elected.
    fn crowd(&self) -> u32 {
        let failing = self.failing();
        u32::try_from(failing / self.fetchers(failing).max(1)).unwrap_or(u32::MAX)
    }
}

impl Word {
    /// What is new in the `new` status.
    pub(super) fn of(old: Option<&PeerStatus>, new: &PeerStatus) -> Option<Self> {
        let failed = old.is_some_and(|old| old.failing);
        let got = |old: &PeerStatus| new.have.iter_minus(&old.have).any(|piece| old.claims.get(piece));
        match (failed, new.failing) {
            (false, true) => Some(Word::Fails),
            (true, false) => Some(Word::FailsNoMore),
            (false, false) => old.filter(|old| !old.claims.is_empty() && got(old)).map(|_| Word::Gave),
            (true, true) => None,
        }
    }
}
