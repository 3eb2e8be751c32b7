//! The object on the bus: its methods, properties and signals.

use super::access::{Access, Action, Caller};
use super::holding::Held;
use super::seen::{self, News, Seen};
use crate::agent::door::{self, Asked};
use crate::agent::{Event, lock};
use crate::config::Settings;
use crate::identity::system_time;
use crate::status::Look;
use fullmetal_proto::AppName;
use fullmetal_proto::wire::asking::{AgentReport, FromAgent, LockNote, ToAgent, WHY_LEN_MAX, is_line};
use serde_json::Value;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::info;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::OwnedFd;
use zbus::{Connection, fdo};

/// How long a look at the device may be told again: nobody must keep the disk busy by asking.
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);

/// What all calls share.
#[derive(Clone)]
pub struct Object(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    ids: door::Ids,
    seen: watch::Receiver<Seen>,
    events: Sender<Event>,
    access: Access,
    /// When it was last looked at the device, and what was seen.
    look: Mutex<Option<(Instant, Value)>>,
}

impl Object {
    pub fn new(settings: Arc<Settings>, ids: door::Ids, seen: watch::Receiver<Seen>, events: Sender<Event>) -> Self {
        let (access, look) = (Access::default(), Mutex::default());
        Object(Arc::new(Shared { settings, ids, seen, events, access, look }))
    }

    fn see<T>(&self, what: impl FnOnce(&Seen) -> T) -> T {
        what(&self.0.seen.borrow())
    }

    /// Has the deciding thread do something, as over the agent's socket.
    async fn ask(&self, id: door::Id, caller: &Caller, what: ToAgent) -> fdo::Result<()> {
        let (sender, answered) = oneshot::channel();
        let answer = Box::new(move |said| drop(sender.send(said)));
        let (uid, pid) = (caller.uid, caller.pid);
        info!(uid, pid, ?what, "asked over the bus");
        let _ = self.0.events.send(Event::Asked(Asked { id, uid, pid, what, answer }));
        match timeout(door::ANSWER_MAX, answered).await {
            Ok(Ok(FromAgent::Done)) => Ok(()),
            Ok(Ok(FromAgent::Failed { reason })) => Err(fdo::Error::Failed(reason)),
            _ => Err(fdo::Error::TimedOut(door::late())),
        }
    }

    /// Changes the lock's file as `fullmetal lock` does, and has it read.
    async fn change_lock(&self, caller: &Caller, note: Option<LockNote>) -> fdo::Result<()> {
        let file = self.0.settings.paths.lock_file();
        let changed = spawn_blocking(move || match note {
            Some(note) => lock::set(&file, &note),
            None => lock::clear(&file),
        });
        changed.await.map_err(failed)?.map_err(failed)?;
        self.ask(self.0.ids.next(), caller, ToAgent::LookAgain).await
    }

    /// Looks at the device, or tells what was seen a moment ago.
    async fn look(&self) -> fdo::Result<Value> {
        let turn = timeout(door::ANSWER_MAX, self.0.look.lock()).await;
        let mut last = turn.map_err(|_| fdo::Error::TimedOut(door::late()))?;
        if let Some((at, value)) = &*last
            && at.elapsed() < LOOK_AGE_MAX
        {
            return Ok(value.clone());
        }
        let (settings, report) = (self.0.settings.clone(), self.see(|seen| seen.report.clone()));
        let value = spawn_blocking(move || looked(&settings, &report)).await.map_err(failed)?.map_err(failed)?;
        *last = Some((Instant::now(), value.clone()));
        Ok(value)
    }
}

fn looked(settings: &Settings, report: &AgentReport) -> Result<Value, String> {
    Look::at(settings, Some(report)).map(|look| look.json()).map_err(|error| format!("{error:#}"))
}

fn failed(error: impl ToString) -> fdo::Error {
    fdo::Error::Failed(error.to_string())
}

