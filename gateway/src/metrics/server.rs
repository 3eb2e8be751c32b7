//! The web server: one path, a few connections at a time, none of them for long.

use super::figures::{Requests, text};
use crate::control::Asked;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections that are served at once; others wait.
const CONNECTIONS_MAX: usize = 8;
/// How long one may take in all.
const TALK: Duration = Duration::from_secs(10);
/// How long the core may take to tell its status.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 << 10;
/// What the text is.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Why no figures can be served.
#[derive(Debug, thiserror::Error)]
#[error("serving metrics at {address}: {source}; choose another address in [gateway] metrics")]
pub struct MetricsError {
    /// Where.
    pub address: SocketAddr,
    /// The system's word.
    pub source: std::io::Error,
}

/// Serves figures at `address` from a thread of its own; the status is asked of `events`.
///
/// # Errors
/// When the address is taken, or the system gives no thread or runtime.
pub fn start<E: From<Asked> + Send + 'static>(
    address: SocketAddr,
    requests: Requests,
    events: Sender<E>,
) -> Result<(), MetricsError> {
    let failed = |source| MetricsError { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(CONNECTIONS_MAX)
        .build()
        .map_err(failed)?;
    let ask = Arc::new(move || figures(&requests, &events));
    let serve = move || runtime.block_on(serve(listener, ask));
    std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(failed)?;
    tracing::info!(%address, "metrics");
    Ok(())
}

/// What the core says of itself; `None` when it does not answer in time.
fn figures<E: From<Asked>>(requests: &Requests, events: &Sender<E>) -> Option<String> {
    let (back, answer) = mpsc::channel();
    events.send(E::from(Asked::Status(back))).ok()?;
    text(&*answer.recv_timeout(ANSWER).ok()?, requests).ok()
}

async fn serve<F>(listener: std::net::TcpListener, ask: Arc<F>)
where
    F: Fn() -> Option<String> + Send + Sync + 'static,
{
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = free.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let ask = ask.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(TALK, connection(stream, ask)).await;
                    drop(permit);
                });
            }
            // Accepting fails while too many files are open; the next round may do better.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection<F>(stream: TcpStream, ask: Arc<F>) -> hyper::Result<()>
where
    F: Fn() -> Option<String> + Send + Sync + 'static,
{
    let service = service_fn(|request| {
        let ask = ask.clone();
        async move { Ok::<_, Infallible>(answer(&request, ask).await) }
    });
    http1::Builder::new().keep_alive(false).max_buf_size(HEAD_MAX).serve_connection(TokioIo::new(stream), service).await
}

async fn answer<F>(request: &Request<Incoming>, ask: Arc<F>) -> Response<Full<Bytes>>
where
    F: Fn() -> Option<String> + Send + Sync + 'static,
{
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match tokio::task::spawn_blocking(move || ask()).await.ok().flatten() {
            Some(text) => (StatusCode::OK, text),
            None => (StatusCode::SERVICE_UNAVAILABLE, "the gateway is too busy to answer\n".to_owned()),
        },
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "figures are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    if status == StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    }
    response
}
