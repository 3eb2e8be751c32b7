//! Keeps records and reports: in memory until the disk takes them. A full disk ends nothing.

use super::pace::Pace;
use super::trouble::Kind;
use super::{Agent, dbus, history, space};
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::{Input, Outgoing, Record};
use fullmetal_proto::wire::PartState;
use fullmetal_proto::wire::local::ToPeer;
use std::collections::VecDeque;
use std::time::Duration;
use tracing::{error, info};

/// Before a record or report is tried again that the disk did not take; each further wait is twice as long.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Before reports are sent again that no gateway has acknowledged; each further wait is twice as long.
const RESEND_MIN: Duration = Duration::from_secs(60);
/// The longest wait.
const RESEND_MAX: Duration = Duration::from_secs(600);

/// What waits for the disk, and for the gateway.
pub struct Keeping {
    /// The newest record that is not durable; it stands for all before.
    record: Option<(u64, Box<Record>)>,
    pub record_again: Pace,
    /// In their order. The machine gives out only so many before it hears that they are safe.
    reports: VecDeque<(Box<Outgoing>, Vec<PartState>)>,
    pub reports_again: Pace,
    pub resend: Pace,
}

impl Keeping {
    /// Nothing waits.
    pub fn new() -> Self {
        let disk = || Pace::new(RETRY_MIN, RETRY_MAX);
        let (record_again, reports_again, resend) = (disk(), disk(), Pace::new(RESEND_MIN, RESEND_MAX));
        Keeping { record: None, record_again, reports: VecDeque::new(), reports_again, resend }
    }
}

impl Agent {
    /// See [`fullmetal_proto::deploy::Effect::Persist`].
    pub(super) fn persist(&mut self, seq: u64, record: Box<Record>) {
        self.keeping.record = Some((seq, record));
        if self.keeping.record_again.at().is_none() {
            self.save();
        }
    }

    /// Tries to make the newest record durable.
    pub(super) fn save(&mut self) {
        let Some((seq, record)) = &self.keeping.record else { return self.keeping.record_again.stop() };
        let (seq, saved) = (*seq, self.journal.save(record));
        match saved {
            Ok(()) => {
                self.keeping.record = None;
                self.keeping.record_again.stop();
                self.troubles.tell(Kind::Journal, None);
                self.hand_in(Input::Persisted { seq });
            }
            Err(error) => {
                self.unwritten(Kind::Journal, format!("{error}; what depends on it waits, it is tried again"));
            }
        }
    }

    /// See [`fullmetal_proto::deploy::Effect::Report`].
    pub(super) fn report(&mut self, report: Box<Outgoing>, parts: Vec<PartState>) {
        info!(action = report.action, state = ?report.state, reason = %report.cause.reason, "report");
        self.keeping.reports.push_back((report, parts));
        if self.keeping.reports_again.at().is_none() {
            self.spool();
        }
    }

    /// Tries to put all reports into the spool, in their order.
    pub(super) fn spool(&mut self) {
        let free = space::free(&self.settings.paths);
        while let Some((report, parts)) = self.keeping.reports.front() {
            match self.spool.add(&self.identity, report, parts.clone(), free) {
                Ok(bytes) => {
                    let brings = &self.brings;
                    let brought = if brings.0 == report.action { brings.1.clone() } else { Vec::new() };
                    if let Some(past) = history::Past::of(report, brought) {
                        if let Some(bus) = &mut self.bus {
                            bus.note(dbus::News::Finished(past.clone()));
                        }
                        self.history.note(past);
                    }
                    let (counter, is_terminal) = (report.counter, report.state.is_terminal());
                    self.keeping.reports.pop_front();
                    if is_terminal || self.keeping.resend.at().is_none() {
                        self.keeping.resend.start(self.now().steady);
                    }
                    self.link.send(&ToPeer::Report(bytes.into()));
                    self.later(Input::Spooled { counter });
                }
                Err(error) => {
                    let text = format!("{error:#}; the report is kept in memory and tried again, make space");
                    return self.unwritten(Kind::Reports, text);
                }
            }
        }
        self.keeping.reports_again.stop();
        self.troubles.tell(Kind::Reports, None);
    }

    fn unwritten(&mut self, kind: Kind, text: String) {
        let now = self.now().steady;
        let pace = match kind {
            Kind::Journal => &mut self.keeping.record_again,
            _ => &mut self.keeping.reports_again,
        };
        let is_new = pace.at().is_none();
        pace.again(now);
        self.troubles.tell(kind, Some(text));
        if is_new {
            self.hand_in(Input::Unwritten);
        }
    }

    /// Gives the machine an input within the doing of what it asked for; the doer goes on with what follows.
    fn hand_in(&mut self, input: Input) {
        if let Err(error) = self.machine.handle(input, self.now()) {
            error!(%error, "the deployment machine refused an input");
        }
    }

    /// Does what is due of all this.
    pub(super) fn keep(&mut self) {
        let now = self.now().steady;
        if self.keeping.record_again.is_due(now) {
            self.save();
        }
        if self.keeping.reports_again.is_due(now) {
            self.spool();
        }
        if self.keeping.resend.is_due(now) {
            self.resend(now);
        }
    }

    /// A peer may have lost what it carried, and its neighbours too: told again until the gateway's receipt.
    fn resend(&mut self, now: Timestamp) {
        let reports = self.spool.unacknowledged();
        if reports.is_empty() {
            return self.keeping.resend.stop();
        }
        info!(reports = reports.len(), "reports without a receipt are sent again");
        for report in reports {
            self.link.send(&ToPeer::Report(report.into()));
        }
        self.keeping.resend.again(now);
    }
}
