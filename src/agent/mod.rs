//! The agent: drives [`fullmetal_proto::deploy`] on a device. Root, no network: a Unix socket to its peer.
//!
//! One thread decides (this one), one works on the object store, one on containers, one listens to the peer, and one
//! for each app watches it while it proves itself. All of them tell this one through a single queue of events.
//!
//! Here: its start and its loop. [`effects`] does what the machine asks for, [`hearing`] takes what the peer says,
//! [`door`] and [`dbus`] listen to people and programs on the device, [`say`] is what they say; [`shutdown`] holds back what
//! may come of the device's own end; [`keeping`] sees records and reports to the disk; [`alive`] says that it goes on.

mod alive;
mod apps;
mod bundles;
mod cached;
mod checkouts;
mod containers;
mod dbus;
mod door;
mod effects;
mod fetch;
mod foreign;
mod hearing;
pub mod history;
mod judge;
mod keeping;
mod link;
pub mod lock;
mod needs;
mod notify;
mod os;
pub mod os_health;
mod pace;
mod say;
mod shutdown;
mod space;
mod spool;
mod system;
#[cfg(test)]
mod tests;
mod trouble;
mod verify;
mod watch;
mod worker;

pub use crate::config::wall_clock;
pub use needs::with_those_that_require;
pub use spool::ended_reports;
pub use watch::elapsed as probation_elapsed;

use crate::config::Settings;
use crate::host::Hosts;
use crate::identity::{Clock, FleetTrust, Identity, SharedTrust, Usage};
use crate::journal::{DirectoryDisk, Journal};
use crate::local::Packet;
use crate::repo::{LibostreeStore, ObjectStore};
use anyhow::Context as _;
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::{Deploy, Input, Now, Policy, Record, State};
use fullmetal_proto::wire::local::FromPeer;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// How often apps are looked after while nothing is in motion, and the trust file is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(30);

/// What reaches the deciding thread.
enum Event {
    /// The peer's socket is open; whatever was asked before is to be asked again.
    Connected,
    /// The peer is gone for now.
    Disconnected,
    /// The peer says something.
    Peer(Packet<FromPeer>),
    /// Somebody on the device asks something.
    Asked(door::Asked),
    /// Whoever held this inhibitor has gone.
    Released(door::Id),
    /// Work is done, or an app does something.
    Input(Input),
    /// The device does not go down, or no more.
    StaysUp,
    /// Whether somebody holds reboots back.
    RebootHeld(bool),
    /// Something lasting is in the way, or is so no more.
    Trouble(trouble::Kind, Option<String>),
}

/// All that the deciding thread owns.
struct Agent {
    settings: Settings,
    shared_trust: SharedTrust,
    /// The trust in force when it was last looked at.
    trust: Arc<FleetTrust>,
    clock: Clock,
    identity: Identity,
    started: Instant,
    machine: Deploy,
    journal: Journal<DirectoryDisk>,
    spool: spool::Spool,
    keeping: keeping::Keeping,
    history: history::History,
    /// The action of the deployment under way or the last one, and what it brings and takes away.
    brings: (u64, Vec<String>),
    troubles: trouble::Troubles,
    link: link::Link,
    say: say::Say,
    /// The newest announcement, when the disk could not take it.
    postponed: Option<bundles::Postponed>,
    judging: Option<judge::Judging>,
    /// Parts of the judged bundle, by commit: what fetching needs.
    judged: judge::JudgedParts,
    /// The fetch, or the look at the peer's cache before it.
    fetch: Option<worker::FetchHandle>,
    worker: worker::Worker,
    containers: containers::Containers,
    os: os::Steps,
    look_after_at: Timestamp,
    alive: Option<alive::Alive>,
    watch: Option<watch::Watch>,
    /// From when people may ask on.
    bus: Option<dbus::Bus>,
    /// From the switch to the end of the probation.
    notify: Option<notify::Sockets>,
    host: Hosts,
    shutdown: shutdown::Shutdown,
    events: Sender<Event>,
}

/// Runs until it fails; ending it at any moment is safe.
///
/// # Errors
/// When the device's state cannot be used: the message says what, where and what to do.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "the agent runs containers: start it as root");
    let host = Hosts::of(&settings).context("finding myself")?;
    let journal = Journal::open(&settings.paths.journal_dir())?;
    let mut apps = apps(&settings, &host);
    let record = adopt(&settings, &mut apps, &journal)?;
    let (sender, receiver) = channel();
    let mut agent = Agent::new(settings, journal, (apps, host), sender)?;
    // Before the lock is read: whoever finds nobody here has written it by then.
    agent.open_door();
    agent.start(record);
    agent.serve(&receiver)
}

