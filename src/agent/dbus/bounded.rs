//! What is read from the bus is bounded: the bus itself lets anybody send messages of tens of megabytes.
//!
//! A message that is too long for what it is is dropped before it is in memory; who sent it gets no answer.
//! Format: <https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-messages>

use std::os::fd::OwnedFd;
use tokio::net::unix::OwnedReadHalf;
use tracing::debug;
use zbus::Message;
use zbus::connection::socket::ReadHalf;
use zbus::fdo::ConnectionCredentials;

/// The part of a message whose length is fixed.
const FIXED_LEN: usize = 16;
/// The longest call or signal in bytes: names, and twice a line.
const CALL_LEN_MAX: u64 = 8 << 10;
/// The longest answer in bytes. Only whom we asked can give one; a caller's groups may be 65,536.
const ANSWER_LEN_MAX: u64 = 512 << 10;
/// How much of a message that is too long is read at a time.
const SKIP_LEN: usize = 4 << 10;

/// The read half of a connection to the bus.
#[derive(Debug)]
pub struct Bounded(pub OwnedReadHalf);

/// How long a message is, by the part that is fixed, and how long one like it may be.
fn lengths(fixed: &[u8; FIXED_LEN]) -> (u64, u64) {
    let number = |at: usize| {
        let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        u64::from(if fixed[0] == b'B' { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let length = (FIXED_LEN as u64 + number(12)).next_multiple_of(8) + number(4);
    // 2 is an answer, 3 an error.
    (length, if matches!(fixed[1], 2 | 3) { ANSWER_LEN_MAX } else { CALL_LEN_MAX })
}

impl Bounded {
    /// Reads on until there are so many bytes.
    async fn fill(&mut self, bytes: &mut Vec<u8>, fds: &mut Vec<OwnedFd>, length: usize) -> zbus::Result<()> {
        let mut have = bytes.len();
        while have < length {
            bytes.resize(length, 0);
            let read = self.0.recvmsg(&mut bytes[have..]).await;
            let (read, more) = read.inspect_err(|_| bytes.truncate(have))?;
            fds.extend(more);
            have += read;
            bytes.truncate(have);
            if read == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(())
    }

    /// Leaves a message out, and what came with it.
    async fn skip(&mut self, bytes: &mut Vec<u8>, fds: &mut Vec<OwnedFd>, mut length: u64) -> zbus::Result<()> {
        while length > 0 {
            let part = usize::try_from(length).unwrap_or(SKIP_LEN).min(SKIP_LEN);
            self.fill(bytes, fds, part).await?;
            bytes.drain(..part);
            fds.clear();
            length -= part as u64;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl ReadHalf for Bounded {
    async fn receive_message(
        &mut self,
        seq: u64,
        bytes: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        loop {
            self.fill(bytes, fds, FIXED_LEN).await?;
            let fixed = bytes.first_chunk().ok_or(zbus::Error::ExcessData)?;
            let (length, length_max) = lengths(fixed);
            if length <= length_max {
                return self.0.receive_message(seq, bytes, fds).await;
            }
            debug!(length, "a message on the bus is too long");
            self.skip(bytes, fds, length).await?;
        }
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> std::io::Result<(usize, Vec<OwnedFd>)> {
        self.0.recvmsg(buffer).await
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.0.can_pass_unix_fd()
    }

    async fn peer_credentials(&mut self) -> std::io::Result<ConnectionCredentials> {
        self.0.peer_credentials().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    fn signal(text: &str) -> Vec<u8> {
        let message = Message::signal("/a", "a.b", "C").unwrap().build(&text).unwrap();
        message.data().to_vec()
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_left_out_and_the_next_one_is_read() {
        let (mut to, from) = UnixStream::pair().unwrap();
        let mut bounded = Bounded(from.into_split().0);
        let fits = "x".repeat(8000 - signal("").len());
        let sent = ["one", &"x".repeat(100_000), &fits, &"x".repeat(8 << 10), "last"].map(signal).concat();
        tokio::spawn(async move { to.write_all(&sent).await.unwrap() });
        // Some of it may have come with the greeting.
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        bounded.fill(&mut bytes, &mut fds, 5).await.unwrap();
        let mut got = Vec::new();
        for seq in 0..3 {
            let message = bounded.receive_message(seq, &mut bytes, &mut fds).await.unwrap();
            got.push(message.body().deserialize::<String>().unwrap());
        }
        assert_eq!(got, ["one", &fits, "last"]);
        assert!(bounded.receive_message(3, &mut bytes, &mut fds).await.is_err(), "the end is told");
    }

    #[test]
    fn lengths_are_read_in_both_orders() {
        let message = signal("some words");
        let fixed: &[u8; FIXED_LEN] = message.first_chunk().unwrap();
        assert_eq!(lengths(fixed), (message.len() as u64, CALL_LEN_MAX));
        let big = [b'B', 2, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(lengths(&big), (32 + (1 << 16), ANSWER_LEN_MAX));
    }
}
