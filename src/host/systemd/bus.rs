//! Calls to systemd, each over a connection of its own to the system bus.
//!
//! systemd's private socket would need no bus daemon, but its messages name a sender that is no unique name, at which
//! zbus 5.19 gives up. At boot nothing needs the bus: see [`crate::boot`]. Anybody may send signals to a connection of
//! the system bus, so only those of the owner of systemd's name are heard.
//!
//! Interface: `org.freedesktop.systemd1(5)`. The event loop runs only while a call does, so no thread is needed.

use super::unit_state::UnitState;
use fullmetal_proto::wire::report::ExitStatus;
use futures::StreamExt as _;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zbus::message::Type;
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue};
use zbus::{Connection, Message, MessageStream};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// systemd answers within that, also while it reads all units anew.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How often something is looked at while a job is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// Signals that may wait while an answer is waited for.
const SIGNALS_MAX: usize = 4096;

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It could not be asked, or refused.
    #[error("asking systemd to {act}: {source}")]
    Call {
        /// What.
        act: &'static str,
        /// Its word, or the system's.
        source: Box<zbus::Error>,
    },
    /// No event loop could be made.
    #[error("making an event loop to ask systemd: {0}")]
    Loop(#[source] std::io::Error),
    /// It does not answer.
    #[error("systemd does not answer within {} s when asked to {act}; see `systemctl status` and `journalctl -b`", CALL_MAX.as_secs())]
    Silent {
        /// What was asked.
        act: &'static str,
    },
    /// A job did not end in time.
    #[error("systemd has not ended its job for {unit} after {secs} s; it is {state}: see `systemctl status {unit}`")]
    Unended {
        /// Which unit.
        unit: String,
        /// How long it was waited for.
        secs: u64,
        /// What the unit does meanwhile, as systemd calls it.
        state: String,
    },
}

/// How a job ended, as systemd calls it: `done`, `failed`, `timeout`, `dependency`, `canceled`, `skipped` …
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobEnd {
    pub(super) result: String,
    /// How the unit's main process ended meanwhile, if it did.
    pub(super) exit: Option<ExitStatus>,
}

/// A connection.
pub(super) struct Bus {
    runtime: Runtime,
    connection: Connection,
    /// systemd's unique name.
    owner: String,
    signals: Option<MessageStream>,
}

