//! The Unix socket between the two halves of a device, and between a gateway and its peer.
//!
//! `SOCK_SEQPACKET` keeps message borders; each packet is one bounded CBOR message and at most one
//! read-only descriptor. The kernel tells who is at the other end (`SO_PEERCRED`, unix(7)).

mod asynchronous;
mod descriptor;
mod listener;
mod refusal;

pub use asynchronous::{AsyncConnection, AsyncListener};
pub use descriptor::{DescriptorReader, read_descriptor, sealed_descriptor};
pub use listener::Listener;

use fullmetal_proto::wire::cbor::{self, CborError};
use fullmetal_proto::wire::local::PACKET_LEN_MAX;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can go wrong on the local socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The socket could not be made, bound or reached.
    #[error("{action} {path}: {source}; {}", hint(.path, .source), path = .path.display())]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The other side turned us away.
    #[error("refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// Sending or receiving failed; the connection is of no more use.
    #[error("local socket: {0}")]
    Io(#[from] std::io::Error),
    /// The other side does not speak the protocol.
    #[error("local socket: {0}")]
    Message(#[from] CborError),
    /// A user sits at the other end who has no business there.
    #[error("{path} belongs to user {found}, expected user {expected}; check `peer_uid` in [agent]", path = .path.display())]
    Owner {
        /// The socket's path.
        path: PathBuf,
        /// Who is there.
        found: u32,
        /// Who should be there.
        expected: u32,
    },
    /// More bytes behind a descriptor than were announced.
    #[error("descriptor holds more than {max} bytes")]
    DescriptorTooLong {
        /// The limit.
        max: u64,
    },
}

/// A message and the descriptor that came with it.
#[derive(Debug)]
pub struct Packet<M> {
    /// The decoded message.
    pub message: M,
    /// At most one descriptor.
    pub descriptor: Option<OwnedFd>,
}

/// One end of a connection. Sending and receiving may happen on different threads.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
}

impl Connection {
    /// Connects to `path`, whose listener must run as `owner` unless that is `None`.
    pub fn connect(path: &Path, owner: Option<u32>) -> Result<Self, LocalError> {
        let err = |source: rustix::io::Errno| LocalError::Socket {
            action: "connecting to",
            path: path.to_owned(),
            source: source.into(),
        };
        let fd = new_socket().map_err(err)?;
        let address = SocketAddrUnix::new(path).map_err(err)?;
        rustix::net::connect(&fd, &address).map_err(err)?;
        let connection = Connection { fd };
        match (owner, connection.other_uid()?) {
            (Some(expected), found) if expected != found => {
                Err(LocalError::Owner { path: path.to_owned(), found, expected })
            }
            _ => Ok(connection),
        }
    }

    /// A connected pair, for tests and for halves within one process.
    pub fn pair() -> Result<(Self, Self), LocalError> {
        let (family, kind, flags) = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (a, b) = rustix::net::socketpair(family, kind, flags, None).map_err(std::io::Error::from)?;
        Ok((Connection { fd: a }, Connection { fd: b }))
    }

    /// The user at the other end.
    pub fn other_uid(&self) -> Result<u32, LocalError> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.fd).map_err(std::io::Error::from)?;
        Ok(credentials.uid.as_raw())
    }

    /// The user and the process at the other end.
    pub fn other(&self) -> Result<(u32, u32), LocalError> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.fd).map_err(std::io::Error::from)?;
        Ok((credentials.uid.as_raw(), credentials.pid.as_raw_nonzero().get().unsigned_abs()))
    }

    /// A second handle, for a thread that only reads.
    pub fn try_clone(&self) -> Result<Self, LocalError> {
        Ok(Connection { fd: self.fd.try_clone()? })
    }

    /// Sends one message, waiting while the other side is slow.
    pub fn send<M: Serialize>(&self, message: &M, descriptor: Option<BorrowedFd<'_>>) -> Result<(), LocalError> {
        let bytes = encode(message)?;
        loop {
            match send_bytes(self.as_fd(), &bytes, descriptor) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other.map_err(std::io::Error::from)?),
            }
        }
    }

    /// Waits for one message; `None` when the other side has closed.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<Option<Packet<M>>, LocalError> {
        loop {
            match receive_bytes(self.as_fd()) {
                Err(rustix::io::Errno::INTR) => {}
                other => return decode(other.map_err(std::io::Error::from)?),
            }
        }
    }

    /// Bounds every wait of [`Connection::send`] and [`Connection::receive`]; `None` waits for ever.
    pub fn set_timeouts(&self, send: Option<Duration>, receive: Option<Duration>) -> Result<(), LocalError> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&self.fd, Timeout::Send, send).map_err(std::io::Error::from)?;
        Ok(set_socket_timeout(&self.fd, Timeout::Recv, receive).map_err(std::io::Error::from)?)
    }

    /// Ends both directions; a thread blocked in [`Connection::receive`] gets `None`.
    pub fn shutdown(&self) {
        let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = descriptor.map(|fd| [fd]);
    if let Some(rights) = &rights {
        control.push(SendAncillaryMessage::ScmRights(rights));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(|_| ())
}

fn receive_bytes(socket: BorrowedFd<'_>) -> rustix::io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; PACKET_LEN_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            descriptor = fds.next();
        }
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(rustix::io::Errno::MSGSIZE);
    }
    bytes.truncate(got.bytes);
    Ok((bytes, descriptor))
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, LocalError> {
    let bytes = cbor::to_vec(message);
    if bytes.len() > PACKET_LEN_MAX {
        return Err(CborError::TooLong { len: bytes.len(), max: PACKET_LEN_MAX }.into());
    }
    Ok(bytes)
}