/// The store is opened only where a checkout is damaged, and by the thread that works on it.
fn apps(settings: &Settings, host: &Hosts) -> (apps::Apps, checkouts::Checkouts) {
    let checkouts = checkouts::Checkouts::new(settings.paths.clone());
    let repo = settings.paths.repo();
    let open = move || -> anyhow::Result<Box<dyn ObjectStore>> {
        let store = LibostreeStore::open_or_create(&repo).context("opening the object store")?;
        Ok(Box::new(store))
    };
    (apps::Apps::new(settings.paths.clone(), host.open(), checkouts.clone(), Box::new(open)), checkouts)
}

/// Starts the apps before anything else can fail: what is in force runs, whatever becomes of this agent.
fn adopt(
    settings: &Settings,
    (apps, _): &mut (apps::Apps, checkouts::Checkouts),
    journal: &Journal<DirectoryDisk>,
) -> anyhow::Result<Option<Box<Record>>> {
    match journal.load() {
        Ok(Some(record)) => {
            apps.adopt(&record);
            Ok(Some(Box::new(record)))
        }
        // Nothing is in force before there is a record. What runs must not be taken for leftovers.
        Ok(None) if apps.are_in_force() => {
            apps.adopt_links();
            let (journal, apps) = (settings.paths.journal_dir(), settings.paths.apps_dir());
            anyhow::bail!(
                "the record in {} is gone, though apps are in force; they go on as they are, nothing new is deployed. Check \
                 the disk and put the record back, or begin anew: `rm {}/*/current` has the agent remove these apps when it \
                 starts, and the device takes its next deployment as its first",
                journal.display(),
                apps.display()
            )
        }
        Ok(None) => Ok(None),
        Err(error) => {
            // Nothing new may be deployed.
            apps.adopt_links();
            Err(error.into())
        }
    }
}

impl Agent {
    fn new(
        settings: Settings,
        journal: Journal<DirectoryDisk>,
        ((apps, checkouts), host): ((apps::Apps, checkouts::Checkouts), Hosts),
        events: Sender<Event>,
    ) -> anyhow::Result<Self> {
        let paths = settings.paths.clone();
        let troubles = trouble::Troubles::new(paths.agent_trouble());
        let shared_trust = SharedTrust::new(FleetTrust::load(&paths)?);
        let trust = shared_trust.get();
        settings.check_fleet(&trust.trust.fleet)?;
        let identity = Identity::load(&settings, Usage::Agent)?;
        let clock = Clock::new();
        clock.raise(trust.trust.issued);
        for dir in [paths.state_dir(), paths.apps_dir(), paths.bundles_dir()] {
            crate::durable::make_dir(&dir, 0o755)?;
        }
        let store = LibostreeStore::open_to_write(&paths.repo()).context("opening the object store")?;
        let spool = spool::Spool::open(&paths.reports_dir())?;
        let history = history::History::open(&paths.history_file(), ended_reports(&paths.reports_dir()));
        let say = say::Say::new(paths.lock_file(), settings.agent.windows.clone());
        let (socket, owner, device) = (paths.peer_socket(), settings.agent.peer_uid, settings.device.id.clone());
        let link = link::Link::start(link::Expected { socket, owner, device }, events.clone());
        let means = os::means(&settings)?;
        let system = system::System::new(&paths, means.as_ref().map(|means| means.os.clone()));
        let work = (checkouts, host.open(), system);
        let worker = worker::Worker::start(paths, Box::new(store), work, link.clone(), events.clone());
        let containers = containers::Containers::start(apps, host.clone(), events.clone());
        let os = os::Steps::start(means, events.clone());
        let asked = host.clone();
        let shutdown = shutdown::Shutdown::new(Arc::new(move || asked.is_going_down()), events.clone());
        Ok(Agent {
            machine: Deploy::new(Policy { probation: settings.agent.probation }),
            settings,
            shared_trust,
            trust,
            clock,
            identity,
            started: Instant::now(),
            journal,
            spool,
            keeping: keeping::Keeping::new(),
            history,
            brings: (0, Vec::new()),
            troubles,
            link,
            say,
            postponed: None,
            judging: None,
            judged: judge::JudgedParts::default(),
            fetch: None,
            worker,
            containers,
            os,
            look_after_at: Timestamp::ZERO.after(LOOK_AFTER),
            alive: alive::Alive::watched(|name| std::env::var_os(name)),
            watch: None,
            bus: None,
            notify: None,
            host,
            shutdown,
            events,
        })
    }

    fn now(&self) -> Now {
        let steady = Timestamp::ZERO.after(self.started.elapsed());
        Now { steady, trusted: self.clock.now() }
    }

