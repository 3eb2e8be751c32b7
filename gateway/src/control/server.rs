//! The answering side: a thread that accepts, and one a connection.

use super::{Request, Response, WISH_LEN_MAX};
use crate::status::Status;
use fullmetal::local::{Connection, Listener, LocalError, Packet, read_descriptor, sealed_descriptor};
use fullmetal_proto::dispatch::Wish;
use fullmetal_proto::wire::cbor;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// Connections of root and our own user that are served at once.
const CLIENTS_MAX: usize = 32;
/// Connections of others that are told at once that they may not.
const STRANGERS_MAX: usize = 8;
/// How long a command may take to ask, and to take its answer.
const TALK: Duration = Duration::from_secs(10);

/// A request on its way to the core, with the way back.
#[derive(Debug)]
pub enum Asked {
    /// A decision.
    Deploy(Box<Wish>, Sender<Response>),
    /// A withdrawal of that action.
    Withdraw(u64, Sender<Response>),
    /// A word on an action that waits for its confirmation.
    Confirm(u64, bool, Sender<Response>),
    /// The end of an alarm.
    Resume(Sender<Response>),
    /// The status.
    Status(Sender<Box<Status>>),
}

/// The bound socket and its threads.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds `socket` and serves it; requests go to `events`.
    pub fn start<E: From<Asked> + Send + 'static>(socket: &Path, events: Sender<E>) -> Result<(), LocalError> {
        let listener = Listener::bind(socket)?;
        let (clients, strangers) = (Arc::new(()), Arc::new(()));
        std::thread::spawn(move || {
            loop {
                let Ok(connection) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                };
                let Ok(uid) = connection.other_uid() else { continue };
                let (slots, max) = if may_ask(uid) { (&clients, CLIENTS_MAX) } else { (&strangers, STRANGERS_MAX) };
                let (events, slot) = (events.clone(), slots.clone());
                let full = Arc::strong_count(slots) > max + 1;
                if full && !may_ask(uid) {
                    continue;
                }
                std::thread::spawn(move || {
                    let served = match refusal(uid, full) {
                        Some(reason) => connection.refuse(&reason),
                        None => serve(connection, &events),
                    };
                    if let Err(error) = served {
                        tracing::debug!(%error, "a command's connection");
                    }
                    drop(slot);
                });
            }
        });
        Ok(())
    }
}

fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::getuid().as_raw()
}

/// Why the user is not served.
fn refusal(uid: u32, full: bool) -> Option<String> {
    let own = rustix::process::getuid().as_raw();
    if !may_ask(uid) {
        return Some(format!("user {uid} may not use this gateway; become root or user {own}"));
    }
    full.then(|| "too many requests at once; ask again".into())
}

fn serve<E: From<Asked>>(connection: Connection, events: &Sender<E>) -> Result<(), LocalError> {
    connection.set_timeouts(Some(TALK), Some(TALK))?;
    let Some(packet) = connection.receive::<Request>()? else { return Ok(()) };
    let (response, descriptor) = answer(packet, events)?;
    connection.send(&response, descriptor.as_ref().map(|d| d.as_fd()))
}

fn answer<E: From<Asked>>(
    packet: Packet<Request>,
    events: &Sender<E>,
) -> Result<(Response, Option<OwnedFd>), LocalError> {
    let (sender, receiver) = mpsc::channel();
    let asked = match packet.message {
        Request::Deploy => Asked::Deploy(Box::new(wish(packet.descriptor)?), sender),
        Request::Withdraw { action } => Asked::Withdraw(action, sender),
        Request::Confirm { action, yes } => Asked::Confirm(action, yes, sender),
        Request::Resume => Asked::Resume(sender),
        Request::Status => return status(events),
    };
    let ended = || Response::Denied("the gateway is ending; ask again when it runs".into());
    if events.send(E::from(asked)).is_err() {
        return Ok((ended(), None));
    }
    Ok((receiver.recv().unwrap_or_else(|_| ended()), None))
}

fn wish(descriptor: Option<OwnedFd>) -> Result<Wish, LocalError> {
    let bytes = match descriptor {
        Some(fd) => read_descriptor(&fd, WISH_LEN_MAX)?,
        None => Vec::new(),
    };
    Ok(cbor::from_slice(&bytes, WISH_LEN_MAX as usize)?)
}

fn status<E: From<Asked>>(events: &Sender<E>) -> Result<(Response, Option<OwnedFd>), LocalError> {
    let (sender, receiver) = mpsc::channel();
    let _ = events.send(E::from(Asked::Status(sender)));
    match receiver.recv() {
        Ok(status) => Ok((Response::Status, Some(sealed_descriptor(&cbor::to_vec(&*status))?))),
        Err(_) => Ok((Response::Denied("the gateway is ending; ask again when it runs".into()), None)),
    }
}
