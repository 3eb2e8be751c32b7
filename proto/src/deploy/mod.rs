//! Stage, switch, probation, keep or roll back: one device's deployments, without any input or output.
//!
//! [`Deploy`] decides, the agent's adapter acts. Inputs: [`Deploy::handle`], then a drain of
//! [`Deploy::poll`]. Queries: [`Deploy::state`], [`Deploy::record`], [`Deploy::obstacle`],
//! [`Deploy::fetched_of`], [`Deploy::manifests`], [`Deploy::next_wakeup`]. The states and moves are [`state::TABLE`].
//!
//! What holds, whatever happens and whenever the power goes:
//! - A switch begins only after its record is durable; an effect never overtakes the record it relies on.
//! - A deployment ends with all its parts new and what it removes gone, or all of them as they were.
//! - Local root may bring an app's previous version back, see [`Comeback`]: no action begins or ends with it.
//! - Each action that was taken note of gets exactly one terminal report: the record that ends a deployment
//!   holds the report with its counter, and it is given out again until the spool has it.

mod by_hand;
mod effect;
mod error;
mod foreign_unit;
mod input;
pub mod order;
mod os;
mod outbox;
mod probation;
mod pruning;
mod queue;
mod record;
mod staging;
mod start;
pub mod state;
mod switching;
mod system;
#[cfg(test)]
mod tests;
mod trial;
mod wishes;

pub use by_hand::{Comeback, NoComeback};
pub use effect::{Effect, Ignored, Move};
pub use error::{DeployError, Obstacle};
pub use foreign_unit::{FOREIGN_UNIT_LEN_MAX, ForeignUnit, ForeignUnitError};
pub use input::{AppEvent, Candidate, Input, Local, Now, Row, Ticket};
pub use os::{BootId, Counted, Entry, LastBoot, NewOs, OsStep, OsView, StagedOs};
pub use outbox::{Cause, Ended, Outgoing};
pub use record::{
    App, Deployment, Installed, NewPart, Phase, RECORD_LEN_MAX, RECORD_VERSION, Record, RecordError, System, Wish,
};
pub use state::{Event, Illegal, State};
pub use trial::{REBOOT_MAX, UNWRITTEN_MAX};

use crate::{Digest, Timestamp};
use probation::Watch;
use queue::Queue;
use std::time::Duration;
use trial::Runs;

/// How often a switch, and then its probation, may be interrupted before the old version comes back.
pub const RESTARTS_MAX: u8 = 2;
/// The longest probation.
pub const PROBATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Progress is reported at most this often, and then only when a further quarter is there or something is in the way.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// The first wait before failed work is tried again; each further one is twice as long.
pub const RETRY_MIN: Duration = Duration::from_secs(5);
/// The longest wait before failed work is tried again.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// How often a roll back is tried before the device goes on without the versions that cannot be brought back. With
/// the waits between them the last try comes after 75 seconds.
pub const REVERT_TRIES_MAX: u32 = 5;
/// How long after the end of a probation a health check may still be waited for that began after it.
pub const LAST_CHECK_MAX: Duration = Duration::from_secs(60);
/// The same for the checks of an operating system, each of which has a limit of its own.
pub const LAST_OS_CHECK_MAX: Duration = Duration::from_secs(2 * 3600);
/// How long a probation waits for an app that cannot be asked how it is. A bus that is started anew is back in seconds, and
/// a technician who is there in minutes; a device that never can be asked must not hold on to a deployment for ever.
pub const UNASKED_MAX: Duration = Duration::from_secs(900);

/// The ticket of work whose answer nobody waits for.
const NOBODY: Ticket = Ticket(0);

/// What the device's configuration says about deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an app is watched whose commit does not say.
    pub probation: Duration,
}

/// The deployment state machine of one device.
#[derive(Debug)]
pub struct Deploy {
    policy: Policy,
    state: State,
    record: Record,
    local: Local,
    ticket: Ticket,
    retry: Option<Retry>,
    watch: Watch,
    /// Piece bytes of the deployment before the fetch under way.
    fetched_before: (u64, u64),
    progress_from: Timestamp,
    /// Piece bytes that the deployment takes in all, and the quarters of them that were reported.
    total: u64,
    quarters: u64,
    deferred: Option<Announced>,
    /// Versions that left with an end which may not be durable: the record on the disk may bring them back.
    left: Vec<Digest>,
    queue: Queue,
    /// The operating system as it was seen last; none where OSTree deployed nothing.
    seen: Option<OsView>,
    /// What runs had no more tries when it was seen first.
    was_given_up: bool,
    /// The operating system of a trial that runs.
    runs: Runs,
    /// A reboot was asked for and not refused.
    reboots: bool,
    /// Since when the disk takes no record.
    unwritten_since: Option<Timestamp>,
    /// The disk takes no records or reports at the moment.
    unwritten: bool,
}

