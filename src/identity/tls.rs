//! rustls configurations for quinn: TLS 1.3 only, both sides prove membership, no host names, no resumption.

use super::{Clock, Identity, IdentityError, Member, SharedTrust, Usage, pkcs8_der, verify_certificate};
use fullmetal_proto::wire::transfer::ALPN;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::sync::Arc;

/// A TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[error("TLS configuration: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// The one crypto provider of all our TLS.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Judges the other side's certificate by the fleet's trust in force.
#[derive(Debug)]
struct MemberVerifier {
    trust: SharedTrust,
    clock: Clock,
    provider: Arc<CryptoProvider>,
}

impl MemberVerifier {
    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match verify_certificate(certificate, &self.trust.get(), self.clock.now(), Usage::Peer) {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "stranger refused");
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }
}

fn only_tls13() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::PeerIncompatible::Tls12NotOffered.into())
}

impl ServerCertVerifier for MemberVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for MemberVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A stranger learns no name of ours.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn verifier(trust: &SharedTrust, clock: &Clock) -> Arc<MemberVerifier> {
    Arc::new(MemberVerifier { trust: trust.clone(), clock: clock.clone(), provider: crypto_provider() })
}

fn own_chain(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivatePkcs8KeyDer::from(pkcs8_der(&identity.key));
    (vec![CertificateDer::from(identity.certificate.clone())], key.into())
}

/// For the listening side.
pub fn server_config(
    identity: &Identity,
    trust: &SharedTrust,
    clock: &Clock,
) -> Result<rustls::ServerConfig, TlsError> {
    let (chain, key) = own_chain(identity);
    let mut config = rustls::ServerConfig::builder_with_details(crypto_provider(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier(trust, clock))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the certificate, and with it a revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// For the dialling side.
pub fn client_config(
    identity: &Identity,
    trust: &SharedTrust,
    clock: &Clock,
) -> Result<rustls::ClientConfig, TlsError> {
    let (chain, key) = own_chain(identity);
    let mut config = rustls::ClientConfig::builder_with_details(crypto_provider(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust, clock))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The member at the other end of a connection whose handshake succeeded; judged again by the trust in force.
pub fn member_of(
    peer_identity: Option<Box<dyn std::any::Any>>,
    trust: &SharedTrust,
    clock: &Clock,
) -> Result<Member, IdentityError> {
    let chain = peer_identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let first = chain.as_ref().and_then(|c| c.first());
    let certificate = first.ok_or_else(|| IdentityError::Certificate("none was given".into()))?;
    verify_certificate(certificate, &trust.get(), clock.now(), Usage::Peer)
}
