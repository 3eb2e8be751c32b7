//! The thread for containers: switches, roll backs, and looking after what runs. It does not wait for a fetch.

use super::apps::{Apps, NotReverted};
use super::trouble::Kind;
use super::{Event, worker};
use crate::host::Hosts;
use fullmetal_proto::AppName;
use fullmetal_proto::deploy::{App, AppEvent, Input, Move, Ticket};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use tracing::warn;

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
                    let switched = self.apps.switch(&moves);
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
