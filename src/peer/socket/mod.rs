//! The local socket's server: accepts clients, checks who they are, carries messages both ways.
//!
//! What a message means is for the node; here it is judged only who may say it.

mod client;
mod places;
#[cfg(test)]
mod tests;

pub use client::{Outbox, OutboxFull, Reply};

use crate::local::{AsyncConnection, AsyncListener};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::local::{Client, FromPeer, ToPeer, VERSION};
use places::Places;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Messages of all clients that wait for the node; more hold the clients back.
pub const EVENTS_MAX: usize = 64;
/// How long a client may take to say Hello.
const HELLO_MS_MAX: u64 = 5_000;
/// How long an observer may ask nothing before its place goes to another.
pub const IDLE_MS_MAX: u64 = 10_000;

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
    /// How long an observer may ask nothing: [`IDLE_MS_MAX`].
    pub observer_idle: Duration,
}

impl Policy {
    /// Whether the user is one of those who run this device.
    fn is_ours(&self, uid: u32) -> bool {
        self.admits(Client::Gateway, uid)
    }

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
        ToPeer::Receipt(_) | ToPeer::Announce(_) | ToPeer::Central(_) | ToPeer::Offer { .. } => {
            client == Client::Gateway
        }
        ToPeer::Report(_) | ToPeer::CheckNow => client == Client::Agent,
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
    let places = Places::new();
    let mut next: ClientId = 0;
    loop {
        let connection = tokio::select! {
            () = events.closed() => return,
            accepted = listener.accept() => accepted,
        };
        next += 1;
        match connection {
            Ok(connection) => admit(next, connection, &places, &policy, &events),
            Err(error) => {
                warn!(%error, "accepting a local client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Gives the connection to a task of its own if there is a place for it.
fn admit(
    id: ClientId,
    connection: AsyncConnection,
    places: &Places,
    policy: &Policy,
    events: &mpsc::Sender<SocketEvent>,
) {
    let Ok(uid) = connection.other_uid() else { return };
    let Some(greeting) = places.greeting(policy, uid) else {
        return turn_away(connection, places, "too many connections to this peer; ask again later".into());
    };
    let (places, policy, events) = (places.clone(), policy.clone(), events.clone());
    drop(tokio::spawn(async move {
        let client = match greet(&connection, &policy, uid).await {
            Ok(client) => client,
            Err(reason) => return turn_away(connection, &places, reason),
        };
        let Some(_place) = places.role(&policy, uid, client) else {
            let reason = format!("too many clients of the kind {client:?} at this peer; ask again later");
            return turn_away(connection, &places, reason);
        };
        drop(greeting);
        attend(id, connection, client, policy, events).await;
    }));
}

fn turn_away(connection: AsyncConnection, places: &Places, reason: String) {
    if reason.is_empty() {
        return;
    }
    debug!(reason, "local client turned away");
    let Some(place) = places.refusal() else { return };
    drop(tokio::spawn(async move {
        connection.refuse(&reason).await;
        drop(place);
    }));
}

async fn attend(
    id: ClientId,
    connection: AsyncConnection,
    client: Client,
    Policy { device, observer_idle, .. }: Policy,
    events: mpsc::Sender<SocketEvent>,
) {
    let idle = if client == Client::Observer { observer_idle } else { Duration::MAX };
    if connection.send(&FromPeer::Hello { version: VERSION, device }, None).await.is_err() {
        return;
    }
    let connection = Arc::new(connection);
    let (outbox, writer) = client::outbox(connection.clone(), client);
    if events.send(SocketEvent::Opened { id, client, outbox }).await.is_err() {
        return;
    }
    tokio::select! {
        () = read((id, client), &connection, idle, &events) => {}
        () = writer.run() => {}
    }
    let _ = events.send(SocketEvent::Closed { id }).await;
}

/// Who it is; or why it may not be that, empty when it left or said nothing.
async fn greet(connection: &AsyncConnection, policy: &Policy, uid: u32) -> Result<Client, String> {
    let hello = timeout(Duration::from_millis(HELLO_MS_MAX), connection.receive::<ToPeer>()).await;
    let hello = match hello {
        Err(_) => return Err(format!("no Hello within {} s", HELLO_MS_MAX / 1000)),
        Ok(Ok(Some(packet))) => packet.message,
        Ok(Ok(None) | Err(_)) => return Err(String::new()),
    };
    let ToPeer::Hello { version, client } = hello else { return Err("the first message must be Hello".into()) };
    if !policy.admits(client, uid) {
        warn!(uid, ?client, "local client refused: this user may not be that (peer.client_uid)");
        return Err(refusal(policy, client, uid));
    }
    if version != VERSION {
        warn!(version, ours = VERSION, ?client, "local client speaks another version; update both programs");
        return Err(format!("the peer speaks version {VERSION}, the client {version}: update both programs"));
    }
    Ok(client)
}

fn refusal(policy: &Policy, client: Client, uid: u32) -> String {
    let own = policy.own_uid;
    match (client, policy.gateway_uid) {
        (Client::Gateway, Some(gateway)) => {
            format!("user {uid} may not be this peer's gateway: root, user {own} and user {gateway} may")
        }
        (Client::Gateway, None) => format!(
            "user {uid} may not be this peer's gateway: root and user {own} may; `client_uid = {uid}` in [peer] allows it"
        ),
        _ => format!("user {uid} may not be this peer's agent: root and user {own} may"),
    }
}

async fn read(
    (id, kind): (ClientId, Client),
    connection: &AsyncConnection,
    idle: Duration,
    events: &mpsc::Sender<SocketEvent>,
) {
    loop {
        let Ok(received) = timeout(idle, connection.receive::<ToPeer>()).await else {
            return debug!("an observer that asks nothing");
        };
        match received {
            Ok(Some(packet)) if may_say(kind, &packet.message) => {
                let event = SocketEvent::Message { id, message: packet.message, descriptor: packet.descriptor };
                if events.send(event).await.is_err() {
                    return;
                }
            }
            Ok(Some(_)) => return warn!(client = ?kind, "local client said what it may not say"),
            Ok(None) => return,
            Err(error) => return debug!(client = ?kind, %error, "local client"),
        }
    }
}