impl Bus {
    pub(super) fn connect() -> Result<Self, BusError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(BusError::Loop)?;
        let (connection, owner) = runtime.block_on(bounded("listen on the system bus", async {
            let connection = zbus::connection::Builder::system()?.max_queued(SIGNALS_MAX).build().await?;
            let owner = owner(&connection).await?;
            Ok((connection, owner))
        }))?;
        Ok(Bus { runtime, connection, owner, signals: None })
    }

    /// From now on hears of jobs and of what `unit` does, which stays the only one that this connection is used for.
    fn listen(&mut self, unit: &str) -> Result<(), BusError> {
        if self.signals.is_some() {
            return Ok(());
        }
        let signals = MessageStream::from(&self.connection);
        let rules = [
            format!("type='signal',sender='{DESTINATION}',interface='{MANAGER}',member='JobRemoved'"),
            format!("type='signal',sender='{DESTINATION}',interface='{PROPERTIES}',path='{}'", object_path(unit)),
        ];
        self.runtime.block_on(bounded("listen for signals", async {
            for rule in &rules {
                self.connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "AddMatch", rule).await?;
            }
            Ok(())
        }))?;
        self.signals = Some(signals);
        self.manager("send signals", "Subscribe", &())
    }

    fn manager<B, R>(&self, act: &'static str, method: &str, body: &B) -> Result<R, BusError>
    where
        B: serde::Serialize + DynamicType,
        R: for<'d> serde::Deserialize<'d> + zbus::zvariant::Type,
    {
        self.call(act, (DESTINATION, MANAGER_PATH, MANAGER, method), body)
    }

    /// Calls a method, named by its program, its object, its interface and its own name.
    pub(super) fn call<B, R>(
        &self,
        act: &'static str,
        (to, object, interface, method): (&str, &str, &str, &str),
        body: &B,
    ) -> Result<R, BusError>
    where
        B: serde::Serialize + DynamicType,
        R: for<'d> serde::Deserialize<'d> + zbus::zvariant::Type,
    {
        self.runtime.block_on(bounded(act, async {
            let call = self.connection.call_method(Some(to), object, Some(interface), method, body);
            call.await?.body().deserialize()
        }))
    }

    /// What systemd knows about `unit`; of one without a file it says so.
    pub(super) fn unit(&self, unit: &str) -> Result<UnitState, BusError> {
        let path = object_path(unit);
        let mut all = HashMap::new();
        for interface in [UNIT, SERVICE] {
            let part: HashMap<String, OwnedValue> = self.runtime.block_on(bounded("tell about a unit", async {
                let call = self.connection.call_method(
                    Some(DESTINATION),
                    path.as_str(),
                    Some(PROPERTIES),
                    "GetAll",
                    &interface,
                );
                call.await?.body().deserialize()
            }))?;
            all.extend(part);
        }
        Ok(UnitState::of(all))
    }

    /// Has systemd read all unit files anew.
    pub(super) fn reload(&self) -> Result<(), BusError> {
        self.manager("read its unit files", "Reload", &())
    }

    /// Forgets that a unit failed; one that it does not know has not.
    pub(super) fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        match self.manager("forget a failure", "ResetFailedUnit", &(unit,)) {
            Err(BusError::Call { source, .. }) if is_unknown(&source) => Ok(()),
            other => other,
        }
    }

    /// Begins to start a unit.
    pub(super) fn start<'a>(&'a mut self, unit: &'a str) -> Result<Job<'a>, BusError> {
        let path = self.begin(unit, "StartUnit", &(unit, "replace"))?;
        Ok(self.job(unit, path))
    }

    /// Begins to start a unit by any method that gives a job.
    pub(super) fn begin<B>(&mut self, unit: &str, method: &str, body: &B) -> Result<OwnedObjectPath, BusError>
    where
        B: serde::Serialize + DynamicType,
    {
        self.listen(unit)?;
        self.manager("start a unit", method, body)
    }

    /// A job that was begun.
    pub(super) fn job<'a>(&'a mut self, unit: &'a str, path: OwnedObjectPath) -> Job<'a> {
        Job { bus: self, unit, path }
    }

    /// Begins to go down and to boot anew, as logind has it done.
    pub(super) fn isolate_reboot(&self) -> Result<(), BusError> {
        let job = self.manager("reboot", "StartUnit", &("reboot.target", "replace-irreversibly"));
        job.map(|_: OwnedObjectPath| ())
    }

    /// Begins to stop a unit; `None` when systemd does not know it.
    pub(super) fn stop<'a>(&'a mut self, unit: &'a str) -> Result<Option<Job<'a>>, BusError> {
        self.listen(unit)?;
        match self.manager("stop a unit", "StopUnit", &(unit, "replace")) {
            Err(BusError::Call { source, .. }) if is_unknown(&source) => Ok(None),
            Err(error) => Err(error),
            Ok(path) => Ok(Some(Job { bus: self, unit, path })),
        }
    }

    /// Waits until systemd says something new about a unit; gives whether it did within `limit`.
    pub(super) fn changed(&mut self, unit: &str, limit: Duration) -> Result<bool, BusError> {
        let Some(signals) = &mut self.signals else {
            // What happened before is seen by who looks now.
            self.listen(unit)?;
            return Ok(true);
        };
        let (path, owner) = (object_path(unit), &self.owner);
        self.runtime.block_on(async {
            let until = Instant::now() + limit;
            loop {
                match timeout_at(until, next(signals, owner)).await {
                    Err(_) => return Ok(false),
                    Ok(Ok(message)) if is_from(&message, &path) => return Ok(true),
                    Ok(message) => drop(message?),
                }
            }
        })
    }
}

/// A job of systemd that is under way.
pub(super) struct Job<'a> {
    bus: &'a mut Bus,
    unit: &'a str,
    path: OwnedObjectPath,
}

