//! What is known of the apps that a deployment brought, and what follows from it.

use super::input::AppEvent;
use super::outbox::Cause;
use super::record::NewPart;
use super::{LAST_CHECK_MAX, LAST_OS_CHECK_MAX, UNASKED_MAX};
use crate::wire::report::ExitStatus;
use crate::{AppName, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was seen since the switch, by app.
#[derive(Debug, Default)]
pub(super) struct Watch {
    apps: BTreeMap<AppName, Seen>,
    os: Seen,
    deadline: Option<Timestamp>,
    wakeup: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Seen {
    running: bool,
    health: Health,
    /// The first word on its notify socket.
    said: Option<Result<(), String>>,
    exit: Option<(ExitStatus, Vec<String>)>,
    /// Since when it cannot be asked how it is, and why.
    unasked: Option<(Timestamp, String)>,
}

impl Seen {
    fn note(&mut self, event: AppEvent, now: Timestamp) {
        match event {
            AppEvent::Running => self.running = true,
            AppEvent::Healthy { .. } if matches!(self.health, Health::Lost(_)) => {}
            AppEvent::Healthy { began } => self.health = Health::Good(began),
            AppEvent::Unhealthy { reason } => {
                self.health = match self.health {
                    Health::Unknown | Health::Poor(_) => Health::Poor(reason),
                    Health::Good(_) | Health::Lost(_) => Health::Lost(reason),
                }
            }
            AppEvent::Unasked { reason } => {
                let since = self.unasked.take().map_or(now, |(since, _)| since);
                self.unasked = Some((since, reason));
            }
            AppEvent::Asked => self.unasked = None,
            AppEvent::SaysWell => {
                self.said.get_or_insert(Ok(()));
            }
            AppEvent::SaysFailed { reason } => {
                self.said.get_or_insert(Err(reason));
            }
            AppEvent::Exited { status, log } => {
                self.exit.get_or_insert((status, log));
            }
        }
    }

    /// Whatever else it would say.
    fn has_failed(&self, part: &NewPart) -> bool {
        let says_so = part.notify && matches!(self.said, Some(Err(_)));
        says_so || self.exit.is_some() || matches!(self.health, Health::Lost(_))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Unknown,
    /// By the newest check, which began then.
    Good(Timestamp),
    /// Not yet good.
    Poor(String),
    /// Was good.
    Lost(String),
}

/// What the watch says of one part or of all.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing more can be learned: proven at once.
    Settled,
    /// All well; counts when the time is over.
    Well,
    /// Not proven, time left.
    Open,
    /// Failed.
    Broken(Cause),
}

impl Watch {
    /// The time counts from here.
    pub fn begin(&mut self, now: Timestamp, probation: Duration) {
        self.deadline = Some(now.after(probation));
        self.wakeup = self.deadline;
    }

    /// When to judge again, whatever happens before.
    pub fn wakeup(&self) -> Option<Timestamp> {
        self.wakeup
    }

    /// There is no verdict yet: after the deadline the last checks are waited for, and what cannot be asked.
    pub fn wait_on(&mut self, now: Timestamp) {
        let ends = self.deadline.into_iter().flat_map(|at| [at, at.after(LAST_CHECK_MAX), at.after(LAST_OS_CHECK_MAX)]);
        let unasked =
            self.apps.values().chain([&self.os]).filter_map(|seen| Some(seen.unasked.as_ref()?.0.after(UNASKED_MAX)));
        self.wakeup = ends.chain(unasked).filter(|at| *at > now).min();
    }

    /// Why an app cannot be asked how it is.
    pub fn unasked(&self, name: &AppName) -> Option<&str> {
        self.apps.get(name)?.unasked.as_ref().map(|(_, reason)| reason.as_str())
    }

    /// Notes what an app does.
    pub fn note(&mut self, name: &AppName, event: AppEvent, now: Timestamp) {
        self.apps.entry(name.clone()).or_default().note(event, now);
    }

    /// Notes how the operating system is. That it runs is plain.
    pub fn note_os(&mut self, event: AppEvent, now: Timestamp) {
        self.os.running = true;
        self.os.note(event, now);
    }

    /// What follows for all `parts` together, and for the operating system if it is new: the first failure, else proven
    /// when nothing is open.
    pub fn judge<'a>(
        &self,
        parts: impl Iterator<Item = &'a NewPart>,
        os: Option<&NewPart>,
        now: Timestamp,
    ) -> Judgement {
        let over = self.deadline.filter(|d| *d <= now);
        let mut all = Judgement::Settled;
        let nothing = Seen::default();
        let parts = parts.map(|part| (part, self.apps.get(&part.name).unwrap_or(&nothing), LAST_CHECK_MAX));
        let os = os.map(|part| (part, &self.os, LAST_OS_CHECK_MAX));
        for (part, seen, last_check) in os.into_iter().chain(parts) {
            match judge_part(part, seen, (over, last_check), now) {
                Judgement::Broken(cause) => return Judgement::Broken(cause),
                Judgement::Open => all = Judgement::Open,
                Judgement::Well if all == Judgement::Settled => all = Judgement::Well,
                Judgement::Well | Judgement::Settled => {}
            }
        }
        match all {
            Judgement::Well if over.is_none() => Judgement::Open,
            Judgement::Well => Judgement::Settled,
            other => other,
        }
    }
}

/// `time`: when the time was over, if it is, and how long the last check may take.
fn judge_part(part: &NewPart, seen: &Seen, time: (Option<Timestamp>, Duration), now: Timestamp) -> Judgement {
    let (start, over) = (&part.installed.start, time.0);
    if !start.autostart {
        return Judgement::Settled;
    }
    if let Some((since, reason)) = seen.unasked.as_ref().filter(|_| !seen.has_failed(part)) {
        let over = since.after(UNASKED_MAX) <= now;
        let minutes = UNASKED_MAX.as_secs() / 60;
        let what = || format!("could not be asked for {minutes} minutes how it is: {reason}");
        return if over { broken(part, &what()) } else { Judgement::Open };
    }
    match &seen.exit {
        Some((ExitStatus::Code(0), _)) if start.job => Judgement::Settled,
        Some((status, log)) => Judgement::Broken(ended(part, *status, log)),
        None if part.notify && matches!(seen.said, Some(Err(_))) => {
            let words = seen.said.as_ref().and_then(|said| said.as_ref().err());
            broken(part, &format!("says of itself: {}", words.map_or("", String::as_str)))
        }
        None if start.job && part.may_stay => judge_service(part, seen, time, now),
        None if start.job && over.is_some() => broken(part, "is a job and had not ended when its time was over"),
        None if start.job => Judgement::Open,
        None => judge_service(part, seen, time, now),
    }
}

/// What has a health check is proven by one that began when the time was over and ended well: one that was under way
/// then may hang, and one that had ended says nothing about the end of the time.
fn judge_service(
    part: &NewPart,
    seen: &Seen,
    (over, last_check): (Option<Timestamp>, Duration),
    now: Timestamp,
) -> Judgement {
    let too_late = over.is_some_and(|at| at.after(last_check) <= now);
    let is_last = |began: &Timestamp| over.is_some_and(|at| at <= *began);
    match &seen.health {
        Health::Lost(reason) => broken(part, &format!("became unhealthy: {reason}")),
        Health::Poor(reason) if over.is_some() => broken(part, &format!("was never healthy: {reason}")),
        _ if !seen.running && too_late => broken(part, "did not start"),
        // The first look at it may come late on a device that is busy.
        _ if !seen.running && over.is_some() => Judgement::Open,
        _ if part.notify && seen.said.is_none() && over.is_some() => {
            broken(part, "said nothing on its notify socket before its time was over")
        }
        _ if part.notify && seen.said.is_none() => Judgement::Open,
        _ if !part.health => Judgement::Well,
        Health::Good(began) if over.is_none() || is_last(began) => Judgement::Well,
        _ if too_late => broken(part, "has a health check that said nothing when its time was over"),
        _ => Judgement::Open,
    }
}

fn broken(part: &NewPart, what: &str) -> Judgement {
    Judgement::Broken(Cause::new(&format!("{} {} {what}", part.name, part.installed.version)))
}

fn ended(part: &NewPart, status: ExitStatus, log: &[String]) -> Cause {
    let how = match status {
        ExitStatus::Code(code) => format!("ended with exit status {code}"),
        ExitStatus::Signal(signal) => format!("was ended by signal {signal}"),
    };
    let last = log.last().map(|line| format!(": {line}")).unwrap_or_default();
    let (name, version) = (&part.name, &part.installed.version);
    let cause = Cause::new(&format!("{name} {version} {how} during its probation{last}"));
    Cause { exit: Some(status), ..cause.with_log(log) }
}