/// Failed work that is tried again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Option<Timestamp>,
    failures: u32,
}

/// An announcement that waits until reports are spooled.
#[derive(Clone, Copy, Debug)]
struct Announced {
    rank: (u64, u64),
    expires: Timestamp,
    row: Option<Row>,
}

impl Deploy {
    /// A machine that waits for [`Input::Start`].
    pub fn new(policy: Policy) -> Self {
        Deploy {
            policy,
            state: State::Off,
            record: Record::default(),
            local: Local::default(),
            ticket: Ticket(0),
            retry: None,
            watch: Watch::default(),
            fetched_before: (0, 0),
            progress_from: Timestamp::ZERO,
            total: 0,
            quarters: 0,
            deferred: None,
            left: Vec::new(),
            queue: Queue::default(),
            seen: None,
            was_given_up: false,
            runs: Runs::default(),
            reboots: false,
            unwritten_since: None,
            unwritten: false,
        }
    }

    /// Takes one input. Drain [`Deploy::poll`] afterwards, also after an error.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), DeployError> {
        let result = match (self.state, input) {
            (State::Off, Input::Start { record, local }) => self.start(record, local, now),
            (State::Off, _) => return Err(DeployError::NotStarted),
            (_, Input::Start { .. }) => return Err(DeployError::StartedTwice),
            (_, input) => self.dispatch(input, now),
        };
        let driven = result.and_then(|()| self.drive(now));
        self.queue.flush(&self.record);
        driven
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Effect> {
        self.queue.poll()
    }

    /// When [`Input::Wakeup`] is due, on the steady clock.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let retry = self.retry.and_then(|r| r.at);
        let probation = if self.state == State::Proving { self.watch.wakeup() } else { None };
        retry.into_iter().chain(probation).chain(self.full_disk_wakeup()).min()
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// All that it knows; not all of it may be durable yet.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What holds the switch of a staged deployment back.
    pub fn obstacle(&self, now: Now) -> Option<Obstacle> {
        match (&self.record.deployment, self.state) {
            (Some(deployment), State::Staged) if !deployment.by_hand => self.hindrance(&deployment.wish, now),
            _ => None,
        }
    }

    /// What local people said last.
    pub fn local(&self) -> Local {
        self.local
    }

    /// Piece bytes of the deployment under way: from neighbours, from central, and in all; the last is 0 when unknown.
    pub fn fetched_of(&self) -> (u64, u64, u64) {
        let (peers, central) = self.fetched();
        (peers, central, self.total)
    }

    fn dispatch(&mut self, input: Input, now: Now) -> Result<(), DeployError> {
        match input {
            Input::Start { .. } => Err(DeployError::StartedTwice),
            Input::Persisted { seq } => {
                (self.unwritten, self.unwritten_since) = (false, None);
                self.queue.persisted(seq)
            }
            Input::Unwritten => {
                self.unwritten_since.get_or_insert(now.steady);
                self.unwritten();
                Ok(())
            }
            Input::Announced { rank, expires, row } => self.announced(Announced { rank, expires, row }, now),
            Input::Spooled { counter } => self.spooled(counter, now),
            Input::App { name, commit, event } => {
                self.app(&name, commit, event, now);
                Ok(())
            }
            Input::Os(event) => {
                self.os_event(event, now.steady);
                Ok(())
            }
            Input::OsComeBack { release } => self.os_comes_back(release, now),
            Input::AcceptOs => {
                self.accept_os(now);
                Ok(())
            }
            Input::OsDone { ticket: NOBODY, view, .. } => self.os_done(NOBODY, view, None, now),
            Input::Local(local) => {
                self.local = local;
                Ok(())
            }
            Input::ComeBack(comeback) => self.comes_back(&comeback, now),
            Input::Wakeup => Ok(()),
            answer => self.answer(answer, now),
        }
    }