impl Job<'_> {
    /// Waits for its end; meanwhile hears what changes of the unit, and looks at something again and again.
    pub(super) fn end(
        self,
        limit: Duration,
        mut hear: impl FnMut(&UnitState),
        mut look: impl FnMut(),
    ) -> Result<JobEnd, BusError> {
        let Job { bus: Bus { runtime, signals, owner, .. }, unit, path } = self;
        let unit_path = object_path(unit);
        let signals = signals.as_mut().ok_or_else(|| call("end a job", gone()))?;
        let ended = async {
            let mut exit = None;
            loop {
                let message = next(signals, owner).await?;
                if is_from(&message, &unit_path) {
                    let changes = changes_in(&message);
                    exit = changes.exit().or(exit);
                    hear(&changes);
                } else if let Some(result) = result_of(&message, &path) {
                    return Ok(JobEnd { result, exit });
                }
            }
        };
        // The timer is one of the event loop's.
        let end = runtime.block_on(async {
            let looking = async {
                loop {
                    sleep(LOOK).await;
                    look();
                }
            };
            tokio::select! {
                end = timeout(limit, ended) => end,
                () = looking => unreachable!("it looks for ever"),
            }
        });
        match end {
            Ok(end) => end,
            Err(_) => {
                let state = Bus::connect()?.unit(unit)?.state();
                Err(BusError::Unended { unit: unit.to_owned(), secs: limit.as_secs(), state })
            }
        }
    }
}

fn call(act: &'static str, source: zbus::Error) -> BusError {
    BusError::Call { act, source: Box::new(source) }
}

fn gone() -> zbus::Error {
    zbus::Error::Failure("the connection is closed".to_owned())
}

/// The next signal of systemd itself.
async fn next(signals: &mut MessageStream, owner: &str) -> Result<Message, BusError> {
    loop {
        let message = signals.next().await.unwrap_or_else(|| Err(gone())).map_err(|e| call("send signals", e))?;
        if message.message_type() == Type::Signal && message.header().sender().is_some_and(|s| s.as_str() == owner) {
            return Ok(message);
        }
    }
}

/// The name of systemd's own connection. Early at boot the bus is there and systemd is not on it yet.
async fn owner(connection: &Connection) -> zbus::Result<String> {
    loop {
        match connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetNameOwner", &DESTINATION).await {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_OWNER => sleep(LOOK).await,
            answer => return answer?.body().deserialize(),
        }
    }
}

async fn bounded<T>(act: &'static str, asked: impl Future<Output = zbus::Result<T>>) -> Result<T, BusError> {
    match timeout(CALL_MAX, asked).await {
        Ok(answer) => answer.map_err(|e| call(act, e)),
        Err(_) => Err(BusError::Silent { act }),
    }
}

fn is_unknown(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit")
}

fn is_from(message: &Message, path: &str) -> bool {
    let header = message.header();
    let (from, member) = (header.path().map(|p| p.as_str()), header.member().map(|m| m.as_str()));
    from == Some(path) && member == Some("PropertiesChanged")
}

/// What a signal of a unit says is new.
fn changes_in(message: &Message) -> UnitState {
    let said = message.body().deserialize();
    let (_, changed, _): (String, HashMap<String, OwnedValue>, Vec<String>) = said.unwrap_or_default();
    UnitState::of(changed)
}

fn result_of(message: &Message, job: &OwnedObjectPath) -> Option<String> {
    if message.header().member()?.as_str() != "JobRemoved" {
        return None;
    }
    let (_, path, _, result): (u32, OwnedObjectPath, String, String) = message.body().deserialize().ok()?;
    (path == *job).then_some(result)
}

/// Every byte but letters and digits, and a leading digit, becomes `_` and two hexadecimal digits.
fn object_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_units_are_escaped_as_systemd_does() {
        assert_eq!(object_path("web-1.service"), "/org/freedesktop/systemd1/unit/web_2d1_2eservice");
        assert_eq!(object_path("7_a.service"), "/org/freedesktop/systemd1/unit/_37_5fa_2eservice");
    }
}
