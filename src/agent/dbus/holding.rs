//! Descriptors that stand for inhibitors.
//!
//! The holder gets the reading end of a pipe in which nothing is ever written; the agent keeps the other one and sees when
//! the last copy is closed, also by the holder's end. A holder that reads hears of the agent's end.

use futures::StreamExt as _;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::names::{BusName, UniqueName};
use zbus::{Connection, MatchRule, MessageStream};

/// Signals that may wait; one is enough to end it.
const QUEUED_MAX: usize = 1;

/// The agent's end.
pub struct Held(pipe::Sender);

impl Held {
    /// With the holder's end.
    pub fn new() -> std::io::Result<(Self, OwnedFd)> {
        let (holders, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((Held(pipe::Sender::from_owned_fd(ours)?), holders))
    }

    /// Waits until nobody holds it any more, or its owner leaves the bus.
    pub async fn end(self, connection: &Connection, owner: &UniqueName<'_>) {
        tokio::select! {
            () = self.closed() => {}
            () = left(connection, owner) => {}
        }
    }

    async fn closed(&self) {
        // Without a reader the end is in error.
        let _ = self.0.ready(Interest::ERROR).await;
    }
}

/// Never ends when the bus itself goes: then the descriptor alone counts.
async fn left(connection: &Connection, owner: &UniqueName<'_>) {
    let Ok(leaves) = leaves(connection, owner).await else { return std::future::pending().await };
    let Some(mut leaves) = leaves else { return };
    // A name that is unique is never given again: any change is its end.
    while let Some(message) = leaves.next().await {
        if message.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// Hears of the owner's leaving; nothing when it has left. Anybody can send a signal that looks the same: only the bus' own
/// passes the rule.
async fn leaves(connection: &Connection, owner: &UniqueName<'_>) -> zbus::Result<Option<MessageStream>> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")?
        .interface("org.freedesktop.DBus")?
        .member("NameOwnerChanged")?
        .arg(0, owner.to_string())?
        .build();
    let stream = MessageStream::for_match_rule(rule, connection, Some(QUEUED_MAX)).await?;
    // It may have left before the rule was there.
    let is_there = DBusProxy::new(connection).await?.name_has_owner(BusName::Unique(owner.to_owned())).await?;
    Ok(is_there.then_some(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn the_last_copy_that_is_closed_ends_it() {
        let (held, holders) = Held::new().unwrap();
        let copy = holders.try_clone().unwrap();
        drop(holders);
        assert!(timeout(Duration::from_millis(50), held.closed()).await.is_err(), "a copy is open");
        drop(copy);
        timeout(Duration::from_secs(10), held.closed()).await.unwrap();
    }
}
