//! A small HTTP client for tests and recordings; it blocks.

use anyhow::Context as _;
use base64::Engine as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

const TIMEOUT_S: u64 = 60;
/// Bytes of an answer's body.
const BODY_MAX: usize = 64 << 20;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    None,
    /// The operator `admin`.
    Admin,
    /// The whole header, as `GatewayToken KEY`.
    Header(String),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as JSON, as a text when it is none, or null when it is empty.
    pub body: Value,
}

/// A client of one server; every request has a connection of its own.
#[derive(Debug)]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    server: String,
    /// Host and port.
    authority: String,
}

impl Client {
    /// A client of the server at this URL, which is `http://HOST:PORT`.
    pub fn new(server: &str) -> anyhow::Result<Self> {
        let server = server.trim_end_matches('/').to_owned();
        let authority = server.strip_prefix("http://").filter(|a| a.contains(':') && !a.contains('/'));
        let authority = authority.with_context(|| format!("{server} is not of the form http://HOST:PORT"))?.to_owned();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
        Ok(Client { runtime, server, authority })
    }

    /// The URL of the server, without a slash at the end.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends a request; a string as body goes as it is.
    pub fn send(
        &self,
        request: (&str, &str),
        credentials: &Credentials,
        headers: &super::Headers,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let (method, path) = request;
        let basic = || format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("admin:admin"));
        let authorization = match credentials {
            Credentials::None => None,
            Credentials::Admin => Some(basic()),
            Credentials::Header(header) => Some(header.clone()),
        };
        let mut built = hyper::Request::builder().method(method).uri(path).header("Host", &self.authority);
        built = built.header("Accept", "application/json");
        if let Some(authorization) = authorization {
            built = built.header("Authorization", authorization);
        }
        for (name, value) in headers {
            built = built.header(name, value);
        }
        if body.is_some() {
            built = built.header("Content-Type", "application/json");
        }
        let body = body.map_or_else(String::new, |b| b.as_str().map_or_else(|| b.to_string(), str::to_owned));
        let built = built.body(Full::new(Bytes::from(body))).with_context(|| format!("making {method} {path}"))?;
        let limit = Duration::from_secs(TIMEOUT_S);
        let exchange = async { tokio::time::timeout(limit, self.exchange(built)).await.context("nothing came")? };
        let answer = self.runtime.block_on(exchange);
        let (status, headers, body) = answer.with_context(|| format!("{method} {}{path}", self.server))?;
        let text = String::from_utf8_lossy(&body);
        let body = match &*text {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        Ok(Answer { status, headers, body })
    }

    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> anyhow::Result<(u16, HeaderMap, Bytes)> {
        let stream = TcpStream::connect(&self.authority).await.context("connecting")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
        driving.abort();
        Ok((parts.status.as_u16(), parts.headers, body))
    }

    /// What the operator gets from a path; anything but a 2xx is an error.
    pub fn operate(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let answer = self.send((method, path), &Credentials::Admin, &super::Headers::new(), body)?;
        let (status, body) = (answer.status, answer.body);
        anyhow::ensure!((200..300).contains(&status), "{method} {path} was answered by {status}: {body}");
        Ok(body)
    }
}
