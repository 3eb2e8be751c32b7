//! The running gateway: one thread that owns the core, and what happens to it.

mod effects;
mod steer;

use crate::audit::{Audit, AuditError};
use crate::control::{self, Asked, Response, Server};
use crate::ddi::DdiError;
use crate::disk::{Disk, DiskError};
use crate::hawkbit::FromHawkbit;
use crate::link::{FromLink, Link};
use crate::manifests::Manifests;
use crate::metrics::{self, MetricsError, Requests};
use crate::resolve::{LinkCentral, Resolution, Resolver};
use crate::status::Status;
use crate::verify;
use fullmetal::config::{ConfigError, Settings};
use fullmetal::identity::{Clock, FleetTrust, IdentityError, SharedTrust, load_key};
use fullmetal::local::LocalError;
use fullmetal_proto::dispatch::{Config, Dispatch, Input, Outcome};
use fullmetal_proto::wire::{PublicKey, SigningKey};
use fullmetal_proto::{Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use steer::Steer;

/// How long trouble is shown that did not come again.
const TROUBLE: Duration = Duration::from_secs(600);
/// The longest sleep of the core's thread: trust file and revocation list are looked at whenever it wakes.
const SLEEP_MAX: Duration = Duration::from_secs(3);
/// The most events that are taken in together.
const EVENTS_MAX: usize = 64;

/// Why the gateway ends.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Keys or trust file.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// The configuration does not fit the trust file.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The key is not one that the fleet follows.
    #[error("key {path} is not in the gateway role of trust file version {version}; install the right key or trust file", path = .path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// Version of the trust file.
        version: u64,
    },
    /// One gateway cannot sign alone.
    #[error(
        "the trust file wants {0} gateway signatures, this gateway has one key; set the threshold of the gateway role to 1"
    )]
    Threshold(u16),
    /// `[hawkbit]`: tokens, CA certificates, TLS.
    #[error("{0}")]
    Hawkbit(#[from] DdiError),
    /// The system gives no thread for Hawkbit.
    #[error("starting Hawkbit's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// State or spool.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// Audit log.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// Figures for Prometheus.
    #[error("{0}")]
    Metrics(#[from] MetricsError),
    /// The own socket.
    #[error("{0}")]
    Local(#[from] LocalError),
}

impl DaemonError {
    /// Whether what was installed or configured is wrong, rather than what happened.
    pub fn is_configuration(&self) -> bool {
        use DaemonError::{Audit, Disk, Local, Metrics, Thread};
        !matches!(self, Disk(_) | Audit(_) | Local(_) | Thread(_) | Metrics(_))
    }
}

/// What the core's thread wakes up for.
enum Event {
    Link(FromLink),
    Made(Resolution),
    Asked(Asked),
    Hawkbit(FromHawkbit),
}

impl From<FromHawkbit> for Event {
    fn from(event: FromHawkbit) -> Self {
        Event::Hawkbit(event)
    }
}

impl From<FromLink> for Event {
    fn from(event: FromLink) -> Self {
        Event::Link(event)
    }
}

impl From<Resolution> for Event {
    fn from(made: Resolution) -> Self {
        Event::Made(made)
    }
}

impl From<Asked> for Event {
    fn from(asked: Asked) -> Self {
        Event::Asked(asked)
    }
}

struct Daemon {
    core: Dispatch,
    fleet: fullmetal_proto::FleetId,
    key: SigningKey,
    settings: Settings,
    trust: SharedTrust,
    clock: Clock,
    /// The last time handed to the core, and when; it runs on even when the system clock stands or jumps back.
    last: (Timestamp, Instant),
    disk: Disk,
    audit: Audit,
    link: Link,
    resolver: Resolver,
    manifests: Manifests,
    tickets: BTreeMap<u64, Sender<Response>>,
    next_ticket: u64,
    /// Manifests that the peer was asked to help with.
    helped: BTreeSet<Digest>,
    trouble: Option<(Timestamp, String)>,
    /// Where decisions come from, when not from files.
    steer: Option<Steer>,
}

/// Runs the gateway until something fatal happens. `settle` is how long it listens before it acts.
pub fn run(settings: &Settings, settle: Duration) -> Result<(), DaemonError> {
    let trust = FleetTrust::load(&settings.paths)?;
    let key = usable_key(settings, &trust)?;
    let dir = settings.paths.gateway_dir();
    let disk = Disk::open(&dir)?;
    let mut state = disk.load_state()?;
    let audit = Audit::open(&dir)?;
    state.next_entry = state.next_entry.max(audit.next_entry());
    let clock = Clock::new();
    clock.raise(trust.trust.issued);
    if let Some(announced) = &state.announced {
        clock.raise(announced.issued);
    }
    let mut config = Config::new(trust.trust.fleet.clone(), trust.trust.epoch);
    (config.expiry, config.settle) = (settings.gateway.announcement_lifetime, settle);
    let now = clock.now();
    if let Err(error) = trust.trust.check_time(now) {
        tracing::warn!(%error, "devices will start nothing new");
    }
    let manifests = Manifests::open(&dir, &state)?;
    let core = Dispatch::new(config, state, disk.spooled()?, now);
    let (events, inbox) = mpsc::channel::<Event>();
    let trust = SharedTrust::new(trust);
    let (link, resolver) = connect(settings, &trust, &manifests, &events);
    let requests = Requests::default();
    let steer = |h| Steer::start(h, &clock, &requests, events.clone());
    let steer = settings.hawkbit.as_ref().map(steer).transpose()?;
    if let Some(address) = settings.gateway.metrics {
        metrics::start(address, requests, events.clone())?;
    }
    let socket = control::socket_path(&settings.paths);
    if let Some(parent) = socket.parent() {
        let err = |source| LocalError::Socket { action: "making the directory of", path: socket.clone(), source };
        std::fs::create_dir_all(parent).map_err(err)?;
    }
    Server::start(&socket, events)?;
    tracing::info!(fleet = %settings.device.fleet, socket = %socket.display(), "gateway is up");
    let (fleet, tickets, helped) = (settings.device.fleet.clone(), BTreeMap::new(), BTreeSet::new());
    let last = (now, Instant::now());
    let (next_ticket, trouble) = (1, None);
    let daemon = Daemon {
        core,
        fleet,
        key,
        settings: settings.clone(),
        trust,
        clock,
        last,
        disk,
        audit,
        link,
        resolver,
        manifests,
        tickets,
        next_ticket,
        helped,
        trouble,
        steer,
    };
    daemon.work(&inbox)
}

fn connect(
    settings: &Settings,
    trust: &SharedTrust,
    manifests: &Manifests,
    events: &Sender<Event>,
) -> (Link, Resolver) {
    let (central, answers) = mpsc::channel();
    let link = Link::start(settings.paths.peer_socket(), events.clone(), central);
    let reading = LinkCentral { link: link.clone(), answers };
    (link, Resolver::start(reading, trust.clone(), manifests.clone(), events.clone()))
}

/// The signing key, when the fleet follows it.
fn usable_key(settings: &Settings, trust: &FleetTrust) -> Result<SigningKey, DaemonError> {
    settings.check_fleet(&trust.trust.fleet)?;
    if trust.trust.gateway.threshold > 1 {
        return Err(DaemonError::Threshold(trust.trust.gateway.threshold));
    }
    let path = settings.gateway.key.clone();
    let key = load_key(&path)?;
    let public = PublicKey::of(&key);
    if !trust.trust.gateway.keys.contains(&public) || trust.revoked.has_key(&public.id()) {
        return Err(DaemonError::Key { path, version: trust.trust.version });
    }
    Ok(key)
}

impl Daemon {
    /// What came meanwhile is taken in together, so that many reports cost few syncs; then everything is done that follows.
    fn work(mut self, inbox: &Receiver<Event>) -> Result<(), DaemonError> {
        loop {
            self.look_at_trust()?;
            self.carry_out()?;
            let now = self.now();
            let sleep = self.next_wakeup().map_or(SLEEP_MAX, |at| at.since(now)).min(SLEEP_MAX);
            let first = match inbox.recv_timeout(sleep) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            for event in first.into_iter().chain(inbox.try_iter()).take(EVENTS_MAX) {
                self.take(event)?;
            }
            self.give(Input::Wakeup);
        }
    }

    fn take(&mut self, event: Event) -> Result<(), DaemonError> {
        match event {
            Event::Link(event) => self.on_link(event),
            Event::Made((action, made)) => self.made(action, made),
            Event::Asked(asked) => self.asked(asked)?,
            Event::Hawkbit(event) => self.on_hawkbit(event),
        }
        Ok(())
    }

    /// Takes up a newer trust file or revocation list. Who is no gateway any more ends.
    fn look_at_trust(&mut self) -> Result<(), DaemonError> {
        if !self.trust.refresh(&self.settings.paths) {
            return Ok(());
        }
        let trust = self.trust.get();
        self.key = usable_key(&self.settings, &trust)?;
        self.clock.raise(trust.trust.issued);
        self.give(Input::Epoch(trust.trust.epoch));
        Ok(())
    }

    /// Trusted time that never stands still and never goes back.
    fn now(&mut self) -> Timestamp {
        let (then, at) = self.last;
        let now = self.clock.now().max(then.after(at.elapsed()));
        if now > then {
            self.last = (now, Instant::now());
        }
        now
    }

    /// Hands the core an input; [`Daemon::carry_out`] does what follows.
    fn give(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(input, now);
    }

    fn on_link(&mut self, event: FromLink) {
        match event {
            FromLink::Connected(device) => {
                tracing::info!(peer = %device, "connected to the peer");
                self.helped.clear();
                self.trouble = None;
                self.give(Input::Connected)
            }
            FromLink::Disconnected => self.give(Input::Disconnected),
            FromLink::Heard(list) => {
                self.give(Input::Heard(list.clone()));
                self.heard(list)
            }
            FromLink::Announcement(bytes) => match verify::announcement(&bytes, &self.trust.get()) {
                Ok(newest) => {
                    self.clock.raise(newest.announcement.issued);
                    self.give(Input::Highest(newest))
                }
                Err(error) => self.note("an announcement that the peer has does not hold", &error.to_string()),
            },
            FromLink::Report(envelope) => {
                let now = self.now();
                match verify::report(&envelope, &self.trust.get(), now) {
                    Ok(report) => {
                        // A device that reports is there, long before word of it has crossed a fleet.
                        let age = u32::try_from(now.since(report.at).as_secs()).unwrap_or(u32::MAX);
                        self.heard(vec![(report.device.clone(), age)]);
                        self.give(Input::Report { report: Box::new(report), envelope });
                    }
                    Err(error) => self.note("a report was refused", &error.to_string()),
                }
            }
            FromLink::Trouble(problem) => self.note("the peer has trouble", &problem),
        }
    }

    fn note(&mut self, what: &'static str, problem: &str) {
        tracing::warn!(problem, "{what}");
        self.trouble = Some((self.now(), format!("{what}: {problem}")));
    }

    fn made(&mut self, action: u64, made: Result<fullmetal_proto::wire::Bundle, crate::resolve::ResolveError>) {
        match made {
            Ok(bundle) => self.give(Input::Resolved { action, bundle: Box::new(bundle) }),
            Err(error) => {
                tracing::warn!(action, %error, "no bundle");
                let (reason, retry) = (error.to_string(), error.may_pass());
                self.give(Input::Unresolved { action, reason, retry })
            }
        }
    }

    fn asked(&mut self, asked: Asked) -> Result<(), DaemonError> {
        let now = self.now();
        let (back, input): (Sender<Response>, Box<dyn FnOnce(u64) -> Input>) = match asked {
            Asked::Deploy(_, back) if self.steer.is_some() => {
                let reason = "decisions come from Hawkbit ([hawkbit] in the configuration): assign there".to_owned();
                let _ = back.send(Response::Answer { action: None, outcome: Outcome::Refused { reason } });
                return Ok(());
            }
            Asked::Confirm(action, yes, back) => return self.confirm(action, yes, &back),
            Asked::Deploy(wish, back) => (back, Box::new(move |ticket| Input::Request { ticket, wish: *wish })),
            Asked::Withdraw(action, back) => (back, Box::new(move |ticket| Input::Withdraw { ticket, action })),
            Asked::Resume(back) => (back, Box::new(|ticket| Input::Resume { ticket })),
            Asked::Status(back) => {
                let trouble = self.trouble.as_ref().filter(|(at, _)| now.since(*at) < TROUBLE);
                let trouble = trouble.map_or("", |(_, text)| text);
                let mut status = Status::of(&self.core, &self.fleet, trouble, now);
                self.steer.iter().for_each(|s| s.describe(&mut status));
                let _ = back.send(Box::new(status));
                return Ok(());
            }
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, back);
        self.give(input(ticket));
        Ok(())
    }
}
