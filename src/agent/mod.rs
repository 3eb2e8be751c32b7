//! The agent: drives [`fullmetal_proto::deploy`] on a device. Root, no network: a Unix socket to its peer.
//!
//! One thread decides (this one), one does slow work (store, containers), one listens to the peer, one
//! watches apps while they prove themselves. All of them tell this one through a single queue of events.

mod apps;
mod bundles;
mod fetch;
mod judge;
mod link;
mod space;
mod spool;
mod verify;
mod watch;
mod worker;

pub use spool::ended_reports;
pub use watch::elapsed as probation_elapsed;

use crate::config::Settings;
use crate::host::{SupervisorHost, SupervisorOptions};
use crate::identity::{Clock, FleetTrust, Identity, Usage};
use crate::journal::{DirectoryDisk, Journal};
use crate::local::{Packet, read_descriptor};
use crate::repo::LibostreeStore;
use anyhow::Context as _;
use fullmetal_proto::deploy::{Deploy, Effect, Input, Local, Now, Policy, Record, State};
use fullmetal_proto::wire::Hint;
use fullmetal_proto::wire::local::{FromPeer, ToPeer};
use fullmetal_proto::{Digest, Timestamp};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// What reaches the deciding thread.
enum Event {
    /// The peer's socket is open; whatever was asked before is to be asked again.
    Connected,
    /// The peer is gone for now.
    Disconnected,
    /// The peer says something.
    Peer(Packet<FromPeer>),
    /// Work is done, or an app does something.
    Input(Input),
}

/// All that the deciding thread owns.
struct Agent {
    settings: Settings,
    trust: FleetTrust,
    clock: Clock,
    identity: Identity,
    started: Instant,
    machine: Deploy,
    journal: Journal<DirectoryDisk>,
    spool: spool::Spool,
    link: link::Link,
    /// The newest announcement, when the disk could not take it.
    postponed: Option<bundles::Postponed>,
    judging: Option<judge::Judging>,
    /// Parts of the judged bundle, by commit: what fetching needs.
    judged: judge::JudgedParts,
    fetch: Option<worker::FetchHandle>,
    worker: worker::Worker,
    watch: Option<watch::Watch>,
    watch_host: SupervisorOptions,
    events: Sender<Event>,
}

/// Runs until it fails; ending it at any moment is safe.
///
/// # Errors
/// When the device's state cannot be used: the message says what, where and what to do.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "the agent runs containers: start it as root");
    let mut host = SupervisorOptions::new(settings.paths.root(), &settings.device.id).context("finding myself")?;
    host.grace = settings.agent.stop_timeout;
    let journal = Journal::open(&settings.paths.journal_dir())?;
    let record = adopt(&settings, &journal, &host)?;
    let (sender, receiver) = channel();
    let mut agent = Agent::new(settings, journal, host, sender)?;
    agent.start(record)?;
    agent.serve(&receiver)
}

