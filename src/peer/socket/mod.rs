//! The local socket's server: accepts clients, checks who they are, carries messages both ways.
//!
//! What a message means is for the node; here it is judged only who may say it.

mod client;

pub use client::{Outbox, OutboxFull, Reply};

use crate::local::{AsyncConnection, AsyncListener};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::local::{Client, FromPeer, ToPeer, VERSION};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::{debug, warn};

/// Clients at once.
pub const CLIENTS_MAX: usize = 32;
/// Messages of all clients that wait for the node; more hold the clients back.
pub const EVENTS_MAX: usize = 64;
/// How long a client may take to say Hello.
const HELLO_MS_MAX: u64 = 5_000;

/// Names a connection of a client.
pub type ClientId = u64;

/// What clients do.
#[derive(Debug)]
pub enum SocketEvent {
    /// One said Hello and may be who it says.
    Opened {
        /// Which.
        id: ClientId,
        /// Who.
        client: Client,
        /// The way to it.
        outbox: Outbox,
    },
    /// One said something that its kind may say.
    Message {
        /// Which.
        id: ClientId,
        /// What.
        message: ToPeer,
        /// What came along.
        descriptor: Option<OwnedFd>,
    },
    /// One is gone.
    Closed {
        /// Which.
        id: ClientId,
    },
}

/// Who may be what.
#[derive(Clone, Debug)]
pub struct Policy {
    /// This peer's device, for Hello.
    pub device: DeviceId,
    /// The user that this process runs as.
    pub own_uid: u32,
    /// The user of a gateway, besides root and our own.
    pub gateway_uid: Option<u32>,
}

impl Policy {
    fn admits(&self, client: Client, uid: u32) -> bool {
        let own = uid == 0 || uid == self.own_uid;
        match client {
            Client::Agent => own,
            Client::Gateway => own || self.gateway_uid == Some(uid),
            Client::Observer => true,
        }
    }
}

fn may_say(client: Client, message: &ToPeer) -> bool {
    match message {
        ToPeer::Hello { .. } => false,
        ToPeer::Status => true,
        ToPeer::Receipt(_) | ToPeer::Announce(_) | ToPeer::Central(_) => client == Client::Gateway,
        ToPeer::Report(_) => client == Client::Agent,
        ToPeer::Blob { .. }
        | ToPeer::Want { .. }
        | ToPeer::Unwant { .. }
        | ToPeer::Frame { .. }
        | ToPeer::Corrupt { .. }
        | ToPeer::Retain { .. } => client != Client::Observer,
    }
}

/// Serves `listener` until the receiver of `events` is gone.
pub async fn listen(listener: AsyncListener, policy: Policy, events: mpsc::Sender<SocketEvent>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let mut next: ClientId = 0;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let connection = tokio::select! {
            () = events.closed() => return,
            accepted = listener.accept() => accepted,
        };
        next += 1;
        let (id, policy, events) = (next, policy.clone(), events.clone());
        match connection {
            Ok(connection) => drop(tokio::spawn(async move {
                attend(id, connection, policy, events).await;
                drop(place);
            })),
            Err(error) => {
                warn!(%error, "accepting a local client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(id: ClientId, connection: AsyncConnection, policy: Policy, events: mpsc::Sender<SocketEvent>) {
    let Some(client) = greet(&connection, &policy).await else { return };
    let connection = Arc::new(connection);
    let (outbox, writer) = client::outbox(connection.clone());
    if events.send(SocketEvent::Opened { id, client, outbox }).await.is_err() {
        return;
    }
    tokio::select! {
        () = read(id, client, &connection, &events) => {}
        () = writer.run() => {}
    }
    let _ = events.send(SocketEvent::Closed { id }).await;
}

async fn greet(connection: &AsyncConnection, policy: &Policy) -> Option<Client> {
    let hello = timeout(Duration::from_millis(HELLO_MS_MAX), connection.receive()).await.ok()?.ok()??;
    let ToPeer::Hello { version, client } = hello.message else { return None };
    let uid = connection.other_uid().ok()?;
    if !policy.admits(client, uid) {
        warn!(uid, ?client, "local client refused: this user may not be that (peer.client_uid)");
        return None;
    }
    let device = policy.device.clone();
    connection.send(&FromPeer::Hello { version: VERSION, device }, None).await.ok()?;
    if version != VERSION {
        warn!(version, ours = VERSION, ?client, "local client speaks another version; update both programs");
        return None;
    }
    Some(client)
}

async fn read(id: ClientId, kind: Client, connection: &AsyncConnection, events: &mpsc::Sender<SocketEvent>) {
    loop {
        match connection.receive::<ToPeer>().await {
            Ok(Some(packet)) if may_say(kind, &packet.message) => {
                let event = SocketEvent::Message { id, message: packet.message, descriptor: packet.descriptor };
                if events.send(event).await.is_err() {
                    return;
                }
            }
            Ok(Some(_)) => {
                warn!(client = ?kind, "local client said what it may not say");
                return;
            }
            Ok(None) => return,
            Err(error) => {
                debug!(client = ?kind, %error, "local client");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_what_they_may_be() {
        let policy = Policy { device: "press-1".parse().unwrap(), own_uid: 990, gateway_uid: Some(991) };
        let may = |client| [0, 990, 991, 1000].map(|uid| policy.admits(client, uid));
        assert_eq!(may(Client::Agent), [true, true, false, false]);
        assert_eq!(may(Client::Gateway), [true, true, true, false]);
        assert_eq!(may(Client::Observer), [true; 4]);
    }

    #[test]
    fn observers_only_ask_how_it_is_going() {
        let manifest = fullmetal_proto::Digest::default();
        let fetching = ToPeer::Unwant { manifest };
        let deciding = ToPeer::Receipt(Default::default());
        let says = |client| [&ToPeer::Status, &fetching, &deciding].map(|message| may_say(client, message));
        assert_eq!(says(Client::Observer), [true, false, false]);
        assert_eq!(says(Client::Agent), [true, true, false]);
        assert_eq!(says(Client::Gateway), [true, true, true]);
    }
}
