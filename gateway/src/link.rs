//! The connection to the gateway's peer: kept up, read by one thread, written by another.
//!
//! Nobody waits for a slow peer but the writing thread. What was not sent when a connection ends is gone
//! with it: the core says everything again that must be said when the peer is back.

use fullmetal::local::{Connection, LocalError, read_descriptor};
use fullmetal_proto::DeviceId;
use fullmetal_proto::ostree::DIRTREE_LEN_MAX;
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::local::{CentralObject, Client, FromPeer, ToPeer, VERSION};
use fullmetal_proto::wire::{Announcement, Manifest, bundle};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long to wait before connecting again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the peer's side brings.
#[derive(Debug)]
pub enum FromLink {
    /// The peer is there and said Hello.
    Connected(DeviceId),
    /// The peer is gone.
    Disconnected,
    /// Bytes of an announcement that the peer has; nothing is verified.
    Announcement(Vec<u8>),
    /// Bytes of a report; nothing is verified.
    Report(Vec<u8>),
    /// Devices heard of.
    Heard(Vec<(DeviceId, u32)>),
    /// The peer cannot do what it was asked; for the log.
    Trouble(String),
}

/// Why central's answer is not the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CentralError {
    /// Central says that it does not exist.
    #[error("central does not have it: {0}")]
    Missing(String),
    /// It may work later.
    #[error("{0}")]
    Unreachable(String),
}

/// An answer of central.
pub type CentralAnswer = (CentralObject, Result<Vec<u8>, CentralError>);

type Outgoing = (ToPeer, Option<OwnedFd>);

/// The sending side; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Link {
    writer: Arc<Mutex<Option<Sender<Outgoing>>>>,
}

impl Link {
    /// Starts the reading thread. Its findings go to `events`, answers of central to `central`.
    pub fn start<E: From<FromLink> + Send + 'static>(
        socket: PathBuf,
        events: Sender<E>,
        central: Sender<Option<CentralAnswer>>,
    ) -> Self {
        let link = Link::default();
        let mine = link.clone();
        std::thread::spawn(move || {
            let tell = |event| events.send(E::from(event)).is_ok();
            let mut reported = String::new();
            loop {
                let ended = mine.serve(&socket, &tell, &central);
                mine.set_writer(None);
                let _ = central.send(None);
                let gone = !tell(FromLink::Disconnected);
                if let Err(error) = ended {
                    mine.complain(&error, &mut reported);
                }
                if gone {
                    return;
                }
                std::thread::sleep(AGAIN);
            }
        });
        link
    }

    /// Sends a message when the peer is there; false when it is not.
    pub fn send(&self, message: ToPeer, descriptor: Option<OwnedFd>) -> bool {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_ref().is_some_and(|w| w.send((message, descriptor)).is_ok())
    }

    fn set_writer(&self, writer: Option<Sender<Outgoing>>) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = writer;
    }

    /// The same trouble is said once.
    fn complain(&self, error: &LocalError, reported: &mut String) {
        let text = error.to_string();
        if text != *reported {
            tracing::warn!(error = %text, "no connection to the peer");
            *reported = text;
        }
    }

    fn serve(
        &self,
        socket: &std::path::Path,
        tell: &dyn Fn(FromLink) -> bool,
        central: &Sender<Option<CentralAnswer>>,
    ) -> Result<(), LocalError> {
        let connection = Connection::connect(socket, None)?;
        connection.send(&ToPeer::Hello { version: VERSION, client: Client::Gateway }, None)?;
        let device = match connection.receive::<FromPeer>()?.map(|p| p.message) {
            Some(FromPeer::Hello { device, version: VERSION }) => device,
            _ => return Err(closed("the peer did not say Hello; may this user use it (`client_uid` in [peer])?")),
        };
        let (sender, outgoing) = mpsc::channel();
        let writing = connection.try_clone()?;
        std::thread::spawn(move || write(&writing, &outgoing));
        self.set_writer(Some(sender));
        tell(FromLink::Connected(device));
        while let Some(packet) = connection.receive::<FromPeer>()? {
            if let Some(event) = sort(packet.message, packet.descriptor, central) {
                tell(event);
            }
        }
        Err(closed("the peer closed the connection"))
    }
}

fn closed(why: &str) -> LocalError {
    LocalError::Io(std::io::Error::new(std::io::ErrorKind::ConnectionReset, why))
}

fn write(connection: &Connection, outgoing: &Receiver<Outgoing>) {
    while let Ok((message, descriptor)) = outgoing.recv() {
        if let Err(error) = connection.send(&message, descriptor.as_ref().map(|d| d.as_fd())) {
            tracing::debug!(%error, "sending to the peer");
            return connection.shutdown();
        }
    }
}

/// What is for the core; answers of central go their own way.
fn sort(message: FromPeer, fd: Option<OwnedFd>, central: &Sender<Option<CentralAnswer>>) -> Option<FromLink> {
    match message {
        FromPeer::Announcement(_) => match read(fd, envelope_len_max::<Announcement>() as u64) {
            Ok(bytes) => Some(FromLink::Announcement(bytes)),
            Err(problem) => Some(FromLink::Trouble(format!("announcement from the peer: {problem}"))),
        },
        FromPeer::Report(bytes) => Some(FromLink::Report(bytes.into_vec())),
        FromPeer::Heard(list) => Some(FromLink::Heard(list)),
        FromPeer::Central(object) => {
            let bytes = read(fd, len_max(&object)).map_err(CentralError::Unreachable);
            let _ = central.send(Some((object, bytes)));
            None
        }
        FromPeer::CentralFailed { object, missing, reason } => {
            let error = if missing { CentralError::Missing(reason) } else { CentralError::Unreachable(reason) };
            let _ = central.send(Some((object, Err(error))));
            None
        }
        FromPeer::WantFailed { manifest, reason } => {
            Some(FromLink::Trouble(format!("helping with manifest {}: {reason}", manifest.short())))
        }
        FromPeer::BlobFailed { sha256, reason } => {
            Some(FromLink::Trouble(format!("getting blob {}: {reason}", sha256.short())))
        }
        FromPeer::Hello { .. }
        | FromPeer::Blob { .. }
        | FromPeer::Have { .. }
        | FromPeer::Frame { .. }
        | FromPeer::Receipt(_)
        | FromPeer::Status(_) => None,
    }
}

fn read(fd: Option<OwnedFd>, max: u64) -> Result<Vec<u8>, String> {
    let fd = fd.ok_or("it came without its bytes")?;
    read_descriptor(&fd, max).map_err(|e| e.to_string())
}

fn len_max(object: &CentralObject) -> u64 {
    match object {
        CentralObject::Ref(_) => 256,
        CentralObject::Commit(_) | CentralObject::CommitMeta(_) => bundle::COMMIT_LEN_MAX,
        CentralObject::Manifest(_) => envelope_len_max::<Manifest>() as u64,
        CentralObject::DirTree(_) => DIRTREE_LEN_MAX as u64,
    }
}
