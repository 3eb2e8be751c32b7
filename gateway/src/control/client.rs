//! The asking side.

use super::{Request, Response, STATUS_LEN_MAX};
use crate::status::Status;
use fullmetal::local::{Connection, LocalError, read_descriptor, sealed_descriptor};
use fullmetal_proto::dispatch::Wish;
use fullmetal_proto::wire::cbor::{self, CborError};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long a request may take: longer than anything that the gateway waits for itself.
const ANSWER: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("{0}; start it with `fullmetal-gateway run`")]
    NotRunning(LocalError),
    /// The connection broke.
    #[error("{0}")]
    Local(#[from] LocalError),
    /// The gateway ended while it was asked.
    #[error("the gateway closed the connection without an answer; `fullmetal-gateway status` shows what it kept")]
    Closed,
    /// It takes too long.
    #[error("no answer from the gateway within {} s; `fullmetal-gateway status` shows what it kept", ANSWER.as_secs())]
    Slow,
    /// The gateway does not serve us.
    #[error("{0}")]
    Denied(String),
    /// The answer cannot be read.
    #[error("the gateway's answer: {0}; are command and gateway of the same release?")]
    Answer(#[from] CborError),
}

/// Who may not even look for the gateway's socket cannot say that it does not run.
fn unreachable(error: LocalError) -> ControlError {
    match &error {
        LocalError::Socket { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => error.into(),
        _ => ControlError::NotRunning(error),
    }
}

/// Asks the running gateway. A `Deploy` comes with its wish; the status is there when it was asked for.
pub fn ask(
    socket: &Path,
    request: &Request,
    wish: Option<&Wish>,
) -> Result<(Response, Option<Box<Status>>), ControlError> {
    let connection = Connection::connect(socket, None).map_err(unreachable)?;
    let descriptor = wish.map(|w| sealed_descriptor(&cbor::to_vec(w))).transpose()?;
    connection.send(request, descriptor.as_ref().map(|d| d.as_fd()))?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(connection.receive::<Response>()));
    let packet = receiver.recv_timeout(ANSWER).map_err(|_| ControlError::Slow)??;
    let packet = packet.ok_or(ControlError::Closed)?;
    match (packet.message, packet.descriptor) {
        (Response::Denied(reason), _) => Err(ControlError::Denied(reason)),
        (response, Some(fd)) => {
            let bytes = read_descriptor(&fd, STATUS_LEN_MAX)?;
            Ok((response, Some(Box::new(cbor::from_slice(&bytes, STATUS_LEN_MAX as usize)?))))
        }
        (response, None) => Ok((response, None)),
    }
}
