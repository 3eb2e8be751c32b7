//! HTTPS with a private CA, and a proxy from the configuration.

use super::server::{Reply, Server, Stream, empty, json};
use super::{changed, device, options};
use fullmetal_gateway::ddi::{Ddi, DdiError};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

struct Certified {
    config: Arc<ServerConfig>,
    pem: String,
}

fn certified() -> Certified {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Certified { config: Arc::new(config), pem: made.cert.pem() }
}

fn https(config: Arc<ServerConfig>) -> Server {
    let wrap = move |tcp: TcpStream| -> Box<dyn Stream> {
        Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp))
    };
    Server::wrapped(|_| json(200, "{}"), wrap)
}

/// Without `http://` it is HTTPS.
fn trusting(server: &Server, ca: &Path, more: &str) -> Result<Ddi, DdiError> {
    let more = format!("ca_file = \"{}\"\n{more}", ca.display());
    Ddi::new(options(&format!("127.0.0.1:{}", server.port()), &more))
}

#[tokio::test]
async fn https_is_judged_by_the_configured_ca() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let ours = certified();
    let server = https(ours.config.clone());
    std::fs::write(&ca, &ours.pem).unwrap();
    let ddi = trusting(&server, &ca, "").unwrap();
    changed(ddi.poll(&device("p1"), None).await.unwrap());
    assert_eq!(server.requests().len(), 1);

    std::fs::write(&ca, certified().pem).unwrap();
    let error = trusting(&server, &ca, "").unwrap().poll(&device("p1"), None).await.unwrap_err();
    assert!(matches!(error, DdiError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("set [hawkbit] ca_file to the CA of this server"), "{error}");
    assert_eq!(server.requests().len(), 1, "no token reaches a server that is not trusted");

    std::fs::write(&ca, "no certificate").unwrap();
    let error = trusting(&server, &ca, "").unwrap_err().to_string();
    assert!(error.contains("[hawkbit] ca_file") && error.contains("it holds no usable certificate"), "{error}");
}

#[tokio::test]
async fn a_configured_proxy_carries_everything_and_sees_no_token_of_https() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let ours = certified();
    std::fs::write(&ca, &ours.pem).unwrap();
    let server = https(ours.config);
    let proxy = Server::start(|request| if request.method == "CONNECT" { empty(502) } else { json(200, "{}") });
    let more = format!("proxy = \"{}\"\n", proxy.url());

    let error = trusting(&server, &ca, &more).unwrap().poll(&device("p1"), None).await.unwrap_err();
    assert!(matches!(error, DdiError::Unreachable { .. }), "{error}");
    let asked = proxy.requests().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.target), ("CONNECT", format!("127.0.0.1:{}", server.port())));
    assert_eq!((asked.headers.iter().find(|(n, _)| n == "authorization"), server.requests().len()), (None, 0));

    let plain = Ddi::new(options("http://hawkbit.example", &more)).unwrap();
    changed(plain.poll(&device("p1"), None).await.unwrap());
    assert_eq!(proxy.requests().pop().unwrap().target, "http://hawkbit.example/DEFAULT/controller/v1/p1");
}

#[tokio::test]
async fn plain_http_is_spoken_only_where_the_address_says_so() {
    let server = Server::start(|_| Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec()));
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, certified().pem).unwrap();
    let error = trusting(&server, &ca, "").unwrap().poll(&device("p1"), None).await.unwrap_err();
    assert!(matches!(error, DdiError::Unreachable { .. }), "{error}");
    let plain = Ddi::new(options(&server.url(), "")).unwrap();
    changed(plain.poll(&device("p1"), None).await.unwrap());
    let tokens: Vec<_> =
        server.requests().iter().filter_map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens, ["GatewayToken s3cret"]);
}
