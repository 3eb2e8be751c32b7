//! The same connection on a tokio runtime, for the peer.

use super::{Connection, Listener, LocalError, Packet, decode, encode, receive_bytes, send_bytes};
use serde::{Serialize, de::DeserializeOwned};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

/// A [`Connection`] whose waits are awaits. Receiving is cancel-safe: a packet is read whole or not at all.
///
/// tokio's `UnixStream` only watches readiness here; packets go through sendmsg(2) and recvmsg(2).
#[derive(Debug)]
pub struct AsyncConnection {
    inner: UnixStream,
}

impl AsyncConnection {
    /// Registers a connection with the current runtime.
    pub fn new(connection: Connection) -> Result<Self, LocalError> {
        let stream = std::os::unix::net::UnixStream::from(connection.fd);
        stream.set_nonblocking(true)?;
        Ok(AsyncConnection { inner: UnixStream::from_std(stream)? })
    }

    /// The user at the other end.
    pub fn other_uid(&self) -> Result<u32, LocalError> {
        Ok(self.inner.peer_cred()?.uid())
    }

    /// Sends one message, waiting while the other side is slow.
    pub async fn send<M: Serialize>(&self, message: &M, descriptor: Option<BorrowedFd<'_>>) -> Result<(), LocalError> {
        let bytes = encode(message)?;
        let send = || send_bytes(self.inner.as_fd(), &bytes, descriptor).map_err(std::io::Error::from);
        Ok(self.inner.async_io(Interest::WRITABLE, send).await?)
    }

    /// Waits for one message; `None` when the other side has closed.
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<Option<Packet<M>>, LocalError> {
        let receive = || receive_bytes(self.inner.as_fd()).map_err(std::io::Error::from);
        decode(self.inner.async_io(Interest::READABLE, receive).await?)
    }

    /// Waits for one packet and drops it; false when the other side has closed.
    pub(super) async fn receive_any(&self) -> Result<bool, LocalError> {
        let receive = || receive_bytes(self.inner.as_fd()).map_err(std::io::Error::from);
        let (bytes, _) = self.inner.async_io(Interest::READABLE, receive).await?;
        Ok(!bytes.is_empty())
    }

    /// Says no more; what was said can still be read.
    pub(super) fn shutdown_write(&self) -> Result<(), LocalError> {
        let shut = rustix::net::shutdown(self.inner.as_fd(), rustix::net::Shutdown::Write);
        Ok(shut.map_err(std::io::Error::from)?)
    }
}

/// A [`Listener`] on a tokio runtime.
#[derive(Debug)]
pub struct AsyncListener {
    inner: UnixListener,
    _file: Listener,
}

impl AsyncListener {
    /// Registers a listener with the current runtime.
    pub fn new(listener: Listener) -> Result<Self, LocalError> {
        let socket = std::os::unix::net::UnixListener::from(listener.as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        Ok(AsyncListener { inner: UnixListener::from_std(socket)?, _file: listener })
    }

    /// Waits for a client.
    pub async fn accept(&self) -> Result<AsyncConnection, LocalError> {
        let (stream, _) = self.inner.accept().await?;
        let fd = OwnedFd::from(stream.into_std()?);
        AsyncConnection::new(Connection { fd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::wire::local::ToPeer;

    #[tokio::test]
    async fn an_async_listener_serves_a_blocking_client() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peer.sock");
        let listener = AsyncListener::new(Listener::bind(&path).unwrap()).unwrap();
        let client = std::thread::spawn(move || {
            let connection = Connection::connect(&path, None).unwrap();
            connection.send(&ToPeer::Status, None).unwrap();
            connection.receive::<ToPeer>().unwrap().is_none()
        });
        let server = listener.accept().await.unwrap();
        assert_eq!(server.receive::<ToPeer>().await.unwrap().unwrap().message, ToPeer::Status);
        drop(server);
        assert!(client.join().unwrap());
    }
}