/// Starts the apps before anything else can fail: what is in force runs, whatever becomes of this agent.
fn adopt(
    settings: &Settings,
    journal: &Journal<DirectoryDisk>,
    host: &SupervisorOptions,
) -> anyhow::Result<Option<Box<Record>>> {
    let mut apps = apps::Apps::new(settings.paths.clone(), Box::new(SupervisorHost::new(host.clone())));
    match journal.load() {
        Ok(record) => {
            if let Some(record) = &record {
                apps.adopt(record);
            }
            Ok(record.map(Box::new))
        }
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
        host: SupervisorOptions,
        events: Sender<Event>,
    ) -> anyhow::Result<Self> {
        let trust = FleetTrust::load(&settings.paths)?;
        settings.check_fleet(&trust.trust.fleet)?;
        let identity = Identity::load(&settings, Usage::Agent)?;
        let clock = Clock::new();
        clock.raise(trust.trust.issued);
        for dir in [settings.paths.state_dir(), settings.paths.apps_dir(), settings.paths.bundles_dir()] {
            std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        let store = LibostreeStore::open_or_create(&settings.paths.repo()).context("opening the object store")?;
        let spool = spool::Spool::open(&settings.paths.reports_dir())?;
        let link = link::Link::start(settings.paths.peer_socket(), settings.agent.peer_uid, events.clone());
        let worker =
            worker::Worker::start(settings.paths.clone(), Box::new(store), host.clone(), link.clone(), events.clone());
        let machine = Deploy::new(Policy { probation: settings.agent.probation });
        Ok(Agent {
            settings,
            trust,
            clock,
            identity,
            started: Instant::now(),
            machine,
            journal,
            spool,
            link,
            postponed: None,
            judging: None,
            judged: judge::JudgedParts::default(),
            fetch: None,
            worker,
            watch: None,
            watch_host: host,
            events,
        })
    }

    fn now(&self) -> Now {
        let steady = Timestamp::ZERO.after(self.started.elapsed());
        Now { steady, trusted: self.clock.now() }
    }

    /// Goes on from the journal.
    fn start(&mut self, record: Option<Box<Record>>) -> anyhow::Result<()> {
        info!(device = %self.identity.device, known = record.is_some(), "agent started");
        self.input(Input::Start { record, local: Local::default() })
    }

    fn serve(&mut self, events: &Receiver<Event>) -> anyhow::Result<()> {
        loop {
            let due = self.machine.next_wakeup().into_iter().chain(self.postponed.as_ref().map(|p| p.at)).min();
            let event = match due {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => events.recv_timeout(at.since(self.now().steady).max(Duration::from_millis(1))),
            };
            match event {
                Ok(event) => self.event(event)?,
                Err(RecvTimeoutError::Timeout) => self.wakeup()?,
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("all threads of the agent ended"),
            }
        }
    }

    fn wakeup(&mut self) -> anyhow::Result<()> {
        let now = self.now().steady;
        if let Some(bundles::Postponed { hint, bytes, .. }) = self.postponed.take_if(|p| p.at <= now) {
            self.announced(hint, bytes)?;
        }
        self.input(Input::Wakeup)
    }

    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Connected => self.connected(),
            Event::Disconnected => warn!("the peer is gone; waiting for it"),
            Event::Peer(packet) => return self.peer_says(packet),
            Event::Input(input) => return self.input(input),
        }
        Ok(())
    }

    /// A peer that was started anew knows nothing of what we asked its predecessor.
    fn connected(&mut self) {
        self.link.send(&ToPeer::Retain { manifests: self.machine.manifests() });
        if let Some(judging) = &self.judging {
            judging.ask(&self.link);
        }
        if let Some(fetch) = &self.fetch {
            fetch.tell(worker::FetchEvent::PeerIsBack);
        }
        for report in self.spool.pending() {
            self.link.send(&ToPeer::Report(report.into()));
        }
    }

    fn peer_says(&mut self, packet: Packet<FromPeer>) -> anyhow::Result<()> {
        match (packet.message, packet.descriptor) {
            (FromPeer::Announcement(hint), Some(fd)) => {
                match read_descriptor(&fd, verify::LEN_MAX.min(hint.length.into())) {
                    Ok(bytes) => return self.announced(hint, bytes),
                    Err(error) => warn!(%error, counter = hint.counter, "announcement not read"),
                }
            }
            (FromPeer::Blob { sha256 }, Some(fd)) => return self.blob(sha256, Ok(fd)),
            (FromPeer::BlobFailed { sha256, reason }, _) => return self.blob(sha256, Err(reason)),
            (FromPeer::Receipt(bytes), _) => match verify::receipt(self, &bytes) {
                Ok(counter) => self.spool.received(counter),
                Err(error) => warn!(%error, "receipt refused"),
            },
            (message @ (FromPeer::Have { .. } | FromPeer::Frame { .. } | FromPeer::WantFailed { .. }), fd) => {
                if let Some(fetch) = &self.fetch {
                    fetch.tell(worker::FetchEvent::Peer(Packet { message, descriptor: fd }));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn announced(&mut self, hint: Hint, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.postponed = None;
        match verify::announcement(self, &hint, &bytes) {
            Ok(input) => return self.input(input),
            Err(error) if error.is::<bundles::NotStored>() => {
                warn!(error = format!("{error:#}"), counter = hint.counter, "announcement postponed");
                let at = self.now().steady.after(bundles::RETRY);
                self.postponed = Some(bundles::Postponed { at, hint, bytes });
            }
            Err(error) => warn!(%error, counter = hint.counter, "announcement refused"),
        }
        Ok(())
    }

    fn blob(&mut self, sha256: Digest, got: Result<std::os::fd::OwnedFd, String>) -> anyhow::Result<()> {
        let Some(judging) = &mut self.judging else { return Ok(()) };
        let Some(done) = judging.take(sha256, got, &self.link) else { return Ok(()) };
        let ticket = judging.ticket;
        let verdict = done.and_then(|blobs| judge::judge(self, &blobs));
        self.judging = None;
        let input = match verdict {
            Ok((parts, judged)) => {
                self.judged = judged;
                Input::Judged { ticket, parts }
            }
            Err(judge::Verdict { retry, reason }) => Input::Failed { ticket, retry, reason },
        };
        self.input(input)
    }

    /// Hands one input to the machine and does all that it asks for.
    fn input(&mut self, input: Input) -> anyhow::Result<()> {
        if let Err(error) = self.machine.handle(input, self.now()) {
            error!(%error, "the deployment machine refused an input");
        }
        while let Some(effect) = self.machine.poll() {
            self.act(effect)?;
        }
        self.watch_if_needed();
        Ok(())
    }

    fn act(&mut self, effect: Effect) -> anyhow::Result<()> {
        match effect {
            Effect::Persist { seq, record } => {
                self.journal.save(&record)?;
                if let Err(error) = self.machine.handle(Input::Persisted { seq }, self.now()) {
                    error!(%error, "the deployment machine refused its own record");
                }
            }
            Effect::Judge { ticket, action, bundle } => {
                info!(action, bundle = %bundle.short(), "judging");
                match judge::Judging::start(ticket, &self.settings.paths.bundle(&bundle)) {
                    Ok(judging) => {
                        judging.ask(&self.link);
                        self.judging = Some(judging);
                    }
                    Err(judge::Verdict { retry, reason }) => self.later(Input::Failed { ticket, retry, reason }),
                }
            }
            Effect::CheckSpace { ticket, moves, .. } => self.worker.check_space(ticket, &moves, &self.judged),
            Effect::Fetch { ticket, moves, .. } => {
                // Before the wish ends: what was fetched is served on to those who come later.
                self.link.send(&ToPeer::Retain { manifests: self.machine.manifests() });
                self.fetch = Some(self.worker.fetch(ticket, &moves, &self.judged));
            }
            Effect::Checkout { ticket, moves } => self.worker.checkout(ticket, moves),
            Effect::Switch { ticket, moves } => self.worker.switch(ticket, moves),
            Effect::Revert { ticket, moves } => {
                self.watch = None;
                self.worker.revert(ticket, moves);
            }
            Effect::Cancel { ticket } => self.cancel(ticket),
            Effect::Report { report, parts } => self.report(&report, parts)?,
            Effect::Prune { ticket, commits, manifests, bundles } => {
                self.link.send(&ToPeer::Retain { manifests });
                bundles::prune(&self.settings.paths, &bundles);
                self.worker.prune(ticket, commits);
            }
            Effect::Ignored { rank, why } => info!(epoch = rank.0, counter = rank.1, %why, "announcement not followed"),
        }
        Ok(())
    }

    fn later(&self, input: Input) {
        let _ = self.events.send(Event::Input(input));
    }

    fn cancel(&mut self, ticket: fullmetal_proto::deploy::Ticket) {
        if self.judging.as_ref().is_some_and(|j| j.ticket == ticket) {
            self.judging = None;
        }
        if let Some(fetch) = self.fetch.take_if(|f| f.ticket == ticket) {
            fetch.tell(worker::FetchEvent::Cancel);
        }
    }

    fn report(
        &mut self,
        report: &fullmetal_proto::deploy::Outgoing,
        parts: Vec<fullmetal_proto::wire::PartState>,
    ) -> anyhow::Result<()> {
        info!(action = report.action, state = ?report.state, reason = %report.cause.reason, "report");
        let bytes = self.spool.add(&self.identity, report, parts)?;
        if let Some(bytes) = bytes {
            self.link.send(&ToPeer::Report(bytes.into()));
        }
        self.later(Input::Spooled { counter: report.counter });
        Ok(())
    }

    /// Apps are watched from the switch to the end of the probation.
    fn watch_if_needed(&mut self) {
        match self.machine.state() {
            State::Proving if self.watch.is_none() => {
                let deployment = self.machine.record().deployment.as_ref();
                let apps = watch::watched(&self.settings.paths, deployment.iter().flat_map(|d| d.parts.iter()));
                let note = watch::Note::leave(&self.settings.paths, deployment.map_or(0, |d| d.wish.action));
                self.watch = Some(watch::Watch::start(self.watch_host.clone(), apps, self.events.clone(), note));
            }
            State::Proving => {}
            _ => self.watch = None,
        }
    }
}
