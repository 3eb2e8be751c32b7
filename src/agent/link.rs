//! The way to the peer: connects, and connects again.

use super::Event;
use crate::local::{Connection, LocalError};
use fullmetal_proto::wire::local::{Client, FromPeer, ToPeer, VERSION};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{debug, warn};

/// How long to wait before connecting again.
const RETRY_MS: u64 = 300;

/// How long the peer may take to read a message.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Sends to the peer that is there now; messages to none are dropped, since a new one is told all again.
#[derive(Clone)]
pub struct Link {
    connection: Arc<Mutex<Option<Arc<Connection>>>>,
}

impl Link {
    /// Starts the thread that connects to `socket` and listens.
    pub fn start(socket: PathBuf, owner: Option<u32>, events: Sender<Event>) -> Self {
        let link = Link { connection: Arc::default() };
        let own = link.clone();
        std::thread::spawn(move || own.listen(&socket, owner, &events));
        link
    }

    /// Sends a message if there is a peer.
    pub fn send(&self, message: &ToPeer) {
        let connection = self.lock().clone();
        if let Some(connection) = connection
            && let Err(error) = connection.send(message, None)
        {
            // A hung peer must not hold up the apps: a new connection is told all again.
            debug!(%error, "the peer does not listen");
            connection.shutdown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, socket: &std::path::Path, owner: Option<u32>, events: &Sender<Event>) {
        let mut said = String::new();
        loop {
            let trouble = self.session(socket, owner, events).err().map(|e| e.to_string()).unwrap_or_default();
            if trouble != said && !trouble.is_empty() {
                warn!(error = %trouble, "no peer");
            }
            said = trouble;
            std::thread::sleep(Duration::from_millis(RETRY_MS));
        }
    }

    /// One connection, from open to close.
    fn session(&self, socket: &std::path::Path, owner: Option<u32>, events: &Sender<Event>) -> Result<(), LocalError> {
        let connection = Arc::new(Connection::connect(socket, owner)?);
        connection.set_timeouts(Some(SEND_LIMIT), None)?;
        connection.send(&ToPeer::Hello { version: VERSION, client: Client::Agent }, None)?;
        *self.lock() = Some(connection.clone());
        let _ = events.send(Event::Connected);
        let result = loop {
            match connection.receive::<FromPeer>() {
                Ok(Some(packet)) => drop(events.send(Event::Peer(packet))),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        *self.lock() = None;
        let _ = events.send(Event::Disconnected);
        result
    }
}
