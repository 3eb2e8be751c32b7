//! TLS towards central: the system's CAs or a file of them, our clock, our one crypto provider.

use super::CentralError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where distributions keep the bundle: Debian and Yocto, Red Hat, Alpine.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub(super) fn client_config(
    needed: bool,
    ca: Option<&Path>,
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, CentralError> {
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
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn system() -> Result<RootCertStore, CentralError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    let found = named.into_iter().chain(known).find(|path| path.exists());
    read(&found.ok_or(CentralError::NoCa)?)
}

/// Certificates that webpki cannot use as anchors are passed over, as browsers do; none at all is an error.
fn read(path: &Path) -> Result<RootCertStore, CentralError> {
    let bad = |problem: String| CentralError::Ca { path: path.to_owned(), problem };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(bad("it holds no usable certificate".to_owned()));
    }
    Ok(roots)
}
