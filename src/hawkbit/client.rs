//! Requests to the Management API: bounded in bytes and time, the password to the server's own origin only.

use super::{HawkbitError, Login, Server};
use crate::https::HTTP_ANY;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response, Url, redirect};
use rustls::time_provider::DefaultTimeProvider;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// The longest answer in bytes: a page of 500 sets with all their modules.
const ANSWER_LEN_MAX: usize = 16 << 20;
/// The longest time of one request with its answer.
const REQUEST_MS_MAX: u64 = 30_000;
const CONNECT_MS_MAX: u64 = 10_000;
/// The longest words of the server that are shown.
const SAID_CHARS_MAX: usize = 200;
/// The most that Hawkbit gives at once.
const PAGE: &str = "500";

/// A page of a list.
#[derive(Deserialize)]
pub struct Page<T> {
    /// The items.
    pub content: Vec<T>,
}

/// One operator's connection.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    login: Login,
    written: Cell<bool>,
}

/// The server's words about a refusal.
#[derive(Deserialize, Default)]
struct Words {
    message: Option<String>,
}

impl Client {
    /// Reads the CA certificates; connects to nothing yet.
    pub fn new(server: &Server) -> Result<Self, HawkbitError> {
        let base = server.url.clone();
        let bare = base.username().is_empty() && base.password().is_none() && base.query().is_none();
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() || !bare {
            let host = base.host_str().unwrap_or_default();
            return Err(HawkbitError::Address { url: format!("{}://{host}{}", base.scheme(), base.path()) });
        }
        let clock = Arc::new(DefaultTimeProvider);
        let tls = crate::https::client_config(base.scheme() == "https", server.ca.as_deref(), clock, &HTTP_ANY)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // Not followed: nothing of the API redirects, and the password is for this server.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .timeout(Duration::from_millis(REQUEST_MS_MAX))
            .user_agent(concat!("fullmetal/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(HawkbitError::Client)?;
        Ok(Client { http, base, login: server.login.clone(), written: Cell::new(false) })
    }

    /// Whether anything was asked for that changes the server.
    pub fn has_written(&self) -> bool {
        self.written.get()
    }

    /// One thing, or none when the server says that it has no such thing.
    pub async fn find<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, HawkbitError> {
        let url = self.url(path, &[]);
        match self.exchange(Method::GET, &url, None).await {
            Ok(body) => parsed(&url, &body).map(Some),
            Err(HawkbitError::Refused { status: 404, said, .. }) if !said.is_empty() => Ok(None),
            Err(error) => Err(as_no_hawkbit(error)),
        }
    }

    /// The first page of a list, filtered.
    pub async fn list<T: DeserializeOwned>(&self, path: &[&str], filter: Option<&str>) -> Result<Vec<T>, HawkbitError> {
        let query: Vec<_> = [("limit", PAGE)].into_iter().chain(filter.map(|q| ("q", q))).collect();
        let url = self.url(path, &query);
        let body = self.exchange(Method::GET, &url, None).await.map_err(as_no_hawkbit)?;
        parsed::<Page<T>>(&url, &body).map(|page| page.content)
    }

    /// Makes something, and reads what was made.
    pub async fn make<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, HawkbitError> {
        let url = self.url(path, &[]);
        self.written.set(true);
        parsed(&url, &self.exchange(Method::POST, &url, Some(body)).await?)
    }

    /// Changes something. The answer's body may be empty; one that is no JSON is not Hawkbit's.
    pub async fn change(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<(), HawkbitError> {
        self.written.set(true);
        let url = self.url(path, &[]);
        let answer = self.exchange(method, &url, body).await?;
        if answer.is_empty() { Ok(()) } else { parsed::<IgnoredAny>(&url, &answer).map(|_| ()) }
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["rest", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn exchange(&self, method: Method, url: &Url, body: Option<&Value>) -> Result<Vec<u8>, HawkbitError> {
        let mut request = self.http.request(method.clone(), url.clone()).header(ACCEPT, "application/json");
        request = request.basic_auth(&self.login.user, Some(&self.login.password));
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|e| unreachable(url, &e))?;
        let status = response.status();
        let body = whole(response, url).await?;
        if status.is_success() {
            return Ok(body);
        }
        let said = said(&body);
        let url = shown(url);
        Err(match status.as_u16() {
            401 => HawkbitError::Unknown { url, login: self.login.path.clone() },
            403 => HawkbitError::Forbidden { url, user: self.login.user.clone(), said },
            status @ 300..=399 => {
                HawkbitError::NoHawkbit { url, problem: format!("it redirects elsewhere, HTTP status {status}") }
            }
            status => HawkbitError::Refused { method: method.to_string(), url, status, said },
        })
    }
}

/// A 404 without a word of Hawkbit's is the web server's.
fn as_no_hawkbit(error: HawkbitError) -> HawkbitError {
    match error {
        HawkbitError::Refused { url, status: status @ 404, said, .. } if said.is_empty() => {
            HawkbitError::NoHawkbit { url, problem: format!("HTTP status {status}") }
        }
        other => other,
    }
}

async fn whole(mut response: Response, url: &Url) -> Result<Vec<u8>, HawkbitError> {
    let mut body = Vec::new();
    while let Some(block) = response.chunk().await.map_err(|e| unreachable(url, &e))? {
        if body.len() + block.len() > ANSWER_LEN_MAX {
            let problem = format!("its answer is over {ANSWER_LEN_MAX} bytes");
            return Err(HawkbitError::NoHawkbit { url: shown(url), problem });
        }
        body.extend_from_slice(&block);
    }
    Ok(body)
}

fn parsed<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, HawkbitError> {
    serde_json::from_slice(body).map_err(|e| HawkbitError::NoHawkbit {
        url: shown(url),
        problem: format!("what it answers is unreadable: {e}"),
    })
}

/// Without the filter, which is long and says nothing new.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

fn said(body: &[u8]) -> String {
    let words = serde_json::from_slice::<Words>(body).unwrap_or_default();
    let text = words.message.unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> HawkbitError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let reason =
        if error.is_timeout() { format!("no answer within {} s", REQUEST_MS_MAX / 1000) } else { cause.to_string() };
    HawkbitError::Unreachable { url: shown(url), reason }
}
