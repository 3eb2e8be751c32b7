//! Length-prefixed CBOR messages on quinn streams: a big-endian u32, then that many bytes.

use fullmetal_proto::wire::cbor::{self, CborError};
use fullmetal_proto::wire::transfer::{
    CONTROL_ITEMS_MAX, CONTROL_LEN_MAX, Control, PEERS_MAX, STATUSES_MAX, STOCK_MAX,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest Hello in bytes.
pub const HELLO_LEN_MAX: usize = 1024;
/// The most devices in one `Control::Heard`.
const HEARD_MAX: usize = fullmetal_proto::announce::liveness::HEARD_MAX;

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The stream ended or broke.
    #[error("stream: {0}")]
    Stream(#[from] std::io::Error),
    /// A message longer than allowed, announced or given.
    #[error("a message of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are no such message.
    #[error("message: {0}")]
    Content(#[from] CborError),
    /// A list within the message is longer than allowed.
    #[error("a {list} message with {len} entries is over the limit of {max}")]
    List {
        /// Which message.
        list: &'static str,
        /// Its entries.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// Writes one message of at most `max` bytes, in one piece.
pub async fn write_message<T, W>(stream: &mut W, message: &T, max: usize) -> Result<(), ControlError>
where
    T: Serialize + ?Sized,
    W: AsyncWrite + Unpin,
{
    let body = cbor::to_vec(message);
    let len = body.len();
    let prefix = u32::try_from(len).ok().filter(|_| len <= max).ok_or(ControlError::TooLong { len, max })?;
    let framed = [&prefix.to_be_bytes()[..], &body].concat();
    stream.write_all(&framed).await?;
    Ok(())
}

/// Reads one message; one announced as longer than `max` is refused before it is read.
pub async fn read_message<T, R>(stream: &mut R, max: usize) -> Result<T, ControlError>
where
    T: DeserializeOwned,
    R: AsyncRead + Unpin,
{
    let len = stream.read_u32().await? as usize;
    if len > max {
        return Err(ControlError::TooLong { len, max });
    }
    let mut body = Vec::new();
    // Grows with what arrives, not with what was announced.
    let read = (&mut *stream).take(len as u64).read_to_end(&mut body).await?;
    if read < len {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(cbor::from_slice_of_items(&body, max, CONTROL_ITEMS_MAX)?)
}

/// Reads one control message and checks the limits of its lists.
pub async fn read_control<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Control, ControlError> {
    let message = read_message(stream, CONTROL_LEN_MAX).await?;
    let (list, len, max) = match &message {
        Control::Hint(_) => return Ok(message),
        Control::Swarm(update) => ("swarm", update.statuses.len(), STATUSES_MAX),
        Control::Stock(items) => ("stock", items.len(), STOCK_MAX),
        Control::Peers(peers) => ("peers", peers.len(), PEERS_MAX),
        Control::Heard(devices) => ("heard", devices.len(), HEARD_MAX),
    };
    if len > max {
        return Err(ControlError::List { list, len, max });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fullmetal_proto::Digest;
    use fullmetal_proto::wire::Hint;

    fn hint() -> Control {
        Control::Hint(Hint { epoch: 1, counter: 2, digest: Digest::of(b"x"), length: 3 })
    }

    #[tokio::test]
    async fn messages_arrive_one_by_one_as_they_were_sent() {
        let (mut a, mut b) = tokio::io::duplex(64);
        let heard = Control::Heard(vec![("press-1".parse().unwrap(), 7)]);
        let sent = heard.clone();
        let writer = async move {
            write_message(&mut a, &hint(), CONTROL_LEN_MAX).await.unwrap();
            write_message(&mut a, &sent, CONTROL_LEN_MAX).await.unwrap();
        };
        let reader = async move {
            assert_eq!(read_control(&mut b).await.unwrap(), hint());
            assert_eq!(read_control(&mut b).await.unwrap(), heard);
            assert!(matches!(read_control(&mut b).await, Err(ControlError::Stream(_))));
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test]
    async fn what_is_too_long_or_cut_short_is_refused() {
        let long = [&u32::MAX.to_be_bytes()[..], &[0; 16]].concat();
        let refused = read_control(&mut long.as_slice()).await.unwrap_err();
        assert!(matches!(refused, ControlError::TooLong { .. }), "{refused}");
        let cut = [&100u32.to_be_bytes()[..], &[0; 99]].concat();
        assert!(matches!(read_control(&mut cut.as_slice()).await, Err(ControlError::Stream(_))));
        let device: fullmetal_proto::DeviceId = "press-1".parse().unwrap();
        let many = Control::Heard(vec![(device, 1); HEARD_MAX + 1]);
        let mut bytes = Vec::new();
        write_message(&mut bytes, &many, CONTROL_LEN_MAX).await.unwrap();
        let refused = read_control(&mut bytes.as_slice()).await.unwrap_err();
        assert!(matches!(refused, ControlError::List { list: "heard", .. }), "{refused}");
        assert!(matches!(write_message(&mut bytes, &many, 64).await, Err(ControlError::TooLong { .. })));
    }
}
