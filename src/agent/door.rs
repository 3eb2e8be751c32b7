//! The agent's own socket: what people and programs on the device ask, see [`fullmetal_proto::wire::asking`].
//!
//! One thread takes clients, and each client has one. They only carry: the deciding thread answers, so that an answer is
//! also the promise that what it says holds.

use super::dbus::Bus;
use super::trouble::Kind;
use super::{Agent, Event};
use crate::installed_commit;
use crate::local::{Connection, Listener, LocalError};
use fullmetal_proto::deploy::{Comeback, Input, Obstacle};
use fullmetal_proto::ostree::CommitMetadata;
use fullmetal_proto::wire::asking::{AgentReport, FromAgent, Inhibitor, ToAgent, VERSION, WHY_LEN_MAX, is_line};
use fullmetal_proto::wire::local::ToPeer;
use fullmetal_proto::{AppName, DeviceId, Digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, sync_channel};
use std::time::Duration;
use tracing::{info, warn};

/// How many clients there may be at a time.
const CLIENTS_MAX: usize = 64;
/// So many of these places are for root alone.
const ROOT_ONLY: usize = 40;
/// How long a client may say nothing, unless it holds an inhibitor; and how long it may take to read.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long the deciding thread may take to answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Names a client.
pub type Id = u64;

/// Gives each client another name, whichever way it comes.
#[derive(Clone, Default)]
pub struct Ids(Arc<AtomicU64>);

