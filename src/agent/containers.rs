//! The thread for containers: switches, roll backs, and looking after what runs. It does not wait for a fetch.

use super::apps::{Apps, NotReverted};
use super::trouble::Kind;
use super::{Event, worker};
use crate::host::{HostError, Hosts};
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{App, AppEvent, Input, Move, Ticket};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tracing::warn;

/// How long a switch waits for a systemd that cannot be asked: a bus that is started anew is back in seconds.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How often it is tried meanwhile.
pub(super) const AWAY_PAUSE: Duration = Duration::from_secs(1);

enum Job {
    Switch(Ticket, Vec<Move>),
    Revert(Ticket, Vec<Move>),
    LookAfter(BTreeMap<AppName, App>),
}

/// The deciding thread's end.
pub struct Containers {
    jobs: Sender<Job>,
}

impl Containers {
    /// Starts the thread.
    pub fn start(apps: Apps, options: Hosts, events: Sender<Event>) -> Self {
        let (jobs, receiver) = channel();
        let mut thread = Thread { apps, options, runtime_missing: false, events };
        std::thread::spawn(move || thread.run(&receiver));
        Containers { jobs }
    }

    /// See [`fullmetal_proto::deploy::Effect::Switch`].
    pub fn switch(&self, ticket: Ticket, moves: Vec<Move>) {
        let _ = self.jobs.send(Job::Switch(ticket, moves));
    }

    /// See [`fullmetal_proto::deploy::Effect::Revert`].
    pub fn revert(&self, ticket: Ticket, moves: Vec<Move>) {
        let _ = self.jobs.send(Job::Revert(ticket, moves));
    }

    /// Sees to it that these run as they should. Only while none of them is in motion.
    pub fn look_after(&self, apps: BTreeMap<AppName, App>) {
        let _ = self.jobs.send(Job::LookAfter(apps));
    }
}

struct Thread {
    apps: Apps,
    options: Hosts,
    runtime_missing: bool,
    events: Sender<Event>,
}

impl Thread {
    fn run(&mut self, jobs: &Receiver<Job>) {
        self.check_runtime();
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Switch(ticket, moves) => {
                    let switched = patiently(AWAY_PAUSE, || self.apps.switch(&moves));
                    self.tell(worker::answer(ticket, Input::Switched { ticket }, switched));
                }
                Job::Revert(ticket, moves) => {
                    let answer = match self.apps.revert(&moves) {
                        Ok(()) => Input::Reverted { ticket },
                        Err(NotReverted { apps, reason }) => Input::NotReverted { ticket, apps, reason },
                    };
                    self.tell(answer);
                }
                Job::LookAfter(apps) => {
                    if self.runtime_missing {
                        self.check_runtime();
                    }
                    for (name, commit) in self.apps.look_after(&apps) {
                        self.tell(Input::App { name, commit, event: AppEvent::Running });
                    }
                }
            }
        }
    }

    /// Without the container runtime no app starts; those that run go on.
    fn check_runtime(&mut self) {
        let checked = self.options.check_runtime();
        if let Ok(Some(warning)) = &checked {
            // It keeps no app from running, and lasts as long as the package: no trouble that could be over.
            warn!("{warning}");
        }
        let trouble = checked.err().map(|e| e.to_string());
        self.runtime_missing = trouble.is_some();
        let _ = self.events.send(Event::Trouble(Kind::Runtime, trouble));
    }

    fn tell(&self, input: Input) {
        let _ = self.events.send(Event::Input(input));
    }
}

/// Does it again while systemd cannot be asked, which is no failure of what is installed. A roll back has its own tries.
pub(super) fn patiently(pause: Duration, mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let end = Instant::now() + AWAY_MAX;
    loop {
        match act() {
            Err(error) if is_away(&error) && Instant::now() < end => {
                warn!(error = format!("{error:#}"), "systemd cannot be asked; it is tried again");
                std::thread::sleep(pause);
            }
            done => return done,
        }
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(HostError::Bus(error)) if error.is_away())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::BusError;
    use anyhow::Context as _;

    #[test]
    fn a_systemd_that_cannot_be_asked_fails_no_switch_and_what_it_says_does_at_once() {
        let tries = |errors: Vec<HostError>| {
            let mut errors = errors.into_iter();
            let switched =
                patiently(Duration::ZERO, || errors.next().map_or(Ok(()), Err).context("switching web to 2"));
            (switched.map_err(|e| format!("{e:#}")), errors.len())
        };
        let away = || HostError::Bus(BusError::Silent { act: "start a unit" });
        let said = || HostError::NotStarted { name: "web".parse().unwrap(), why: "it ended".into() };
        assert_eq!(tries(vec![away(), away()]), (Ok(()), 0));
        let (failed, untried) = tries(vec![away(), said(), said()]);
        assert!(failed.unwrap_err().contains("web did not start") && untried == 1);
        let unended = BusError::Unended { unit: "web.service".into(), secs: 1, state: "active".into() };
        assert!(tries(vec![HostError::Bus(unended)]).0.is_err());
    }
}
