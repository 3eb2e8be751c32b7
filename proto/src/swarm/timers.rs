//! What happens by itself: updates, retries, renewals, and what is given up.

use super::Swarm;
use super::limits::{RENEWALS_MISSED_LOST_MAX, RENEWALS_MISSED_MAX, STALL, TICK};
use super::table::{Known, Table, TableKey};
use super::{Failure, TransferId};
use crate::{DeviceId, Timestamp};

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// An update may go out.
    Update,
    /// Views had time to agree: central may be asked.
    Settled,
    /// A neighbour may be asked again.
    Retry,
    /// The slow conditions: leases, renewals, takeovers, stalls, expiry.
    Tick,
}

impl Timer {
    const ALL: [Timer; 4] = [Timer::Update, Timer::Settled, Timer::Retry, Timer::Tick];
}

impl Swarm {
    /// When [`Input::Wakeup`](super::Input::Wakeup) is due; none while all that is needed is here and nothing changes.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.wakeup
    }

    pub(super) fn plan_wakeup(&mut self) {
        self.wakeup = Timer::ALL.into_iter().filter_map(|timer| self.due_at(timer)).min();
    }

    fn due_at(&self, timer: Timer) -> Option<Timestamp> {
        let later = |at: &Timestamp| *at > self.now;
        match timer {
            Timer::Update => self.neighbours.values().filter_map(|n| n.update_at()).min(),
            Timer::Settled => {
                let wanted = self.tables.values().filter(|t| t.local.is_some() && t.is_active());
                wanted.map(|t| self.settled_at(t)).filter(later).min()
            }
            Timer::Retry if self.tables.values().any(|t| t.local.is_some() && t.is_active()) => {
                self.neighbours.values().map(|n| n.ready_at()).filter(later).min()
            }
            Timer::Retry => None,
            Timer::Tick => self.tick_at,
        }
    }

    pub(super) fn run_timers(&mut self, now: Timestamp) {
        if self.tick_at.is_some_and(|at| at <= now) {
            self.tick(now);
            (self.changed, self.ticked) = (true, true);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.fail_stalled(now);
        self.refresh_origin(now);
        let keys: Vec<TableKey> = self.tables.keys().copied().collect();
        for key in keys {
            self.expire_silent(key, now);
            self.renew_lease(key, now);
            self.renew_status(key, now);
            if let Some(table) = self.tables.get_mut(&key) {
                table.look_for_the_stuck(now);
            }
            self.leave_the_late(key, now);
            self.leave_central_to_the_fast(key, now);
            self.seek_company(key, now);
            self.open_jobs(key, now);
        }
    }

    /// Notes in which tables somebody lacks something; only for these there are ticks.
    pub(super) fn note_activity(&mut self, now: Timestamp) {
        for table in self.tables.values_mut() {
            if !table.is_active() {
                table.active_since = None;
            } else if table.active_since.is_none() {
                table.active_since = Some(now);
                table.renew_at = now.after(self.random.up_to(table.renewal()));
            }
        }
        let active = !self.transfers.live.is_empty() || self.tables.values().any(|t| t.active_since.is_some());
        self.tick_at = match self.tick_at {
            _ if !active => None,
            Some(at) if at > now => Some(at),
            _ => Some(now.after(TICK)),
        };
    }

    fn fail_stalled(&mut self, now: Timestamp) {
        let stalled: Vec<TransferId> = self.transfers.select(|t| now.since(t.moved_at) >= STALL);
        for id in stalled {
            self.give_up(id, Failure::Stalled, now);
        }
    }

    /// While somebody lacks something, those who say nothing for long are taken for gone.
    fn expire_silent(&mut self, key: TableKey, now: Timestamp) {
        let Some(table) = self.tables.get(&key) else { return };
        let Some(since) = table.active_since else { return };
        let silent = table.peers.values().filter(|known| table.is_silent(known, since, now));
        let silent: Vec<DeviceId> = silent.map(|known| known.status.peer.clone()).collect();
        for peer in silent {
            self.forget_peer(key, &peer, now);
        }
    }

    fn renew_status(&mut self, key: TableKey, now: Timestamp) {
        let Some(table) = self.tables.get_mut(&key) else { return };
        if table.active_since.is_none() || table.local.is_none() || now < table.renew_at {
            return;
        }
        table.renew_at = now.after(table.renewal());
        self.bump(key, now);
    }
}

impl Table {
    fn is_silent(&self, known: &Known, since: Timestamp, now: Timestamp) -> bool {
        let missed = if known.lost { RENEWALS_MISSED_LOST_MAX } else { RENEWALS_MISSED_MAX };
        now >= known.heard_at.max(since).after(self.renewal() * missed)
    }
}
