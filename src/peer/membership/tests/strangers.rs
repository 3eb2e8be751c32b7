use super::*;
use crate::identity::{client_config, server_config};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};

/// Believes everybody, as a stranger would.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

fn dialer(tls: Result<rustls::ClientConfig, crate::identity::TlsError>) -> quinn::ClientConfig {
    let mut tls = tls.unwrap();
    tls.dangerous().set_certificate_verifier(Arc::new(Credulous));
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn with_certificate(credentials: &Credentials) -> quinn::ClientConfig {
    dialer(client_config(&credentials.identity, &credentials.trust, &credentials.clock))
}

fn without_certificate() -> quinn::ClientConfig {
    let provider = crate::identity::crypto_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut tls = tls.unwrap().dangerous().with_custom_certificate_verifier(Arc::new(Credulous)).with_no_client_auth();
    tls.alpn_protocols = vec![fullmetal_proto::wire::transfer::ALPN.to_vec()];
    dialer(Ok(tls))
}

/// Dials as a stranger and gives the error and how long it took.
async fn knock(config: quinn::ClientConfig, address: SocketAddr, name: &str) -> (String, Duration) {
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let start = Instant::now();
    let connecting = endpoint.connect_with(config, address, name).unwrap();
    let error = match tokio::time::timeout(DEADLINE, connecting).await.unwrap() {
        Ok(connection) => {
            // TLS 1.3 lets the dialer through before its certificate was judged.
            let spoken = async {
                let (mut send, mut recv) = connection.open_bi().await?;
                let _ = send.write_all(&[0; 64]).await;
                let read = recv.read_to_end(1024).await;
                assert!(read.is_err(), "the listener said {read:?} to a stranger");
                Err::<(), _>(connection.closed().await)
            };
            tokio::time::timeout(DEADLINE, spoken).await.unwrap().unwrap_err()
        }
        Err(error) => error,
    };
    (error.to_string(), start.elapsed())
}

#[tokio::test]
async fn strangers_of_every_kind_are_gone_within_a_second_and_are_told_nothing() {
    let (ours, theirs, dir) = (Ca::new(), Ca::new(), tempfile::tempdir().unwrap());
    let own = ours.member(1);
    let mut revoking = ours.trust();
    revoking.revoked.devices.insert(id(4));
    own.trust.set(revoking);
    let one = Peer::start(settings(dir.path(), vec![]), own).await;
    let mut self_signed = ours.member(2);
    self_signed.identity.certificate = issue_ca(&ours.fleet, &self_signed.identity.key).unwrap();
    let strangers = [
        ("of another CA", with_certificate(&theirs.member(2))),
        ("self-signed", with_certificate(&self_signed)),
        ("expired", with_certificate(&ours.member_of(id(3), Timestamp::from_secs(946_684_800)))),
        ("revoked", with_certificate(&ours.member(4))),
        ("without a certificate", without_certificate()),
    ];
    let name = endpoint::server_name(&ours.fleet);
    for (what, config) in strangers {
        let (error, took) = knock(config, one.address(), &name).await;
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
        assert!(error.contains("certificate") || error.contains("cert"), "{what}: {error}");
    }
    assert!(one.saw(|s| s.connected.is_empty()) && one.membership.neighbours().is_empty());
    // The same way in works for a member, so it was the certificates that did not.
    let two = Peer::start(settings(dir.path(), vec![one.address()]), ours.member(2)).await;
    eventually("a member gets in", || one.has(2) && two.has(1)).await;
}

/// Notes whether it was shown a certificate.
#[derive(Debug, Default)]
struct Curious(std::sync::atomic::AtomicBool);

impl Curious {
    fn config(self: &Arc<Self>) -> quinn::ClientConfig {
        let provider = crate::identity::crypto_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider);
        let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().dangerous();
        let mut tls = tls.with_custom_certificate_verifier(self.clone()).with_no_client_auth();
        tls.alpn_protocols = vec![fullmetal_proto::wire::transfer::ALPN.to_vec()];
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        m: &[u8],
        c: &rustls::pki_types::CertificateDer<'_>,
        s: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Credulous.verify_tls12_signature(m, c, s)
    }

    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &rustls::pki_types::CertificateDer<'_>,
        s: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Credulous.verify_tls13_signature(m, c, s)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        Credulous.supported_verify_schemes()
    }
}

#[tokio::test]
async fn who_does_not_know_the_fleet_is_not_even_shown_the_certificate_that_names_it() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let scanner = Arc::new(Curious::default());
    for name in ["fullmetal", ca.fleet.as_str(), &endpoint::server_name(&Ca::new().fleet)] {
        let (_, took) = knock(scanner.config(), one.address(), name).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert!(!scanner.0.load(std::sync::atomic::Ordering::Relaxed));
    knock(scanner.config(), one.address(), &endpoint::server_name(&ca.fleet)).await;
    assert!(scanner.0.load(std::sync::atomic::Ordering::Relaxed), "the name is what made the difference");
}

#[tokio::test]
async fn a_dialer_that_goes_silent_in_the_handshake_does_not_keep_others_out() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let (mut silent, name) = (Vec::new(), endpoint::server_name(&ca.fleet));
    for _ in 0..200 {
        let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let connecting = endpoint.connect_with(without_certificate(), one.address(), &name).unwrap();
        silent.push((endpoint, connecting));
    }
    let two = Peer::start(settings(dir.path(), vec![one.address()]), ca.member(2)).await;
    eventually("a member gets in", || one.has(2) && two.has(1)).await;
}

#[tokio::test]
async fn a_listener_that_is_a_stranger_is_told_nothing_either() {
    let (ours, theirs, dir) = (Ca::new(), Ca::new(), tempfile::tempdir().unwrap());
    let foreign = theirs.member(1);
    let tls = server_config(&foreign.identity, &foreign.trust, &foreign.clock).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let listener = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
    let two = Peer::start(settings(dir.path(), vec![listener.local_addr().unwrap()]), ours.member(2)).await;
    let incoming = tokio::time::timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    assert!(incoming.accept().unwrap().await.is_err());
    assert!(two.membership.neighbours().is_empty() && two.saw(|s| s.connected.is_empty()));
}

#[tokio::test]
async fn a_member_that_is_revoked_is_closed_everywhere_and_stays_out() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let own = ca.member(1);
    let trust = own.trust.clone();
    let one = Peer::start(settings(dir.path(), vec![]), own).await;
    let two = Peer::start(settings(dir.path(), vec![one.address()]), ca.member(2)).await;
    eventually("both connected", || one.has(2) && two.has(1)).await;
    let mut revoking = ca.trust();
    revoking.revoked.devices.insert(id(2));
    trust.set(revoking);
    one.membership.recheck();
    eventually("both disconnected", || !one.has(2) && two.saw(|s| !s.disconnected.is_empty())).await;
    let three = Peer::start(settings(dir.path(), vec![one.address()]), ca.member(3)).await;
    eventually("others still get in", || one.has(3) && three.has(1)).await;
    assert_eq!(one.saw(|s| s.connected.clone()), [id(2), id(3)]);
}
