//! Turning a client away so that it learns why.
//!
//! A socket that is closed with unread packets resets its other end, and what was sent before is lost with it
//! (`unix_release_sock` in Linux). So the refusal is sent, and what the client says is read away until it goes.

use super::{AsyncConnection, Connection, LocalError};
use fullmetal_proto::wire::cbor;
use fullmetal_proto::wire::local::PACKET_LEN_MAX;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the client may take to read its refusal and go.
const GOING: Duration = Duration::from_secs(1);
/// Packets of it that are read away.
const PACKETS_MAX: usize = 64;
/// The longest reason that is shown.
const REASON_LEN_MAX: usize = 1024;

/// What is sent in place of any other message.
#[derive(Serialize, Deserialize)]
struct Refusal {
    refused: String,
}

/// The reason, when the packet is a refusal. Made fit to be shown.
pub(super) fn reason(packet: &[u8]) -> Option<String> {
    let refusal: Refusal = cbor::from_slice(packet, PACKET_LEN_MAX).ok()?;
    Some(refusal.refused.chars().filter(|c| !c.is_control()).take(REASON_LEN_MAX).collect())
}

impl Connection {
    /// Says why, waits a second at most until the client has gone, and closes.
    pub fn refuse(self, reason: &str) -> Result<(), LocalError> {
        self.set_timeouts(Some(GOING), Some(GOING))?;
        self.send(&Refusal { refused: reason.to_owned() }, None)?;
        self.finish();
        Ok(())
    }

    /// Closes after an answer: what the client still says is read away, for a second at most.
    pub fn finish(self) {
        let _ = self.set_timeouts(Some(GOING), Some(GOING));
        let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write);
        for _ in 0..PACKETS_MAX {
            match super::receive_bytes(std::os::fd::AsFd::as_fd(&self.fd)) {
                Ok((bytes, _)) if !bytes.is_empty() => {}
                _ => return,
            }
        }
    }
}

impl AsyncConnection {
    /// Says why, waits a second at most until the client has gone, and closes.
    pub async fn refuse(self, reason: &str) {
        let refusing = async {
            self.send(&Refusal { refused: reason.to_owned() }, None).await?;
            self.shutdown_write()?;
            for _ in 0..PACKETS_MAX {
                if !self.receive_any().await? {
                    break;
                }
            }
            Ok::<(), LocalError>(())
        };
        let _ = tokio::time::timeout(GOING, refusing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{AsyncListener, Listener};
    use fullmetal_proto::wire::local::{Client, FromPeer, ToPeer, VERSION};

    fn asked(connection: &Connection) -> String {
        let hello = ToPeer::Hello { version: VERSION, client: Client::Observer };
        connection.send(&hello, None).unwrap();
        connection.send(&ToPeer::Status, None).unwrap();
        connection.receive::<FromPeer>().unwrap_err().to_string()
    }

    #[test]
    fn a_client_that_is_turned_away_reads_why_though_nobody_read_what_it_said() {
        let (server, client) = Connection::pair().unwrap();
        let answer = std::thread::spawn(move || asked(&client));
        server.refuse("only root\nmay").unwrap();
        assert_eq!(answer.join().unwrap(), "refused: only rootmay");
    }

    #[tokio::test]
    async fn so_it_is_on_a_runtime_and_a_client_that_stays_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peer.sock");
        let listener = AsyncListener::new(Listener::bind(&path).unwrap()).unwrap();
        let staying = Connection::connect(&path, None).unwrap();
        listener.accept().await.unwrap().refuse("no place").await;
        assert_eq!(staying.receive::<FromPeer>().unwrap_err().to_string(), "refused: no place");
        let answer = std::thread::spawn(move || asked(&Connection::connect(&path, None).unwrap()));
        listener.accept().await.unwrap().refuse("no place").await;
        assert_eq!(answer.join().unwrap(), "refused: no place");
    }
}
