//! TLS towards web servers (the central repo, Hawkbit): the system's CAs or a file of them, the trusted clock, and the
//! one crypto provider.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where distributions keep the bundle: Debian and Yocto, Red Hat, Alpine.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Protocols of a client that may speak HTTP/2, as ALPN names them.
pub const HTTP_ANY: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Of one that speaks HTTP/1.1.
pub const HTTP_1: [&[u8]; 1] = [b"http/1.1"];

/// Why there is no TLS towards web servers.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The CA file cannot be used.
    #[error("reading CA certificates from {}: {problem}", path.display())]
    Ca {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No CA certificates at all.
    #[error("no CA certificates on this system: name a CA file in the configuration, or install ca-certificates")]
    NoCa,
    /// The TLS settings do not go together.
    #[error("setting up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The settings of a client that speaks the protocols in `alpn`. The CAs are those of `ca`; without it the system's where TLS
/// is `needed`, else none.
pub fn client_config(
    needed: bool,
    ca: Option<&Path>,
    clock: Arc<dyn TimeProvider>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, HttpsError> {
    let roots = match ca {
        Some(path) => read(path)?,
        None if needed => system()?,
        None => RootCertStore::empty(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn system() -> Result<RootCertStore, HttpsError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    let found = named.into_iter().chain(known).find(|path| path.exists());
    read(&found.ok_or(HttpsError::NoCa)?)
}

/// Certificates that webpki cannot use as anchors are passed over, as browsers do; none at all is an error.
fn read(path: &Path) -> Result<RootCertStore, HttpsError> {
    let bad = |problem: String| HttpsError::Ca { path: path.to_owned(), problem };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(bad("it holds no usable certificate".to_owned()));
    }
    Ok(roots)
}
