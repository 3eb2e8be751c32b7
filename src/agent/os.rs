//! The thread for the operating system: steps of its updates, and the reboot. A step may take minutes.

use super::Event;
use crate::config::Settings;
use crate::host;
use crate::os::{self, Os, OsError, UnitOs};
use crate::sysroot::Sysroot;
use anyhow::Context as _;
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Input, OsStep, Ticket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tracing::{info, warn};

enum Job {
    Step(Ticket, OsStep),
    Keep(Vec<Digest>),
    Reboot(Ticket, bool),
}

/// What the operating system is changed by.
pub struct Means {
    /// Has steps done.
    pub os: Arc<dyn Os>,
    /// Asks for a reboot; `true` overrules whoever inhibits it.
    pub reboot: Box<dyn Fn(bool) -> Result<(), OsError> + Send>,
    /// The last lines of the journal of the boot before this one.
    pub last_boot: Box<dyn Fn() -> Vec<String> + Send>,
}

/// The deciding thread's end.
pub struct Steps {
    /// None where OSTree did not deploy the operating system.
    jobs: Option<Sender<Job>>,
    events: Sender<Event>,
}

impl Steps {
    /// Starts the thread, and has it look at once: nobody knows what came about while no agent ran.
    pub fn start(means: Option<Means>, events: Sender<Event>) -> Self {
        let jobs = means.map(|means| {
            let (jobs, receiver) = channel();
            let thread = Thread { means, events: events.clone() };
            std::thread::spawn(move || thread.run(&receiver));
            jobs
        });
        let steps = Steps { jobs, events };
        steps.step(Ticket(0), OsStep::Look);
        steps
    }

    /// See [`fullmetal_proto::deploy::Effect::Os`].
    pub fn step(&self, ticket: Ticket, step: OsStep) {
        let nothing = Input::OsDone { ticket, view: None, last_boot: Vec::new() };
        match &self.jobs {
            Some(jobs) => drop(jobs.send(Job::Step(ticket, step))),
            None => drop(self.events.send(Event::Input(nothing))),
        }
    }

    /// See [`fullmetal_proto::deploy::Effect::Prune`].
    pub fn keep(&self, commits: Option<Vec<Digest>>) {
        if let Some((jobs, commits)) = self.jobs.as_ref().zip(commits) {
            let _ = jobs.send(Job::Keep(commits));
        }
    }

    /// See [`fullmetal_proto::deploy::Effect::Reboot`].
    pub fn reboot(&self, ticket: Ticket, force: bool) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Reboot(ticket, force));
        }
    }
}

struct Thread {
    means: Means,
    events: Sender<Event>,
}

impl Thread {
    fn run(&self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let answer = match job {
                Job::Step(ticket, step) => Some(self.step(ticket, &step)),
                Job::Keep(commits) => {
                    if let Err(error) = self.means.os.ask(&OsStep::Keep(commits)) {
                        warn!(%error, "old deployments of the operating system not removed");
                    }
                    None
                }
                Job::Reboot(ticket, force) => {
                    info!(force, "rebooting");
                    (self.means.reboot)(force).err().map(|error| failed(ticket, error))
                }
            };
            if let Some(answer) = answer {
                let _ = self.events.send(Event::Input(answer));
            }
        }
    }

    fn step(&self, ticket: Ticket, step: &OsStep) -> Input {
        info!(?step, "operating system");
        match self.means.os.ask(step) {
            Ok(view) => {
                let last_boot = if *step == OsStep::Look { (self.means.last_boot)() } else { Vec::new() };
                Input::OsDone { ticket, view, last_boot }
            }
            Err(error) => {
                warn!(%error, ?step, "operating system: not done");
                failed(ticket, error)
            }
        }
    }
}

fn failed(ticket: Ticket, error: OsError) -> Input {
    Input::Failed { ticket, retry: error.retry, reason: error.reason }
}

/// Those of the running system.
///
/// # Errors
/// When this program does not find itself.
pub fn means(settings: &Settings) -> anyhow::Result<Option<Means>> {
    let root = settings.paths.root();
    // Of another root than the running system's nothing boots.
    if root != Path::new("/") || Sysroot::of(root).is_none() {
        return Ok(None);
    }
    let program = std::env::current_exe().context("finding myself")?;
    let os = Arc::new(UnitOs::new(program, root.to_owned()));
    Ok(Some(Means { os, reboot: Box::new(os::reboot), last_boot: Box::new(host::last_boot) }))
}
