//! The thread for the operating system: steps of its updates, and the reboot. A step may take minutes.

use super::os_health::{Checks, OsHealth};
use super::trouble::Kind;
use super::{Agent, Event};
use crate::config::Settings;
use crate::host;
use crate::installed_commit;
use crate::os::{self, Os, OsError, UnitOs};
use crate::sysroot::Sysroot;
use anyhow::Context as _;
use fullmetal_proto::deploy::{Input, LastBoot, Local, OsStep, State, Ticket};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tracing::{info, warn};

enum Job {
    Step(Ticket, OsStep),
    Reboot(Ticket, bool),
    AskWhoHolds,
}

/// What the operating system is changed by.
pub struct Means {
    /// Has steps done.
    pub os: Arc<dyn Os>,
    /// Asks for a reboot; `true` overrules whoever inhibits it.
    pub reboot: Box<dyn Fn(bool) -> Result<(), OsError> + Send>,
    /// Who holds shutdowns back by logind, and why.
    pub who_holds: Box<dyn Fn() -> Result<Option<String>, OsError> + Send>,
    /// The newest boot before this one of which the journal knows.
    pub last_boot: Box<dyn Fn() -> Option<LastBoot> + Send>,
}

/// The deciding thread's end.
pub struct Steps {
    /// None where OSTree did not deploy the operating system.
    jobs: Option<Sender<Job>>,
    events: Sender<Event>,
    /// From the switch to the end of the probation.
    health: Option<OsHealth>,
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
        let steps = Steps { jobs, events, health: None };
        steps.look();
        steps
    }

    /// Unasked by the machine. Where OSTree deployed nothing, nothing is said.
    pub fn look(&self) {
        if self.jobs.is_some() {
            self.step(Ticket(0), OsStep::Look);
        }
    }

    /// See [`fullmetal_proto::deploy::Effect::Os`].
    pub fn step(&self, ticket: Ticket, step: OsStep) {
        let nothing = Input::OsDone { ticket, view: None, last_boot: None };
        match &self.jobs {
            Some(jobs) => drop(jobs.send(Job::Step(ticket, step))),
            None => drop(self.events.send(Event::Input(nothing))),
        }
    }

    /// Has [`Event::RebootHeld`] come.
    pub fn ask_who_holds(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::AskWhoHolds);
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
                Job::AskWhoHolds => {
                    // Without an answer the reboot itself is refused later.
                    let held = (self.means.who_holds)().unwrap_or_default();
                    let _ = self.events.send(Event::RebootHeld(held.is_some()));
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
                // Of what is looked at unasked, nobody wants to know it.
                let wanted = *step == OsStep::Look && ticket != Ticket(0);
                let last_boot = if wanted { (self.means.last_boot)() } else { None };
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
    let (reboot, who_holds) = (Box::new(os::reboot), Box::new(os::shutdown_inhibited));
    Ok(Some(Means { os, reboot, who_holds, last_boot: Box::new(host::last_boot) }))
}

impl Agent {
    /// An operating system on trial is watched through its probation.
    pub(super) fn watch_os_if_needed(&mut self) {
        self.troubles.tell(Kind::System, self.machine.unknown_os());
        let on_trial = self.machine.record().deployment.as_ref().is_some_and(|d| d.os.is_some());
        if self.machine.state() != State::Proving || !on_trial {
            self.os.health = None;
        } else if self.os.health.is_none() {
            let (link, events) = (self.link.clone(), self.events.clone());
            let checks = Checks::of(&self.settings, Box::new(move || link.is_connected()));
            let tell = move |event| drop(events.send(Event::Input(Input::Os(event))));
            self.os.health = Some(OsHealth::start(checks, self.started, tell));
        }
    }

    /// Whether the deployment under way has an operating system that is not on trial yet.
    fn brings_os(&self) -> bool {
        let deployment = self.machine.record().deployment.as_ref();
        self.machine.state().is_before_switch() && deployment.is_some_and(|d| d.os.is_some())
    }

    /// What was not to be seen at the start is looked at again; and who holds a reboot back is asked again and again: nobody
    /// says when they no longer do.
    pub(super) fn look_at_os(&self) {
        if !self.machine.has_seen_os() {
            self.os.look();
        }
        if self.brings_os() {
            self.os.ask_who_holds();
        }
    }

    /// What local people say of the deployment under way. Who holds reboots back inhibits one that needs a reboot.
    pub(super) fn local(&self) -> Local {
        let local = self.say.local(self.clock.now());
        Local { inhibited: local.inhibited || self.say.reboot_held && self.brings_os(), ..local }
    }

    /// Begins to bring the operating system before back; what its commit says counts again.
    pub(super) fn os_comes_back(&mut self) -> Result<(), String> {
        let back = self.machine.os_to_come_back().map_err(|refusal| refusal.to_string())?;
        let read = installed_commit::read_from(&self.settings.paths.system_repo(), &back.commit);
        let release =
            read.map_err(|e| format!("version {} is not whole: {e}; deploy it again", back.version))?.metadata.release;
        self.machine.may_os_come_back(release).map_err(|refusal| refusal.to_string())?;
        info!("operating system rolled back by hand");
        self.begin_by_hand(Input::OsComeBack { release })
    }

    /// What runs is in force from now on.
    pub(super) fn accept_os(&mut self) -> Result<(), String> {
        if self.machine.unknown_os().is_none() {
            return Err(
                "the operating system that runs is the one that was proven here: there is nothing to accept".to_owned()
            );
        }
        info!("the operating system that runs is accepted");
        self.input(Input::AcceptOs);
        Ok(())
    }
}