    /// Answers to work; those that nobody waits for are dropped.
    fn answer(&mut self, input: Input, now: Now) -> Result<(), DeployError> {
        let ticket = match &input {
            Input::Judged { ticket, .. }
            | Input::Fits { ticket, .. }
            | Input::FetchProgress { ticket, .. }
            | Input::Imported { ticket }
            | Input::CheckedOut { ticket, .. }
            | Input::Switched { ticket }
            | Input::Reverted { ticket }
            | Input::NotReverted { ticket, .. }
            | Input::Pruned { ticket }
            | Input::OsDone { ticket, .. }
            | Input::Failed { ticket, .. } => *ticket,
            _ => return Ok(()),
        };
        if ticket != self.ticket {
            return Ok(());
        }
        match input {
            Input::Judged { parts, removed, os, .. } => self.judged(parts, removed, os, now),
            Input::Fits { bytes, .. } => self.fits(bytes),
            Input::FetchProgress { bytes_from_peers, bytes_from_central, .. } => {
                self.progress(bytes_from_peers, bytes_from_central, now);
                Ok(())
            }
            Input::Imported { .. } => self.go(Event::Imported),
            Input::CheckedOut { jobs, os, .. } => self.checked_out(&jobs, os, now),
            Input::OsDone { ticket, view, last_boot } => self.os_done(ticket, view, last_boot, now),
            Input::Switched { .. } => self.switched(now),
            Input::Reverted { .. } => self.reverted(now),
            Input::NotReverted { apps, reason, .. } => self.not_reverted(apps, &reason, now),
            Input::Pruned { .. } => {
                // It was asked for behind the record of the end.
                self.left.clear();
                self.go(Event::Pruned)
            }
            Input::Failed { retry, reason, .. } => self.failed(retry, reason, now),
            _ => Ok(()),
        }
    }

    /// Does what has become possible or due, with the input or with time.
    fn drive(&mut self, now: Now) -> Result<(), DeployError> {
        self.leave_full_disk(now);
        match self.state {
            State::Idle => self.take_up(now),
            State::Staged => self.begin(now),
            State::Proving => self.conclude(now),
            State::Rebooting => {
                self.go_down(now);
                Ok(())
            }
            _ => {
                if self.retry.and_then(|r| r.at).is_some_and(|at| at <= now.steady) {
                    self.work();
                }
                Ok(())
            }
        }
    }

    /// Moves along the table and asks for the new state's work.
    fn go(&mut self, event: Event) -> Result<(), DeployError> {
        self.state = self.state.on(event)?;
        self.retry = None;
        self.work();
        Ok(())
    }

    /// Asks for the work of the state; a new ticket makes late answers to older work void.
    fn work(&mut self) {
        self.ticket = Ticket(self.ticket.0 + 1);
        if let Some(retry) = &mut self.retry {
            retry.at = None;
        }
        let effect = match self.state {
            State::Pruning => Some(self.prune(self.ticket, false)),
            State::Switching => {
                self.watch = Watch::default();
                self.deployment_work()
            }
            State::Fetching => {
                self.fetched_before = self.fetched();
                self.deployment_work()
            }
            _ => self.deployment_work(),
        };
        let again = self.retry.is_some() && self.state == State::RollingBack;
        match effect {
            // Its record was durable before the first try; what was reported since may find no space.
            Some(effect) if again => self.queue.emit_first(effect),
            Some(effect) => self.queue.emit(effect),
            None => {}
        }
    }

    fn deployment_work(&self) -> Option<Effect> {
        let deployment = self.record.deployment.as_ref()?;
        let (ticket, bundle) = (self.ticket, deployment.wish.bundle);
        let (moves, os) = (self.record.moves(), deployment.os.as_ref().map(|os| os.part.installed.commit));
        match self.state {
            State::Judging => Some(Effect::Judge { ticket, action: deployment.wish.action, bundle }),
            State::Measuring => Some(Effect::CheckSpace { ticket, bundle, moves, os }),
            State::Fetching => Some(Effect::Fetch { ticket, bundle, moves, os }),
            State::CheckingOut => Some(Effect::Checkout { ticket, moves, os }),
            State::Switching => Some(Effect::Switch { ticket, moves }),
            State::RollingBack => Some(Effect::Revert { ticket, moves: moves.into_iter().rev().collect() }),
            _ => self.os_step().map(|step| Effect::Os { ticket, step }),
        }
    }
}