/// An empty packet is how a closed `SOCK_SEQPACKET` reads; no message of ours is empty.
fn decode<M: DeserializeOwned>(
    (bytes, descriptor): (Vec<u8>, Option<OwnedFd>),
) -> Result<Option<Packet<M>>, LocalError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match cbor::from_slice(&bytes, PACKET_LEN_MAX) {
        Ok(message) => Ok(Some(Packet { message, descriptor })),
        Err(error) => Err(refusal::reason(&bytes).map_or(error.into(), |reason| LocalError::Refused { reason })),
    }
}

/// What to do about a socket that cannot be reached or bound.
fn hint(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => match owner(path) {
            Some((place, uid)) if uid != 0 => format!("become root or user {uid}, who owns {}", place.display()),
            _ => "become root".into(),
        },
        std::io::ErrorKind::AddrInUse => "another program listens there; end it first".into(),
        _ => "is the other program running?".into(),
    }
}

/// The nearest of the path and the directories above it that can be looked at, and whose it is.
fn owner(path: &Path) -> Option<(&Path, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    path.ancestors().find_map(|place| Some((place, std::fs::metadata(place).ok()?.uid())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Digest;
    use fullmetal_proto::wire::local::{FromPeer, ToPeer};

    #[test]
    fn a_message_and_its_descriptor_arrive_together() {
        let (a, b) = Connection::pair().unwrap();
        let fd = sealed_descriptor(b"frame bytes").unwrap();
        let message = FromPeer::Blob { sha256: Digest::of(b"frame bytes") };
        a.send(&message, Some(fd.as_fd())).unwrap();
        let packet = b.receive::<FromPeer>().unwrap().unwrap();
        assert_eq!(packet.message, message);
        assert_eq!(read_descriptor(&packet.descriptor.unwrap(), 100).unwrap(), b"frame bytes");
    }

    #[test]
    fn a_closed_connection_reads_as_none_and_nonsense_as_an_error() {
        let (a, b) = Connection::pair().unwrap();
        a.send(&42u8, None).unwrap();
        assert!(matches!(b.receive::<ToPeer>(), Err(LocalError::Message(_))));
        drop(a);
        assert!(b.receive::<ToPeer>().unwrap().is_none());
    }

    #[test]
    fn descriptors_longer_than_announced_are_refused_and_pipes_do_not_block() {
        let fd = sealed_descriptor(&[7; 100]).unwrap();
        assert!(matches!(read_descriptor(&fd, 99), Err(LocalError::DescriptorTooLong { max: 99 })));
        let (read, _write) = rustix::pipe::pipe().unwrap();
        assert!(matches!(read_descriptor(&read, 99), Err(LocalError::Io(_))));
    }

    #[test]
    fn who_may_not_reach_a_socket_learns_who_may() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let dir = tempfile::tempdir().unwrap();
        let error = LocalError::Socket { action: "connecting to", path: dir.path().join("x/s.sock"), source: denied() };
        let own = rustix::process::getuid().as_raw();
        let owner = format!(" or user {own}, who owns {}", dir.path().display());
        let expected = format!("; become root{}", if own == 0 { "" } else { &owner });
        assert!(error.to_string().ends_with(&expected), "{error}");
        let missing = Connection::connect(&dir.path().join("s.sock"), None).unwrap_err();
        assert!(missing.to_string().ends_with("is the other program running?"), "{missing}");
    }

    #[test]
    fn a_listener_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peer.sock");
        let _listener = Listener::bind(&path).unwrap();
        let other = rustix::process::getuid().as_raw() + 1;
        assert!(matches!(Connection::connect(&path, Some(other)), Err(LocalError::Owner { .. })));
        assert!(Connection::connect(&path, None).is_ok());
    }
}
