//! The listening end.

use super::{Connection, LocalError, new_socket};
use rustix::net::{SocketAddrUnix, SocketFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// How many clients may wait to be accepted.
const BACKLOG_MAX: i32 = 16;

/// A bound socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Binds `path`, taking the place of a socket file that an ended program left there.
    ///
    /// Everybody may connect; who may do what is judged by [`Connection::other_uid`].
    pub fn bind(path: &Path) -> Result<Self, LocalError> {
        let err = |source: std::io::Error| LocalError::Socket { action: "binding", path: path.to_owned(), source };
        if Connection::connect(path, None).is_ok() {
            return Err(err(std::io::Error::from(std::io::ErrorKind::AddrInUse)));
        }
        let _ = std::fs::remove_file(path);
        let fd = new_socket().map_err(|e| err(e.into()))?;
        let address = SocketAddrUnix::new(path).map_err(|e| err(e.into()))?;
        rustix::net::bind(&fd, &address).map_err(|e| err(e.into()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(err)?;
        rustix::net::listen(&fd, BACKLOG_MAX).map_err(|e| err(e.into()))?;
        Ok(Listener { fd, path: path.to_owned() })
    }

    /// Waits for a client.
    pub fn accept(&self) -> Result<Connection, LocalError> {
        let fd = rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC).map_err(std::io::Error::from)?;
        Ok(Connection { fd })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
