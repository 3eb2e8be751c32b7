//! The agent on the system bus, `org.fullmetal.Agent1`, for programs of the device; `docs/dbus.md` describes it.
//!
//! One thread with an event loop of its own, which only translates: what may be asked over the agent's socket
//! ([`super::door`]) is asked of the deciding thread in the same way, and what that one tells is shown. Nothing is decided
//! by the bus: without one the agent goes on, and looks for one again and again.

mod access;
mod bounded;
mod holding;
mod object;
mod seen;

pub use seen::{News, Seen};

use super::trouble::Kind;
use super::{Agent, Event, door};
use crate::config::Settings;
use bounded::Bounded;
use object::Object;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};
use zbus::Connection;
use zbus::connection::socket::{BoxedSplit, Split};
use zbus::fdo::RequestNameFlags;
use zbus::object_server::SignalEmitter;

/// The name, and with it the interface.
const NAME: &str = "org.fullmetal.Agent1";
const PATH: &str = "/org/fullmetal/Agent1";
/// Before a bus is looked for again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the bus may take to take the agent on.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two tellings of changed properties.
const PACE: Duration = Duration::from_millis(200);
/// Switches and ends that may wait to be told.
const NEWS_MAX: usize = 64;
/// Calls that may wait to be looked at; the bus keeps further ones.
const CALLS_QUEUED_MAX: usize = 64;

/// The deciding thread's end: tells, and never waits.
pub struct Bus {
    seen: watch::Sender<Seen>,
    news: mpsc::Sender<News>,
    /// To be told after what they changed.
    pending: Vec<News>,
}

impl Bus {
    /// Starts the thread, which ends with this.
    pub fn open(settings: &Settings, ids: door::Ids, events: Sender<Event>) -> Self {
        let (seen, shown) = watch::channel(Seen::default());
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let path = settings.paths.system_bus();
        let object = Object::new(Arc::new(settings.clone()), ids, shown.clone(), events.clone());
        let adapter = Adapter { path, object, seen: shown, news: heard, events, troubled: false };
        std::thread::spawn(move || adapter.run());
        Bus { seen, news, pending: Vec::new() }
    }

    /// Something to be told with the next [`Bus::tell`].
    pub fn note(&mut self, news: News) {
        self.pending.push(news);
    }

    /// How it stands by now.
    pub fn tell(&mut self, seen: Seen) {
        self.seen.send_if_modified(|before| {
            let is_new = *before != seen;
            *before = seen;
            is_new
        });
        for news in self.pending.drain(..) {
            if let Err(error) = self.news.try_send(news) {
                debug!(%error, "not told on the bus");
            }
        }
    }
}

impl Agent {
    /// After each input.
    pub(super) fn tell_bus(&mut self) {
        if self.bus.is_none() {
            return;
        }
        let seen = Seen::of(self.status(), self.machine.record());
        if let Some(bus) = &mut self.bus {
            bus.tell(seen);
        }
    }

    /// An app may be down from now on.
    pub(super) fn tell_switch(&mut self) {
        let Seen { action, parts, .. } = Seen::of(Default::default(), self.machine.record());
        if let Some(bus) = &mut self.bus {
            bus.note(News::Switching { action, parts });
        }
    }
}

/// The bus' end.
struct Adapter {
    path: PathBuf,
    object: Object,
    seen: watch::Receiver<Seen>,
    news: mpsc::Receiver<News>,
    events: Sender<Event>,
    /// Whether trouble was told that is not over.
    troubled: bool,
}

impl Adapter {
    fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return self.trouble(Some(format!("no event loop for the system bus: {error}"))),
        };
        runtime.block_on(async {
            // Its sender is the agent's.
            while self.seen.has_changed().is_ok() {
                if let Err(error) = self.session().await {
                    self.trouble(Some(format!(
                        "{NAME} is not on the system bus: {error}; is its policy file in /usr/share/dbus-1/system.d?"
                    )));
                }
                sleep(RETRY).await;
            }
        });
    }

    fn trouble(&mut self, trouble: Option<String>) {
        if trouble.is_none() && !self.troubled {
            return;
        }
        self.troubled = trouble.is_some();
        let _ = self.events.send(Event::Trouble(Kind::Bus, trouble));
    }

    /// From the connection to its end; at once where there is no bus.
    async fn session(&mut self) -> zbus::Result<()> {
        let stream = match UnixStream::connect(&self.path).await {
            Ok(stream) => stream,
            Err(error) => {
                debug!(%error, path = %self.path.display(), "no system bus");
                self.trouble(None);
                return Ok(());
            }
        };
        let silent = |_| zbus::Error::Failure("the bus does not answer".to_owned());
        let connection = timeout(START_MAX, self.connect(stream)).await.map_err(silent)??;
        let flags = RequestNameFlags::DoNotQueue.into();
        let named = timeout(START_MAX, connection.request_name_with_flags(NAME, flags)).await;
        if let Err(error) = named.map_err(silent).and_then(|named| named) {
            // Its tasks would keep it open.
            let _ = connection.close().await;
            return Err(error);
        }
        self.trouble(None);
        info!(name = NAME, "on the system bus");
        let ended = self.serve(&connection).await;
        if let Err(error) = &ended {
            warn!(%error, "telling the bus");
        }
        let _ = connection.close().await;
        info!("the system bus is gone");
        Ok(())
    }

    async fn connect(&self, stream: UnixStream) -> zbus::Result<Connection> {
        let (read, write) = stream.into_split();
        let socket: BoxedSplit = Split::new(Box::new(Bounded(read)), Box::new(write));
        let builder = zbus::connection::Builder::socket(socket).max_queued(CALLS_QUEUED_MAX);
        builder.serve_at(PATH, self.object.clone())?.build().await
    }

    async fn serve(&mut self, connection: &Connection) -> zbus::Result<()> {
        let Adapter { seen, news, .. } = self;
        // What came while nobody listened is no news.
        while news.try_recv().is_ok() {}
        let emitter = SignalEmitter::new(connection, PATH)?;
        let mut told = seen.borrow_and_update().clone();
        let mut next = Instant::now();
        loop {
            let changed = async {
                sleep_until(next).await;
                seen.changed().await
            };
            let heard = tokio::select! {
                () = connection.closed() => return Ok(()),
                heard = news.recv() => match heard {
                    Some(news) => Some(news),
                    None => return Ok(()),
                },
                changed = changed => match changed {
                    Ok(()) => None,
                    Err(_) => return Ok(()),
                },
            };
            let now = seen.borrow_and_update().clone();
            now.tell_changes(&told, &emitter).await?;
            told = now;
            if let Some(news) = heard {
                object::tell(&news, &emitter).await?;
            }
            next = Instant::now() + PACE;
        }
    }
}
