//! A deployment server, the gateway's core and devices in memory, driven by virtual time.
//!
//! The server follows Hawkbit's rules: one open thing a device, words on an action that is over are refused.

mod crash;
mod odd;
mod rules;

use super::*;
use crate::DeviceId;
use crate::dispatch::tests::{bundle, device, part_wish, report};
use crate::dispatch::{self, Dispatch, Targets, Wish};
use crate::wire::{Mode, Report, ReportState};
use std::collections::BTreeSet;

/// The server's polling interval.
pub(super) const POLL: Duration = Duration::from_secs(60);

/// One action at the server.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) device: DeviceId,
    pub(super) order: Result<Order, String>,
    pub(super) waits: bool,
    pub(super) cancelling: bool,
    pub(super) over: bool,
    /// Words that the server took.
    pub(super) words: Vec<Message>,
}

/// What happens at one place, and what the power cut does not touch: server, disk, devices.
pub(super) struct World {
    pub(super) core: Dispatch,
    pub(super) steering: Steering,
    pub(super) config: Config,
    pub(super) now: Timestamp,
    pub(super) disk: State,
    pub(super) spool: BTreeMap<(DeviceId, u64), Report>,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) heard: BTreeSet<DeviceId>,
    /// The server's mark of what its deployments say.
    pub(super) revision: i64,
    pub(super) polls: BTreeMap<DeviceId, u32>,
    pub(super) attributes: BTreeMap<DeviceId, BTreeMap<String, String>>,
    pub(super) counters: BTreeMap<DeviceId, u64>,
    /// Rows that the fleet was told.
    pub(super) rows: BTreeMap<DeviceId, (u64, Mode, Option<Timestamp>)>,
    /// The newest announcement of this gateway.
    pub(super) announcement: Option<Box<crate::wire::Announcement>>,
    /// How the server answers everything, when it is in trouble.
    pub(super) trouble: Option<Reply>,
    /// Something on the way answers all that is told.
    pub(super) cut_off: bool,
    pub(super) central: Result<(), String>,
    pub(super) resolved: u32,
    pub(super) persisted: u32,
    /// The rules do not know yet that the state has changed.
    changed: bool,
    /// Effects done, and at which the power fails.
    pub(super) effects: usize,
    pub(super) cut: Option<usize>,
}

impl World {
    pub(super) fn new(confirm: Confirm) -> Self {
        let now = Timestamp::from_secs(1_000_000);
        let config = Config { heard_within: Duration::from_secs(600), confirm };
        let mut world = World {
            core: Dispatch::new(dispatch::Config::new("plant".parse().unwrap(), 1), State::default(), vec![], now),
            steering: Steering::new(config.clone()),
            config,
            now,
            disk: State::default(),
            spool: BTreeMap::new(),
            jobs: BTreeMap::new(),
            heard: BTreeSet::new(),
            revision: 1,
            polls: BTreeMap::new(),
            attributes: BTreeMap::new(),
            counters: BTreeMap::new(),
            rows: BTreeMap::new(),
            announcement: None,
            trouble: None,
            cut_off: false,
            central: Ok(()),
            resolved: 0,
            persisted: 0,
            changed: false,
            effects: 0,
            cut: None,
        };
        world.dispatch(dispatch::Input::Connected);
        world.run(Duration::from_secs(10));
        world
    }

    /// The fleet hears devices 0 to `count` from now on.
    pub(super) fn hear(&mut self, count: usize) {
        self.heard = (0..count).map(device).collect();
        self.run(Duration::ZERO);
    }

    /// The server gives a device an action.
    pub(super) fn assign(&mut self, action: u64, i: usize, release: u8, mode: Mode) {
        let wish = Wish {
            action: Some(action),
            targets: Targets::Named(BTreeSet::from([device(i)])),
            mode,
            valid_until: None,
            parts: vec![part_wish(release)],
            removed: vec![],
        };
        let order = Ok(Order { wish, final_when_staged: false, hold: None, notes: vec![] });
        let job = Job { device: device(i), order, waits: false, cancelling: false, over: false, words: vec![] };
        self.jobs.insert(action, job);
    }

    pub(super) fn job(&mut self, action: u64) -> &mut Job {
        self.jobs.get_mut(&action).unwrap()
    }

    /// Final words that the server took for an action.
    pub(super) fn ends(&self, action: u64) -> Vec<Stage> {
        let stage = |m: &Message| match m {
            Message::Progress { stage, .. } if stage.is_final() => Some(*stage),
            _ => None,
        };
        self.jobs[&action].words.iter().filter_map(stage).collect()
    }

    /// A device reports on its row.
    pub(super) fn report(&mut self, i: usize, action: u64, release: u8, state: ReportState) {
        let counter = self.counters.entry(device(i)).or_default();
        *counter += 1;
        let mut report = report(i, *counter, action, release, state);
        (report.oldest, report.at) = (0, self.now);
        if state == ReportState::Failed {
            report.reason = "the app exited".into();
        }
        self.dispatch(dispatch::Input::Report { report: Box::new(report), envelope: vec![] });
        self.run(Duration::from_secs(3));
    }

    fn dispatch(&mut self, input: dispatch::Input) {
        self.core.handle(input, self.now);
        self.drain();
    }

    fn steer(&mut self, input: Input) {
        self.steering.handle(input, self.core.state(), self.now);
        self.drain();
    }