    /// Goes on from the journal.
    fn start(&mut self, record: Option<Box<Record>>) {
        info!(device = %self.identity.device, known = record.is_some(), "agent started");
        self.say.look();
        let local = self.say.local(self.clock.now());
        self.input(Input::Start { record, local });
    }

    fn serve(&mut self, events: &Receiver<Event>) -> anyhow::Result<()> {
        loop {
            match events.recv_timeout(self.rest()) {
                Ok(event) => self.event(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("all threads of the agent ended"),
            }
            // Also between events: a busy queue must not hold up what is due.
            if self.due() <= self.now().steady {
                self.wakeup();
            }
        }
    }

    fn due(&self) -> Timestamp {
        let keeping = [&self.keeping.record_again, &self.keeping.reports_again, &self.keeping.resend];
        // What the machine is told before what is held would be decided without it.
        let machine = self.machine.next_wakeup().into_iter().chain(keeping.into_iter().filter_map(|pace| pace.at()));
        let machine = machine.filter(|_| !self.shutdown.holds());
        let all = machine.chain(self.postponed.as_ref().map(|p| p.at));
        all.fold(self.look_after_at, Timestamp::min)
    }

    fn wakeup(&mut self) {
        let now = self.now().steady;
        if let Some(bundles::Postponed { hint, bytes, .. }) = self.postponed.take_if(|p| p.at <= now) {
            self.announced(hint, bytes);
        }
        if self.look_after_at <= now {
            self.look_after_at = now.after(LOOK_AFTER);
            self.look_after();
        }
        if !self.shutdown.holds() {
            self.keep();
        }
        self.input(Input::Wakeup);
    }

    /// Apps in motion are the business of the switch and of the watch.
    fn look_after(&mut self) {
        self.refresh_trust();
        self.look_at_os();
        if !self.machine.state().is_after_switch() {
            self.containers.look_after(self.machine.record().apps.clone());
        }
    }

    /// Before each judgement: what the files say by now counts.
    fn refresh_trust(&mut self) {
        if self.shared_trust.refresh(&self.settings.paths) {
            self.trust = self.shared_trust.get();
            self.clock.raise(self.trust.trust.issued);
            // The announcement that it has was judged by the old trust, if it was judged at all.
            self.link.reconnect();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected(),
            Event::Disconnected => warn!("the peer is gone; waiting for it"),
            Event::Peer(packet) => self.peer_says(packet),
            Event::Asked(asked) => self.asked(asked),
            Event::Released(id) => {
                self.say.release(id);
                self.input(Input::Wakeup);
            }
            Event::Input(input) => self.input(input),
            Event::StaysUp => {
                self.shutdown.release().into_iter().for_each(|(input, came)| self.decide(input, came));
                self.input(Input::Wakeup);
            }
            Event::RebootHeld(held) => {
                self.say.reboot_held = held;
                self.input(Input::Wakeup);
            }
            Event::Trouble(kind, trouble) => self.troubles.tell(kind, trouble),
        }
    }

    /// Hands one input to the machine, unless the device may be going down.
    fn input(&mut self, input: Input) {
        let now = self.now();
        if let Some(input) = self.shutdown.hold(input, self.machine.state().is_after_switch(), now) {
            self.decide(input, now);
        }
    }

    /// Hands one input to the machine and does all that it asks for.
    fn decide(&mut self, input: Input, now: Now) {
        self.tell_local();
        if let Err(error) = self.machine.handle(input, now) {
            error!(%error, "the deployment machine refused an input");
        }
        while let Some(effect) = self.machine.poll() {
            self.act(effect);
        }
        self.note_what_comes();
        self.watch_if_needed();
        self.watch_os_if_needed();
        let unasked = self.machine.unasked();
        let unasked =
            unasked.map(|(name, why)| format!("the probation of {name} waits: how it is cannot be asked: {why}"));
        self.troubles.tell(trouble::Kind::Probation, unasked);
        self.tell_bus();
    }

    /// The record of an end no longer says what the deployment brought.
    fn note_what_comes(&mut self) {
        let Some(deployment) = &self.machine.record().deployment else { return };
        let known = deployment.parts.len() + deployment.removed.len();
        if deployment.by_hand || self.brings.0 != deployment.wish.action || self.brings.1.len() != known {
            self.brings = (deployment.wish.action, deployment.changes());
        }
    }

    /// Before each other input, since windows open and close with time.
    fn tell_local(&mut self) {
        let local = self.local();
        if self.machine.state() != State::Off && self.machine.local() != local {
            info!(locked = local.locked, inhibited = local.inhibited, "local say");
            if let Err(error) = self.machine.handle(Input::Local(local), self.now()) {
                error!(%error, "the deployment machine refused an input");
            }
        }
    }

    fn later(&self, input: Input) {
        let _ = self.events.send(Event::Input(input));
    }
}
