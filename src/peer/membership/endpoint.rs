//! The quinn endpoint: one UDP port, for dialing and listening, bounded in every direction.

use super::{Credentials, MembershipError};
use crate::identity::{client_config, server_config};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// A silent connection is kept alive this often.
const KEEP_ALIVE: Duration = Duration::from_secs(45);
/// And given up after this.
const IDLE_MS_MAX: u32 = 120_000;
/// Request streams that a neighbour may have open at once.
const STREAMS_MAX: u32 = 100;
/// Unread bytes of one stream: a gigabit LAN with a millisecond of delay fills a tenth of it.
const STREAM_WINDOW: u32 = 1_250_000;
/// Unread bytes of one connection.
const CONNECTION_WINDOW: u32 = 2_500_000;
/// Unacknowledged bytes that are kept for sending again, of one connection.
const SEND_WINDOW: u64 = 1_250_000;
/// Connection attempts that may wait to be looked at.
const INCOMING_MAX: usize = 64;
/// Bytes of data that may wait with all of them.
const INCOMING_BYTES_MAX: u64 = 1 << 20;
/// A first guess for a LAN.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// The endpoint and what dialing takes.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) quinn: quinn::Endpoint,
    client: ClientConfig,
    /// Where it listens.
    pub(super) local: SocketAddr,
}

impl Endpoint {
    pub(super) fn bind(listen: SocketAddr, credentials: &Credentials) -> Result<Self, MembershipError> {
        let bind_error = |source| MembershipError::Bind { address: listen, source };
        let tls_error = |e: &dyn std::fmt::Display| MembershipError::Tls(e.to_string());
        let Credentials { identity, trust, clock } = credentials;
        let server = server_config(identity, trust, clock).map_err(|e| tls_error(&e))?;
        let server = QuicServerConfig::try_from(server).map_err(|e| tls_error(&e))?;
        let client = client_config(identity, trust, clock).map_err(|e| tls_error(&e))?;
        let client = QuicClientConfig::try_from(client).map_err(|e| tls_error(&e))?;
        let transport = Arc::new(transport());
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        server.migration(false);
        server.max_incoming(INCOMING_MAX);
        server.incoming_buffer_size_total(INCOMING_BYTES_MAX);
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        let socket = UdpSocket::bind(listen).map_err(bind_error)?;
        let runtime = Arc::new(TokioRuntime);
        let quinn =
            quinn::Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(bind_error)?;
        let local = quinn.local_addr().map_err(bind_error)?;
        Ok(Endpoint { quinn, client, local })
    }

    /// Begins a handshake. The name is not checked: the certificate's URI says who it is.
    pub(super) fn connect(&self, address: SocketAddr) -> Result<quinn::Connecting, quinn::ConnectError> {
        self.quinn.connect_with(self.client.clone(), address, "fullmetal")
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .send_fairness(false)
        .datagram_receive_buffer_size(None)
        .initial_rtt(INITIAL_RTT);
    transport
}
