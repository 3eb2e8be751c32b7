//! From a UDP address to a proven member.
//!
//! In TLS 1.3 the dialer's handshake ends before the listener has judged the dialer's certificate. So the dialer
//! says Hello first, and counts the connection as proven only when the listener's Hello has come.

use super::endpoint::Endpoint;
use super::{CLOSE_NOT_MEMBER, Credentials};
use crate::identity::{IdentityError, Member, member_of};
use crate::peer::control::{ControlError, HELLO_LEN_MAX, read_message, write_message};
use crate::peer::gossip;
use fullmetal_proto::wire::transfer::Hello;
use libp2p::PeerId;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a dialer may take to show its certificate: a stranger is gone within a second.
const ACCEPT_MAX: Duration = Duration::from_millis(1_000);
/// How long a listener may take.
const DIAL_MAX: Duration = Duration::from_secs(5);
/// How long a member may take to say Hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// A connection to a proven member.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) member: Member,
    pub(super) peer: PeerId,
    pub(super) connection: quinn::Connection,
    /// What it said of itself.
    pub(super) hello: Hello,
    pub(super) send: quinn::SendStream,
    pub(super) recv: quinn::RecvStream,
    /// By us; otherwise our Hello is still to be said.
    pub(super) dialed: bool,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("connecting: {0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("connection: {0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("{0}")]
    Member(#[from] IdentityError),
    #[error("hello: {0}")]
    Hello(#[from] ControlError),
    #[error("no {0} in time")]
    Late(&'static str),
}

async fn within<T, E>(
    limit: Duration,
    what: &'static str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, HandshakeError>
where
    HandshakeError: From<E>,
{
    let done = tokio::time::timeout(limit, step).await.map_err(|_| HandshakeError::Late(what))?;
    Ok(done?)
}

/// Dials, proves both sides and exchanges Hello.
pub(super) async fn dial(
    endpoint: &Endpoint,
    address: SocketAddr,
    ours: Hello,
    credentials: &Credentials,
) -> Result<Proven, HandshakeError> {
    let connection = within(DIAL_MAX, "answer", endpoint.connect(address)?).await?;
    let (member, peer) = judge(&connection, credentials)?;
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        write_message(&mut send, &ours, HELLO_LEN_MAX).await?;
        let hello = match read_message(&mut recv, HELLO_LEN_MAX).await {
            Ok(hello) => hello,
            // The close frame says more than the broken stream.
            Err(error) => return Err(connection.close_reason().map_or(error.into(), HandshakeError::from)),
        };
        Ok::<_, HandshakeError>((send, recv, hello))
    };
    let (send, recv, hello) = within(HELLO_MAX, "hello", exchange).await?;
    Ok(Proven { member, peer, connection, hello, send, recv, dialed: true })
}

/// Waits for the dialer's certificate and Hello.
pub(super) async fn accept(incoming: quinn::Incoming, credentials: &Credentials) -> Result<Proven, HandshakeError> {
    let connection = within(ACCEPT_MAX, "certificate", incoming.accept()?).await?;
    let (member, peer) = judge(&connection, credentials)?;
    let exchange = async {
        let (send, mut recv) = connection.accept_bi().await?;
        let hello = read_message(&mut recv, HELLO_LEN_MAX).await?;
        Ok::<_, HandshakeError>((send, recv, hello))
    };
    let (send, recv, hello) = within(HELLO_MAX, "hello", exchange).await?;
    Ok(Proven { member, peer, connection, hello, send, recv, dialed: false })
}

fn judge(connection: &quinn::Connection, credentials: &Credentials) -> Result<(Member, PeerId), HandshakeError> {
    let judged = member_of(connection.peer_identity(), &credentials.trust, &credentials.clock).and_then(|member| {
        let peer = gossip::peer_id(&member.key);
        let peer = peer.ok_or_else(|| IdentityError::Certificate("its key is no ed25519 point".into()))?;
        Ok((member, peer))
    });
    if judged.is_err() {
        connection.close(CLOSE_NOT_MEMBER, b"not a member");
    }
    Ok(judged?)
}
