//! The same connection on a tokio runtime, for the peer.

use super::{Connection, Listener, LocalError, Packet, decode, encode};
use serde::{Serialize, de::DeserializeOwned};
use std::os::fd::BorrowedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A [`Connection`] whose waits are awaits. Receiving is cancel-safe: a packet is read whole or not at all.
#[derive(Debug)]
pub struct AsyncConnection {
    inner: AsyncFd<Connection>,
}

impl AsyncConnection {
    /// Registers a connection with the current runtime.
    pub fn new(connection: Connection) -> Result<Self, LocalError> {
        rustix::io::ioctl_fionbio(&connection, true).map_err(std::io::Error::from)?;
        Ok(AsyncConnection { inner: AsyncFd::register(connection)? })
    }

    /// The user at the other end.
    pub fn other_uid(&self) -> Result<u32, LocalError> {
        self.inner.get_ref().other_uid()
    }

    /// Sends one message, waiting while the other side is slow.
    pub async fn send<M: Serialize>(&self, message: &M, descriptor: Option<BorrowedFd<'_>>) -> Result<(), LocalError> {
        let bytes = encode(message)?;
        let send = |c: &Connection| c.send_bytes(&bytes, descriptor).map_err(std::io::Error::from);
        Ok(self.inner.async_io(Interest::WRITABLE, send).await?)
    }

    /// Waits for one message; `None` when the other side has closed.
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<Option<Packet<M>>, LocalError> {
        let receive = |c: &Connection| c.receive_bytes().map_err(std::io::Error::from);
        decode(self.inner.async_io(Interest::READABLE, receive).await?)
    }
}

/// A [`Listener`] on a tokio runtime.
#[derive(Debug)]
pub struct AsyncListener {
    inner: AsyncFd<Listener>,
}

impl AsyncListener {
    /// Registers a listener with the current runtime.
    pub fn new(listener: Listener) -> Result<Self, LocalError> {
        listener.set_nonblocking(true)?;
        Ok(AsyncListener { inner: AsyncFd::register(listener)? })
    }

    /// Waits for a client.
    pub async fn accept(&self) -> Result<AsyncConnection, LocalError> {
        loop {
            let mut guard = self.inner.readable().await?;
            let accepted = guard.try_io(|l| match l.get_ref().accept() {
                Err(LocalError::Io(e)) => Err(e),
                other => Ok(other),
            });
            if let Ok(accepted) = accepted {
                return AsyncConnection::new(accepted??);
            }
        }
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
