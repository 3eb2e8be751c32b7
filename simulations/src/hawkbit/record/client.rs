//! A small HTTP client for tests and recordings; it blocks.

use anyhow::Context as _;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::time::Duration;

const TIMEOUT_S: u64 = 60;

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

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    server: String,
}

impl Client {
    /// A client of the server at this URL.
    pub fn new(server: &str) -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(TIMEOUT_S))
            .build()
            .context("making an HTTP client")?;
        Ok(Client { runtime, client, server: server.trim_end_matches('/').to_owned() })
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
        let method = Method::from_bytes(method.as_bytes()).with_context(|| format!("the method {method}"))?;
        let mut sent = self.client.request(method.clone(), format!("{}{path}", self.server));
        sent = sent.header("Accept", "application/json");
        sent = match credentials {
            Credentials::None => sent,
            Credentials::Admin => sent.basic_auth("admin", Some("admin")),
            Credentials::Header(header) => sent.header("Authorization", header),
        };
        for (name, value) in headers {
            sent = sent.header(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
        }
        if let Some(body) = body {
            let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            sent = sent.header("Content-Type", "application/json").body(text);
        }
        let answer = self.runtime.block_on(async {
            let answer = sent.send().await?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.text().await?))
        });
        let (status, headers, text) = answer.with_context(|| format!("{method} {}{path}", self.server))?;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        Ok(Answer { status, headers, body })
    }

    /// What the operator gets from a path; anything but a 2xx is an error.
    pub fn operate(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let answer = self.send((method, path), &Credentials::Admin, &super::Headers::new(), body)?;
        let (status, body) = (answer.status, answer.body);
        anyhow::ensure!((200..300).contains(&status), "{method} {path} was answered by {status}: {body}");
        Ok(body)
    }
}
