//! The way to the peer: connects, and connects again.

use super::Event;
use super::trouble::Kind;
use crate::local::{Connection, LocalError};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::local::{Client, FromPeer, ToPeer, VERSION};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{debug, warn};

/// How long to wait before connecting again.
const RETRY_MS: u64 = 300;
/// The same after a peer that does not fit: somebody must change something first.
const RETRY_MISFIT_MS: u64 = 10_000;
/// How long the peer may take to read a message, and to say Hello.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no peer.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error("{} does not answer: it closed the connection or said nothing for {} s", path.display(), SEND_LIMIT.as_secs())]
    Silent { path: PathBuf },
    #[error(
        "the peer at {} speaks version {theirs} of the local protocol, this agent {VERSION}: install both from one \
         release and restart both",
        path.display()
    )]
    Version { path: PathBuf, theirs: u16 },
    #[error(
        "what listens at {} does not speak the local protocol ({said}): install peer and agent from one release and \
         restart both",
        path.display()
    )]
    Foreign { path: PathBuf, said: String },
    #[error(
        "the peer at {} is the one of device {theirs}, this agent is of {ours}: see [device] id and the certificates \
         in etc/fullmetal/identity, then restart both",
        path.display()
    )]
    Device { path: PathBuf, theirs: DeviceId, ours: DeviceId },
}

impl LinkError {
    /// Whether connecting again is in vain until somebody changes something.
    fn is_misfit(&self) -> bool {
        matches!(self, LinkError::Version { .. } | LinkError::Foreign { .. } | LinkError::Device { .. })
            || matches!(self, LinkError::Local(LocalError::Owner { .. }))
    }
}

/// Which peer is ours.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its socket.
    pub socket: PathBuf,
    /// The user that it runs as; `None` accepts any.
    pub owner: Option<u32>,
    /// The device in its certificate.
    pub device: DeviceId,
}

/// Sends to the peer that is there now; messages to none are dropped, since a new one is told all again.
#[derive(Clone)]
pub struct Link {
    connection: Arc<Mutex<Option<Arc<Connection>>>>,
}

impl Link {
    /// Starts the thread that connects and listens.
    pub fn start(expected: Expected, events: Sender<Event>) -> Self {
        let link = Link { connection: Arc::default() };
        let own = link.clone();
        std::thread::spawn(move || own.listen(&expected, &events));
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

    /// Whether there is a peer that fits.
    pub fn is_connected(&self) -> bool {
        self.lock().is_some()
    }

    /// Connects anew, so that the peer tells its announcement again.
    pub fn reconnect(&self) {
        if let Some(connection) = &*self.lock() {
            connection.shutdown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, expected: &Expected, events: &Sender<Event>) {
        let mut said = String::new();
        loop {
            let trouble = self.session(expected, events).err();
            let is_misfit = trouble.as_ref().is_some_and(LinkError::is_misfit);
            let text = trouble.map(|e| e.to_string()).unwrap_or_default();
            if is_misfit {
                let _ = events.send(Event::Trouble(Kind::Peer, Some(text.clone())));
            } else if text != said && !text.is_empty() {
                warn!(error = %text, "no peer");
            }
            said = text;
            std::thread::sleep(Duration::from_millis(if is_misfit { RETRY_MISFIT_MS } else { RETRY_MS }));
        }
    }

    /// One connection, from open to close.
    fn session(&self, expected: &Expected, events: &Sender<Event>) -> Result<(), LinkError> {
        let connection = Arc::new(greet(expected)?);
        *self.lock() = Some(connection.clone());
        let _ = events.send(Event::Connected);
        let result = loop {
            match connection.receive::<FromPeer>() {
                Ok(Some(packet)) => drop(events.send(Event::Peer(packet))),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        *self.lock() = None;
        let _ = events.send(Event::Disconnected);
        result
    }
}

/// Connects; the peer's Hello must fit before anything is asked of it.
fn greet(expected: &Expected) -> Result<Connection, LinkError> {
    let path = || expected.socket.clone();
    let connection = Connection::connect(&expected.socket, expected.owner)?;
    connection.set_timeouts(Some(SEND_LIMIT), Some(SEND_LIMIT))?;
    connection.send(&ToPeer::Hello { version: VERSION, client: Client::Agent }, None)?;
    let first = match connection.receive::<FromPeer>() {
        Ok(Some(packet)) => packet.message,
        Ok(None) => return Err(LinkError::Silent { path: path() }),
        Err(LocalError::Message(error)) => return Err(LinkError::Foreign { path: path(), said: error.to_string() }),
        Err(LocalError::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
            return Err(LinkError::Silent { path: path() });
        }
        Err(error) => return Err(error.into()),
    };
    match first {
        FromPeer::Hello { version, .. } if version != VERSION => {
            Err(LinkError::Version { path: path(), theirs: version })
        }
        FromPeer::Hello { device, .. } if device != expected.device => {
            Err(LinkError::Device { path: path(), theirs: device, ours: expected.device.clone() })
        }
        FromPeer::Hello { .. } => {
            connection.set_timeouts(Some(SEND_LIMIT), None)?;
            Ok(connection)
        }
        _ => Err(LinkError::Foreign { path: path(), said: "its first message is no Hello".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Listener;
    use std::sync::mpsc::{Receiver, channel};

    fn greeted_with(answer: impl Fn(&Connection) + Send + 'static) -> (Receiver<Event>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("peer.sock");
        let listener = Listener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            while let Ok(connection) = listener.accept() {
                let _ = connection.receive::<ToPeer>();
                answer(&connection);
            }
        });
        let (sender, events) = channel();
        Link::start(Expected { socket, owner: None, device: "press-1".parse().unwrap() }, sender);
        (events, dir)
    }

    fn trouble(answer: impl Fn(&Connection) + Send + 'static) -> String {
        let (events, _dir) = greeted_with(answer);
        match events.recv_timeout(Duration::from_secs(20)) {
            Ok(Event::Trouble(Kind::Peer, Some(text))) => text,
            Ok(Event::Connected) => panic!("it is taken for ours"),
            _ => panic!("nothing told"),
        }
    }

    fn hello(version: u16, device: &str) -> impl Fn(&Connection) + Send + 'static {
        let hello = FromPeer::Hello { version, device: device.parse().unwrap() };
        move |connection| connection.send(&hello, None).unwrap()
    }

    #[test]
    fn a_peer_that_does_not_fit_is_told_once_with_what_to_do_and_asked_nothing() {
        let text = trouble(hello(VERSION + 1, "press-1"));
        let says = |words: &[&str], text: &str| assert!(words.iter().all(|w| text.contains(w)), "{text}");
        let ours = format!("this agent {VERSION}: install both from one release");
        says(&["peer.sock", &format!("speaks version {}", VERSION + 1), &ours], &text);
        says(&["of device press-2", "this agent is of press-1", "[device] id"], &trouble(hello(VERSION, "press-2")));
        let text = trouble(|connection| connection.send(&42u8, None).unwrap());
        says(&["does not speak the local protocol", "install peer and agent from one release"], &text);
    }

    #[test]
    fn a_peer_that_fits_is_connected() {
        let (events, _dir) = greeted_with(hello(VERSION, "press-1"));
        assert!(matches!(events.recv_timeout(Duration::from_secs(20)), Ok(Event::Connected)));
    }
}
