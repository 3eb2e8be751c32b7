//! What announcements wish: the newest counts, nothing is merged.

use super::outbox::Cause;
use super::outbox::UNSPOOLED_ENDS_MAX;
use super::record::{Deployment, Wish};
use super::{Announced, Deploy, DeployError, Effect, Event, Ignored, NOBODY, Now, Obstacle, Row, State};
use crate::wire::announcement::Mode;
use crate::wire::report::ReportState;

impl Deploy {
    /// Follows an announcement that is newer than all before.
    pub(super) fn announced(&mut self, new: Announced, now: Now) -> Result<(), DeployError> {
        if let Some(why) = self.unfit(&new) {
            self.queue.emit(Effect::Ignored { rank: new.rank, why });
            return Ok(());
        }
        self.record.rank = Some(new.rank);
        self.queue.change();
        self.renew_or_withdraw(new.row.as_ref(), &new, now)?;
        match new.row {
            Some(row) if !self.is_known(row.action) => self.wish(row, &new, now),
            _ => Ok(()),
        }
    }

    fn unfit(&mut self, new: &Announced) -> Option<Ignored> {
        match self.record.rank {
            Some(highest) if highest == new.rank => return Some(Ignored::Known),
            Some(highest) if highest > new.rank => return Some(Ignored::Older { highest }),
            _ => {}
        }
        let ends = self.record.outbox.iter().filter(|o| o.state.is_terminal()).count();
        if ends < UNSPOOLED_ENDS_MAX {
            return None;
        }
        if self.deferred.is_none_or(|d| d.rank < new.rank) {
            self.deferred = Some(*new);
        }
        Some(Ignored::SpoolStuck)
    }

    /// Whether the action is under way, waits, or has ended.
    fn is_known(&self, action: u64) -> bool {
        let under_way = self.record.deployment.as_ref().filter(|d| !d.by_hand).map(|d| &d.wish);
        let open = under_way.into_iter().chain(&self.record.next).any(|w| w.action == action);
        open || self.record.ended.iter().any(|e| e.action == action)
    }

    /// What is under way or waits and is not in the row any more is withdrawn; else the row's terms count.
    fn renew_or_withdraw(&mut self, row: Option<&Row>, new: &Announced, now: Now) -> Result<(), DeployError> {
        let wished = |w: &Wish| row.filter(|r| r.action == w.action && r.mode != Mode::Withdraw);
        if let Some(deployment) = self.record.deployment.as_mut().filter(|d| !d.by_hand) {
            match wished(&deployment.wish) {
                Some(row) => deployment.wish.renew(row, new),
                None => self.withdraw(now)?,
            }
        }
        match self.record.next.as_mut().map(|next| (wished(next), next)) {
            Some((Some(row), next)) => next.renew(row, new),
            Some((None, _)) => self.withdraw_next(now)?,
            None => {}
        }
        Ok(())
    }

    /// A wish that was never seen before.
    fn wish(&mut self, row: Row, new: &Announced, now: Now) -> Result<(), DeployError> {
        let Row { action, bundle, mode, valid_until } = row;
        if mode != Mode::Withdraw && new.expires <= now.trusted {
            self.queue.emit(Effect::Ignored { rank: new.rank, why: Ignored::Expired });
        }
        let wish = Wish { action, bundle, mode, valid_until, expires: new.expires, seen: now.trusted };
        self.record.next = Some(wish);
        if mode == Mode::Withdraw { self.withdraw_next(now) } else { Ok(()) }
    }

    /// Drops the deployment under way if its switch is not journalled; else says that it is too late.
    fn withdraw(&mut self, now: Now) -> Result<(), DeployError> {
        if self.state.is_before_switch() {
            self.queue.emit_first(Effect::Cancel { ticket: self.ticket });
            return self.end(Event::Withdrawn, ReportState::Withdrawn, Cause::default(), now);
        }
        if self.takes_trial_back()? {
            return Ok(());
        }
        let Some(deployment) = &mut self.record.deployment else { return Ok(()) };
        if !std::mem::replace(&mut deployment.too_late, true) {
            self.remark(ReportState::TooLate, "the switch had begun; the result follows", now);
        }
        Ok(())
    }

    /// Ends a wish that was not taken up.
    fn withdraw_next(&mut self, now: Now) -> Result<(), DeployError> {
        let Some(wish) = self.record.next.take() else { return Ok(()) };
        self.report_end(&wish, ReportState::Withdrawn, Cause::default(), now);
        if self.state == State::Idle { self.go(Event::Withdrawn) } else { Ok(()) }
    }

    /// Starts on the next wish, unless its announcement expired.
    pub(super) fn take_up(&mut self, now: Now) -> Result<(), DeployError> {
        let Some(wish) = self.record.next.take_if(|w| now.trusted < w.expires) else { return Ok(()) };
        self.record.deployment = Some(Deployment::of(wish));
        // What the one before took says nothing of this one.
        (self.total, self.quarters) = (0, 0);
        self.queue.change();
        self.go(Event::TakenUp)
    }

    /// What forbids a switch on this wish now.
    pub(super) fn hindrance(&self, wish: &Wish, now: Now) -> Option<Obstacle> {
        let closed = wish.valid_until.is_some_and(|until| until <= now.trusted);
        match wish.mode {
            Mode::Stage | Mode::Withdraw => Some(Obstacle::StageOnly),
            _ if self.local.locked => Some(Obstacle::Locked),
            Mode::WhenIdle if self.local.inhibited => Some(Obstacle::Inhibited),
            _ if closed => Some(Obstacle::Closed),
            _ if wish.expires <= now.trusted => Some(Obstacle::Expired),
            Mode::WhenIdle | Mode::Now => None,
        }
    }

    /// Journals the end of the deployment under way together with its terminal report.
    pub(super) fn end(&mut self, event: Event, state: ReportState, cause: Cause, now: Now) -> Result<(), DeployError> {
        let Some((wish, by_hand)) = self.record.deployment.as_ref().map(|d| (d.wish.clone(), d.by_hand)) else {
            return Ok(());
        };
        self.state.on(event)?;
        if self.unwritten {
            // What it brought may be what fills the disk, and the record of its end needs space.
            self.queue.emit_first(self.prune(NOBODY, false));
        }
        match by_hand {
            true => self.report_by_hand(state, cause, now),
            false => self.report_end(&wish, state, cause, now),
        }
        self.record.deployment = None;
        self.go(event)
    }
}

impl Wish {
    fn renew(&mut self, row: &Row, new: &Announced) {
        self.mode = row.mode;
        self.valid_until = row.valid_until;
        self.expires = new.expires;
    }
}
