//! The quinn endpoint: one UDP port, for dialing and listening, bounded in every direction.

use super::{Credentials, MembershipError};
use crate::identity::{client_config, server_config};
use fullmetal_proto::{Digest, FleetId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// A silent connection is kept alive this often, by its dialer alone: both would send twice as much.
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
    name: String,
    /// Where it listens.
    pub(super) local: SocketAddr,
}

impl Endpoint {
    pub(super) fn bind(listen: SocketAddr, credentials: &Credentials) -> Result<Self, MembershipError> {
        let bind_error = |source| MembershipError::Bind { address: listen, source };
        let tls_error = |e: &dyn std::fmt::Display| MembershipError::Tls(e.to_string());
        let Credentials { identity, trust, clock } = credentials;
        let mut server = server_config(identity, trust, clock).map_err(|e| tls_error(&e))?;
        let name = server_name(&identity.fleet);
        server.cert_resolver = Arc::new(OnlyTo { name: name.clone(), inner: server.cert_resolver });
        let server = QuicServerConfig::try_from(server).map_err(|e| tls_error(&e))?;
        let client = client_config(identity, trust, clock).map_err(|e| tls_error(&e))?;
        let client = QuicClientConfig::try_from(client).map_err(|e| tls_error(&e))?;
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(Arc::new(transport(None)));
        server.migration(false);
        server.max_incoming(INCOMING_MAX);
        server.incoming_buffer_size_total(INCOMING_BYTES_MAX);
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(Arc::new(transport(Some(KEEP_ALIVE))));
        let socket = UdpSocket::bind(listen).map_err(bind_error)?;
        let runtime = Arc::new(TokioRuntime);
        let quinn =
            quinn::Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(bind_error)?;
        let local = quinn.local_addr().map_err(bind_error)?;
        Ok(Endpoint { quinn, client, name, local })
    }

    /// Begins a handshake. The name opens the door; the certificate's URI says who is behind it.
    pub(super) fn connect(&self, address: SocketAddr) -> Result<quinn::Connecting, quinn::ConnectError> {
        self.quinn.connect_with(self.client.clone(), address, &self.name)
    }
}

/// What a dialer asks for in its first packet. Who does not know the fleet's id cannot make it up.
pub(super) fn server_name(fleet: &FleetId) -> String {
    hex::encode(&Digest::of_parts(&[b"fullmetal/server-name/v1\0", fleet.as_str().as_bytes()]).0[..16])
}

/// Shows our certificate only to who asks by the fleet's name: in TLS 1.3 the listener's certificate goes
/// out before the dialer's is judged, and it names fleet and device.
#[derive(Debug)]
struct OnlyTo {
    name: String,
    inner: Arc<dyn ResolvesServerCert>,
}

impl ResolvesServerCert for OnlyTo {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.server_name() == Some(&self.name) { self.inner.resolve(hello) } else { None }
    }
}

fn transport(keep_alive: Option<Duration>) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(keep_alive)
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