#[zbus::interface(name = "org.fullmetal.Agent1")]
impl Object {
    /// How the device stands, as `fullmetal status --json` tells it. Last lines of apps are for root.
    #[zbus(out_args("status"))]
    async fn get_status(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<String> {
        let caller = self.0.access.reader(connection, &header).await?;
        let mut value = self.look().await?;
        if caller.uid != 0 {
            let ended = value["ended"].as_array_mut().into_iter().flatten();
            ended.for_each(|ended| ended["log"] = Value::Null);
        }
        Ok(value.to_string())
    }

    /// No switch that may wait begins until the descriptor is closed or the caller leaves the bus.
    #[zbus(out_args("fd"))]
    async fn inhibit(
        &self,
        who: String,
        why: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<OwnedFd> {
        if who.is_empty() || why.is_empty() || !is_line(&who) || !is_line(&why) {
            let text = format!("say who and why in one line each, of at most {WHY_LEN_MAX} bytes");
            return Err(fdo::Error::InvalidArgs(text));
        }
        let caller = self.0.access.allow(connection, &header, Action::Inhibit).await?;
        let (held, descriptor) = Held::new().map_err(failed)?;
        let (id, events) = (self.0.ids.next(), self.0.events.clone());
        let asked = self.ask(id, &caller, ToAgent::Inhibit { who, why }).await;
        if asked.is_err() {
            // It may still be taken after it was too late.
            let _ = events.send(Event::Released(id));
        }
        asked?;
        let (connection, owner) = (connection.clone(), caller.name);
        tokio::spawn(async move {
            held.end(&connection, &owner).await;
            let _ = events.send(Event::Released(id));
        });
        Ok(descriptor.into())
    }

    /// Neighbours are asked for something newer now.
    async fn check_now(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        let caller = self.0.access.allow(connection, &header, Action::Check).await?;
        self.ask(self.0.ids.next(), &caller, ToAgent::CheckNow).await
    }

    /// The version of an app before the one in force comes back; its end is told by `Finished`.
    #[zbus(name = "Rollback")]
    async fn roll_back(
        &self,
        app: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        let app: AppName = app.parse().map_err(|e| fdo::Error::InvalidArgs(format!("no name of an app: {e}")))?;
        let caller = self.0.access.allow(connection, &header, Action::RollBack).await?;
        self.ask(self.0.ids.next(), &caller, ToAgent::RollBack { app }).await
    }

    /// No switch begins until `Unlock`, also over a reboot.
    async fn lock(
        &self,
        reason: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        if !is_line(&reason) {
            let text = format!("the reason must be one line of at most {WHY_LEN_MAX} bytes");
            return Err(fdo::Error::InvalidArgs(text));
        }
        let caller = self.0.access.allow(connection, &header, Action::Lock).await?;
        self.change_lock(&caller, Some(LockNote { reason, since: system_time() })).await
    }

    /// Ends a lock, whoever set it.
    async fn unlock(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        let caller = self.0.access.allow(connection, &header, Action::Lock).await?;
        self.change_lock(&caller, None).await
    }

    /// Of the agent.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// The device's id.
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> String {
        self.0.settings.device.id.to_string()
    }

    /// What the agent is at.
    #[zbus(property)]
    fn state(&self) -> String {
        self.see(|seen| seen.report.state.clone())
    }

    /// Name, version in force, version before.
    #[zbus(property)]
    fn apps(&self) -> Vec<(String, String, String)> {
        self.see(|seen| seen.apps.clone())
    }

    /// The action of the deployment under way.
    #[zbus(property)]
    fn action(&self) -> u64 {
        self.see(|seen| seen.action)
    }

    /// Apps and versions that it brings, and those that leave.
    #[zbus(property)]
    fn parts(&self) -> Vec<String> {
        self.see(|seen| seen.parts.clone())
    }

    /// Apps that leave with it.
    #[zbus(property)]
    fn removed(&self) -> Vec<String> {
        self.see(|seen| seen.removed.clone())
    }

    /// Bytes that came from neighbours.
    #[zbus(property)]
    fn bytes_from_peers(&self) -> u64 {
        self.see(|seen| seen.report.bytes_from_peers)
    }

    /// Bytes that came from the central repo.
    #[zbus(property)]
    fn bytes_from_central(&self) -> u64 {
        self.see(|seen| seen.report.bytes_from_central)
    }

    /// Bytes that are to come in all; 0 while it is not known.
    #[zbus(property)]
    fn bytes_total(&self) -> u64 {
        self.see(|seen| seen.report.bytes_total)
    }

    /// What holds the switch of a staged deployment back, for people.
    #[zbus(property)]
    fn obstacle(&self) -> String {
        self.see(|seen| seen.report.obstacle.clone().unwrap_or_default())
    }

    /// Whether the device is locked.
    #[zbus(property)]
    fn locked(&self) -> bool {
        self.see(|seen| seen.report.locked.is_some())
    }

    /// Why.
    #[zbus(property)]
    fn lock_reason(&self) -> String {
        self.see(|seen| seen.lock_reason().to_owned())
    }

    /// Who, why, user, process, seconds since 1970.
    #[zbus(property)]
    fn inhibitors(&self) -> Vec<seen::Held> {
        self.see(Seen::inhibitors)
    }

    /// Seconds since 1970; 0 while a local window is open.
    #[zbus(property)]
    fn window_opens(&self) -> u64 {
        self.see(Seen::window_opens)
    }

    /// Apps may be down from now on.
    #[zbus(signal)]
    async fn switching(emitter: &SignalEmitter<'_>, action: u64, parts: &[String]) -> zbus::Result<()>;

    /// A deployment ended, well or not.
    #[zbus(signal)]
    async fn finished(
        emitter: &SignalEmitter<'_>,
        action: u64,
        outcome: &str,
        reason: &str,
        parts: &[String],
    ) -> zbus::Result<()>;
}

/// Tells what happened.
pub async fn tell(news: &News, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
    match news {
        News::Switching { action, parts } => Object::switching(emitter, *action, parts).await,
        News::Finished(past) => {
            Object::finished(emitter, past.action, past.outcome(), &past.reason, &past.brought).await
        }
    }
}