impl Ids {
    /// One that was not given before.
    pub fn next(&self) -> Id {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Who asks what. Whether it may is known by then.
pub struct Asked {
    /// The client.
    pub id: Id,
    /// Its user.
    pub uid: u32,
    /// Its process.
    pub pid: u32,
    /// What it asks.
    pub what: ToAgent,
    /// Takes the answer, without waiting.
    pub answer: Box<dyn FnOnce(FromAgent) + Send>,
}

/// Takes clients of `listener` for as long as the agent lives.
pub fn open(listener: Listener, device: DeviceId, ids: Ids, events: Sender<Event>) {
    std::thread::spawn(move || {
        let clients = Arc::new(AtomicUsize::new(0));
        loop {
            match listener.accept() {
                Ok(connection) => {
                    let (id, device, events) = (ids.next(), device.clone(), events.clone());
                    admit(Client { id, connection, device, events }, &clients)
                }
                Err(error) => {
                    warn!(%error, "accepting a local client");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    });
}

struct Client {
    id: Id,
    connection: Connection,
    device: DeviceId,
    events: Sender<Event>,
}

/// A client's place; it is free again when this is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(client: Client, clients: &Arc<AtomicUsize>) {
    let place = Place(clients.clone());
    let taken = clients.fetch_add(1, Ordering::Relaxed);
    let Ok((uid, pid)) = client.connection.other() else { return };
    if taken >= if uid == 0 { CLIENTS_MAX } else { CLIENTS_MAX - ROOT_ONLY } {
        return;
    }
    std::thread::spawn(move || {
        let _place = place;
        // A client that went away is none of our business.
        let _ = client.serve(uid, pid);
        let _ = client.events.send(Event::Released(client.id));
    });
}

impl Client {
    fn serve(&self, uid: u32, pid: u32) -> Result<(), LocalError> {
        self.connection.set_timeouts(Some(IDLE_MAX), Some(IDLE_MAX))?;
        let hello = self.connection.receive::<ToAgent>()?.map(|packet| packet.message);
        match hello {
            Some(ToAgent::Hello { version: VERSION }) => {}
            Some(ToAgent::Hello { version }) => {
                return self.fail(format!("the agent speaks version {VERSION}, the client {version}: update both"));
            }
            _ => return self.fail("the first message must be Hello".into()),
        }
        self.connection.send(&FromAgent::Hello { version: VERSION, device: self.device.clone() }, None)?;
        while let Some(packet) = self.connection.receive::<ToAgent>()? {
            let holds = matches!(packet.message, ToAgent::Inhibit { .. });
            let answer = self.ask(uid, pid, packet.message);
            self.connection.send(&answer, None)?;
            if holds && answer == FromAgent::Done {
                self.connection.set_timeouts(Some(IDLE_MAX), None)?;
            }
        }
        Ok(())
    }

    fn fail(&self, reason: String) -> Result<(), LocalError> {
        self.connection.send(&FromAgent::Failed { reason }, None)
    }

    fn ask(&self, uid: u32, pid: u32, what: ToAgent) -> FromAgent {
        if uid != 0 && what != ToAgent::Status {
            return FromAgent::Failed { reason: "this is for root alone: call it as root".into() };
        }
        let (answer, answered) = sync_channel(1);
        let answer = Box::new(move |said| drop(answer.send(said)));
        let _ = self.events.send(Event::Asked(Asked { id: self.id, uid, pid, what, answer }));
        answered.recv_timeout(ANSWER_MAX).unwrap_or_else(|_| FromAgent::Failed { reason: late() })
    }
}

/// For who got no answer in time.
pub fn late() -> String {
    format!("the agent did not answer within {} s; see its log", ANSWER_MAX.as_secs())
}

impl Agent {
    /// Lets people ask. Without it apps are deployed all the same, so this is no reason to end.
    pub(super) fn open_door(&mut self) {
        let (path, ids) = (self.settings.paths.agent_socket(), Ids::default());
        match Listener::bind(&path) {
            Ok(listener) => open(listener, self.identity.device.clone(), ids.clone(), self.events.clone()),
            Err(error) => self.troubles.tell(Kind::Door, Some(format!("nobody can ask this agent anything: {error}"))),
        }
        self.bus = Some(Bus::open(&self.settings, ids, self.events.clone()));
    }

    pub(super) fn asked(&mut self, Asked { id, uid, pid, what, answer }: Asked) {
        let done = match what {
            ToAgent::Status => {
                return answer(FromAgent::Status(Box::new(self.status())));
            }
            ToAgent::Hello { .. } => Err("Hello comes once".to_owned()),
            ToAgent::LookAgain => {
                self.say.look();
                Ok(())
            }
            ToAgent::Inhibit { who, why } => {
                self.inhibit(id, Inhibitor { who, why, uid, pid, since: self.clock.now() })
            }
            ToAgent::CheckNow => {
                self.check();
                Ok(())
            }
            ToAgent::RollBack { app } => self.come_back(&app),
            ToAgent::RollBackOs => self.os_comes_back(),
            ToAgent::AcceptOs => self.accept_os(),
        };
        // What was said holds before it is answered.
        self.input(Input::Wakeup);
        answer(done.map_or_else(|reason| FromAgent::Failed { reason }, |()| FromAgent::Done));
    }

    fn inhibit(&mut self, id: Id, inhibitor: Inhibitor) -> Result<(), String> {
        let Inhibitor { who, why, uid, pid, .. } = &inhibitor;
        if why.is_empty() || !is_line(why) || !is_line(who) {
            return Err(format!("say who and why in one line each, of at most {WHY_LEN_MAX} bytes"));
        }
        info!(who, why, uid, pid, "inhibited");
        self.say.hold(id, inhibitor)
    }

    /// The neighbours are asked by the peer; what waits here to be tried again is due.
    fn check(&mut self) {
        self.refresh_trust();
        self.link.send(&ToPeer::CheckNow);
        let now = self.now().steady;
        if let Some(postponed) = &mut self.postponed {
            postponed.at = now;
        }
    }

    /// Begins to bring the previous version back; what its commit says counts again.
    fn come_back(&mut self, name: &AppName) -> Result<(), String> {
        let previous = self.machine.record().apps.get(name).and_then(|app| app.previous.as_ref());
        let (commit, metadata) = match previous.map(|p| (p.commit, &p.version)) {
            Some((commit, version)) => {
                let read = installed_commit::read(&self.settings.paths, &commit).map(|commit| commit.metadata);
                (commit, read.map_err(|e| format!("{name} {version} is not whole in the store: {e}; deploy it again"))?)
            }
            // The machine says why not.
            None => (Digest::default(), CommitMetadata::default()),
        };
        let comeback = Comeback {
            name: name.clone(),
            commit,
            release: metadata.release,
            probation: metadata.probation.map(|secs| Duration::from_secs(secs.into())),
            health: !metadata.health.is_empty(),
        };
        self.machine.may_come_back(&comeback).map_err(|refusal| refusal.to_string())?;
        info!(app = %name, commit = %commit.short(), "rolled back by hand");
        self.begin_by_hand(Input::ComeBack(comeback))
    }

    pub(super) fn begin_by_hand(&mut self, input: Input) -> Result<(), String> {
        self.input(input);
        match &self.machine.record().deployment {
            Some(deployment) if deployment.by_hand => Ok(()),
            _ => Err("the journal has no room for it; the agent's log says more".to_owned()),
        }
    }

    pub(super) fn status(&self) -> AgentReport {
        let now = self.now();
        let (bytes_from_peers, bytes_from_central, bytes_total) = self.machine.fetched_of();
        AgentReport {
            state: self.machine.state().to_string(),
            bytes_from_peers,
            bytes_from_central,
            bytes_total,
            obstacle: self.machine.obstacle(now).as_ref().map(Obstacle::to_string),
            locked: self.say.lock.clone(),
            inhibitors: self.say.inhibitors(),
            windows_closed_until: self.say.opens(now.trusted),
        }
    }
}