    /// Lets time go on, second by second, with everything that falls due.
    pub(super) fn run(&mut self, time: Duration) {
        for _ in 0..=time.as_secs() {
            let heard = self.heard.iter().map(|d| (d.clone(), self.now)).collect();
            self.dispatch(dispatch::Input::Heard(self.heard.iter().map(|d| (d.clone(), 0)).collect()));
            self.steer(Input::Heard(heard));
            self.dispatch(dispatch::Input::Wakeup);
            self.steer(Input::Wakeup);
            let next = self.steering.next_wakeup();
            assert!(next.is_none_or(|at| at > self.now), "nothing is to be done, and yet it is not left to sleep");
            self.now = self.now.after(Duration::from_secs(1));
        }
    }

    fn drain(&mut self) {
        loop {
            if let Some(effect) = self.core.poll() {
                if self.counts() {
                    return self.restart();
                }
                self.perform(effect);
            } else if let Some(effect) = self.steering.poll() {
                if self.counts() {
                    return self.restart();
                }
                self.serve(effect);
            } else if std::mem::take(&mut self.changed) {
                self.steering.handle(Input::Changed, self.core.state(), self.now);
            } else {
                return;
            }
        }
    }

    /// Whether the power fails before this effect.
    fn counts(&mut self) -> bool {
        self.effects += 1;
        self.cut == Some(self.effects)
    }

    /// The gateway starts anew from its disk.
    pub(super) fn restart(&mut self) {
        let spool = self.spool.values().cloned().collect();
        let config = dispatch::Config::new("plant".parse().unwrap(), 1);
        self.core = Dispatch::new(config, self.disk.clone(), spool, self.now);
        self.steering = Steering::new(self.config.clone());
        self.dispatch(dispatch::Input::Connected);
    }

    fn perform(&mut self, effect: dispatch::Effect) {
        use dispatch::Effect;
        let done = match effect {
            Effect::Persist { seq, state } => {
                self.disk = *state;
                self.changed = true;
                self.persisted += 1;
                dispatch::Input::Persisted(seq)
            }
            Effect::Spool { device, counter, envelope: _ } => dispatch::Input::Spooled { device, counter },
            Effect::Unspool { device, counter } => return drop(self.spool.remove(&(device, counter))),
            Effect::Feedback(report) => {
                self.spool.insert((report.device.clone(), report.counter), (*report).clone());
                return self.steer(Input::Report(report));
            }
            Effect::Resolve { action, parts, removed } => {
                self.resolved += 1;
                match &self.central {
                    Ok(()) => dispatch::Input::Resolved {
                        action,
                        bundle: Box::new(crate::wire::Bundle { removed, ..bundle(&parts) }),
                    },
                    Err(reason) => dispatch::Input::Unresolved { action, reason: reason.clone(), retry: true },
                }
            }
            Effect::Announce(announcement) => {
                self.announcement = Some(announcement.clone());
                self.rows = announcement.rows.iter().map(|r| (r.0.clone(), (r.2, r.3, r.4))).collect();
                return;
            }
            Effect::Audit(entry) => dispatch::Input::Audited { id: entry.id },
            Effect::Help(_) | Effect::Receipt { .. } | Effect::Answer { .. } | Effect::Alarm(_) => return,
        };
        self.dispatch(done);
    }

    fn serve(&mut self, effect: Effect) {
        let input = match effect {
            Effect::Dispatch(input) => return self.dispatch(*input),
            Effect::Ask { device, question } => match self.trouble {
                Some(reply) => Input::Replied { device, reply },
                None => self.ask(device, question),
            },
            Effect::Tell { device, message } => {
                let trouble = self.trouble.or(self.cut_off.then_some(Reply::Unknown));
                let reply = trouble.unwrap_or_else(|| self.tell(&device, message));
                Input::Replied { device, reply }
            }
        };
        self.steer(input);
    }

    fn ask(&mut self, id: DeviceId, question: Question) -> Input {
        let open = self.jobs.iter().find(|(_, j)| j.device == id && !j.over).map(|(n, j)| (*n, j.clone()));
        match question {
            Question::Base => {
                *self.polls.entry(id.clone()).or_default() += 1;
                let open = match open {
                    None => Open::Nothing,
                    Some((n, job)) if job.cancelling => Open::Cancel(n + 1000),
                    Some((n, job)) if job.waits => Open::Confirmation(n),
                    Some((n, _)) => Open::Deployment(n),
                };
                let revision = Some(self.revision);
                Input::Polled { device: id, open, revision, wants_attributes: true, next: POLL }
            }
            Question::Deployment(action) => match open.filter(|(n, j)| *n == action && !j.cancelling && !j.waits) {
                None => Input::Replied { device: id, reply: Reply::Gone },
                Some((_, job)) => Input::Offered { device: id, action, order: job.order.map(Box::new) },
            },
            Question::Cancel(cancel) => Input::Cancelling { device: id, cancel, stops: cancel - 1000 },
        }
    }

    fn tell(&mut self, id: &DeviceId, message: Message) -> Reply {
        let action = match &message {
            Message::Attributes(map) => {
                self.attributes.insert(id.clone(), map.clone());
                return Reply::Done;
            }
            Message::Progress { action, .. } | Message::Confirmation { action, .. } => *action,
            Message::CancelAccepted { cancel } | Message::CancelRejected { cancel, .. } => cancel - 1000,
        };
        let Some(job) = self.jobs.get_mut(&action).filter(|j| j.device == *id && !j.over) else { return Reply::Gone };
        match &message {
            Message::Progress { stage, .. } => job.over = stage.is_final(),
            Message::CancelAccepted { .. } => job.over = true,
            Message::CancelRejected { .. } => job.cancelling = false,
            Message::Confirmation { yes, .. } => job.waits = !yes,
            Message::Attributes(_) => {}
        }
        job.words.push(message);
        Reply::Done
    }
}
