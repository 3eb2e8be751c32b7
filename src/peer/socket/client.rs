//! The way to one client: a bounded queue and the task that empties it.

use crate::local::AsyncConnection;
use crate::peer::cache::{Cache, Key};
use fullmetal_proto::wire::local::{Client, FromPeer};
use serde_bytes::ByteBuf;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

/// Messages that may wait for one client. Those that can be many are small: they name bytes in the cache.
pub const QUEUE_MAX: usize = 20_000;
/// Messages that may wait for an observer.
const OBSERVER_QUEUE_MAX: usize = 8;
/// How long a client may take for one message.
const SEND_MS_MAX: u64 = 30_000;

/// What is sent to a client.
#[derive(Debug)]
pub enum Reply {
    /// A message, with a descriptor or without.
    Message(FromPeer, Option<OwnedFd>),
    /// A report in the cache, read when its turn comes.
    Report(Cache, Key, u32),
    /// A receipt in the cache.
    Receipt(Cache, Key, u32),
}

/// The client takes nothing, or is gone; its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client takes no messages")]
pub struct OutboxFull;

/// Sends to one client without waiting. Dropping it ends the connection.
#[derive(Debug)]
pub struct Outbox {
    queue: mpsc::Sender<Reply>,
}

impl Outbox {
    /// Queues a reply.
    pub fn send(&self, reply: Reply) -> Result<(), OutboxFull> {
        self.queue.try_send(reply).map_err(|_| OutboxFull)
    }

    /// Queues a message without a descriptor.
    pub fn say(&self, message: FromPeer) -> Result<(), OutboxFull> {
        self.send(Reply::Message(message, None))
    }
}

pub(super) struct Writer {
    connection: Arc<AsyncConnection>,
    queue: mpsc::Receiver<Reply>,
}

pub(super) fn outbox(connection: Arc<AsyncConnection>, client: Client) -> (Outbox, Writer) {
    let (sender, queue) = mpsc::channel(if client == Client::Observer { OBSERVER_QUEUE_MAX } else { QUEUE_MAX });
    (Outbox { queue: sender }, Writer { connection, queue })
}

impl Writer {
    /// Ends when the outbox is dropped or the client takes nothing.
    pub(super) async fn run(mut self) {
        while let Some(reply) = self.queue.recv().await {
            let (message, descriptor) = match reply {
                Reply::Message(message, descriptor) => (message, descriptor),
                Reply::Report(cache, key, length) => match read(&cache, key, length) {
                    Some(bytes) => (FromPeer::Report(bytes), None),
                    None => continue,
                },
                Reply::Receipt(cache, key, length) => match read(&cache, key, length) {
                    Some(bytes) => (FromPeer::Receipt(bytes), None),
                    None => continue,
                },
            };
            let sent = self.connection.send(&message, descriptor.as_ref().map(|fd| fd.as_fd()));
            match timeout(Duration::from_millis(SEND_MS_MAX), sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return debug!(%error, "local client gone"),
                Err(_) => return debug!("local client takes no messages"),
            }
        }
    }
}

/// A few KiB from the page cache; evicted meanwhile means settled meanwhile.
fn read(cache: &Cache, key: Key, length: u32) -> Option<ByteBuf> {
    let mut bytes = Vec::new();
    cache.open_read(key, u64::from(length))?.read_to_end(&mut bytes).ok()?;
    Some(ByteBuf::from(bytes))
}
