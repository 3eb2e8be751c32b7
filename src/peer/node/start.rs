//! Starts and stops the peer.

use super::announcements::Announcements;
use super::answers::{Answers, FINISHED_MAX};
use super::carrier::Carrier;
use super::clients::Clients;
use super::notes::Notes;
use super::trust::Watch;
use super::wishes::Wishes;
use super::{Inbox, Node};
use crate::config::Settings;
use crate::identity::{Clock, FleetTrust, Identity, SharedTrust, Usage};
use crate::local::{AsyncListener, Listener};
use crate::peer::cache::Cache;
use crate::peer::central::{Central, CentralOptions, STALL_MS_MAX};
use crate::peer::fetch::Fetcher;
use crate::peer::membership::{self, Credentials, MembershipSettings};
use crate::peer::serve::Uploads;
use crate::peer::socket::{self, Policy};
use crate::peer::transfer::{Counters, Data, Neighbours, VERIFYING_MAX};
use anyhow::Context as _;
use fullmetal_proto::announce::liveness::Liveness;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

/// Notices of transfers that wait for the node.
const NOTICES_MAX: usize = 64;
/// Threads for disk work.
const BLOCKING_THREADS_MAX: usize = 8;

/// The runtime that [`run`] is made for: one thread, and a few for the disk.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(512 << 10)
        .build()
}

/// Runs the peer until SIGTERM or SIGINT.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    run_until(settings, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

/// Runs the peer until `shutdown` is ready.
pub async fn run_until(settings: Settings, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let credentials = credentials(&settings)?;
    let dir = settings.paths.cache_dir();
    let cache = Cache::open(&dir, settings.peer.cache_bytes_max).context("opening the cache")?;
    let central = central(&settings, &credentials.clock)?;
    let listener = listener(&settings)?;
    let (notices, notices_rx) = mpsc::channel(NOTICES_MAX);
    let data = Arc::new(Data {
        me: settings.device.id.clone(),
        cache: cache.clone(),
        central,
        neighbours: Neighbours::default(),
        counters: Counters::default(),
        notices,
        verifying: Semaphore::new(VERIFYING_MAX),
        started: Instant::now(),
    });
    let started = membership::start(MembershipSettings::of(&settings), credentials.clone()).await;
    let (membership, events) = started.context("starting membership")?;
    info!(device = %data.me, address = %membership.local_addr(), "peer");
    let (finished, finished_rx) = mpsc::channel(FINISHED_MAX);
    let (fetcher, reports) = Fetcher::new(data.clone(), settings.peer.origin, settings.peer.weight, seed()?);
    let notes = Notes::new(cache);
    let mut node = Node {
        started: data.started,
        uploads: Arc::new(Uploads::new(data.clone())),
        membership: membership.clone(),
        credentials,
        fetcher,
        announcements: Announcements::new(seed()?),
        carrier: Carrier::new(data.me.clone(), seed()?),
        liveness: Liveness::new(data.me.clone()),
        wishes: Wishes::default(),
        clients: Clients::default(),
        answers: Answers::new(finished),
        notes: notes.clone(),
        sync_at: None,
        trust: Watch::new(settings.paths.clone()),
        data,
    };
    node.restore_announcement().context("restoring the newest announcement")?;
    node.restore_carried().context("restoring carried reports")?;
    node.restore_wishes().context("restoring kept manifests")?;
    node.keep();
    let (events_tx, socket_rx) = mpsc::channel(socket::EVENTS_MAX);
    let noting = tokio::spawn(notes.clone().run());
    let listening = tokio::spawn(socket::listen(listener, policy(&settings), events_tx));
    let inbox = Inbox { membership: events, reports, notices: notices_rx, socket: socket_rx, finished: finished_rx };
    node.run(inbox, shutdown).await;
    info!("stopping");
    listening.abort();
    noting.abort();
    node.sync();
    drop(node);
    membership.leave().await;
    notes.flush().context("writing notes to the cache")
}

fn credentials(settings: &Settings) -> anyhow::Result<Credentials> {
    let identity = Identity::load(settings, Usage::Peer).context("loading the peer's identity")?;
    let trust = FleetTrust::load(&settings.paths).context("loading the fleet's trust")?;
    settings.check_fleet(&trust.trust.fleet)?;
    let clock = Clock::new();
    clock.raise(trust.trust.issued);
    identity
        .check(&trust, &clock, Usage::Peer)
        .with_context(|| format!("{}", settings.paths.identity_dir().join("peer.crt").display()))?;
    Ok(Credentials { identity, trust: SharedTrust::new(trust), clock })
}

fn central(settings: &Settings, clock: &Clock) -> anyhow::Result<Option<Central>> {
    let Some(url) = settings.peer.central.as_ref().filter(|_| settings.peer.origin) else { return Ok(None) };
    let named = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    if settings.peer.central_proxy.is_none()
        && let Some(variable) = named.into_iter().find(|variable| std::env::var_os(variable).is_some())
    {
        warn!(variable, "the environment's proxy is not used for central: [peer] central_proxy names one");
    }
    let options = CentralOptions {
        url: url.parse().with_context(|| format!("parsing [peer] central = \"{url}\""))?,
        ca: settings.peer.central_ca.clone(),
        proxy: settings.peer.central_proxy.clone(),
        budget: settings.peer.central_budget.clone(),
        clock: Arc::new(clock.clone()),
        stall: Duration::from_millis(STALL_MS_MAX),
    };
    Ok(Some(Central::new(options)?))
}

fn listener(settings: &Settings) -> anyhow::Result<AsyncListener> {
    let dir = settings.paths.peer_run_dir();
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(AsyncListener::new(Listener::bind(&settings.paths.peer_socket())?)?)
}

fn policy(settings: &Settings) -> Policy {
    let own_uid = rustix::process::getuid().as_raw();
    let observer_idle = Duration::from_millis(socket::IDLE_MS_MAX);
    Policy { device: settings.device.id.clone(), own_uid, gateway_uid: settings.peer.client_uid, observer_idle }
}

fn seed() -> anyhow::Result<u64> {
    getrandom::u64().context("drawing a seed")
}
