//! One request and its answer: whose token, when not at all, how much, how long, and what a status means.

use super::answer::{ActionId, AnswerError};
use super::backoff::{BackOff, Quotas, RETRY_AFTER_S_MAX};
use super::client::{Etag, Options};
use super::error::{DdiError, Verdict, shown};
use super::random::Random;
use super::token::Tokens;
use fullmetal::https::HTTP_ANY;
use fullmetal_proto::DeviceId;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Proxy, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The longest answer to a poll in bytes.
pub const BASE_LEN_MAX: usize = 64 << 10;
/// The longest deployment: modules with all their metadata, and artifacts that are passed over.
pub const DEPLOYMENT_LEN_MAX: usize = 512 << 10;
/// The longest text of an error that is looked at.
const ERROR_LEN_MAX: usize = 16 << 10;
/// The longest time of one request with its answer.
pub const REQUEST_MS_MAX: u64 = 60_000;
const CONNECT_MS_MAX: u64 = 10_000;
/// The most requests at a time, for all devices together.
pub const IN_FLIGHT_MAX: usize = 16;
const IDLE_MS_MAX: u64 = 90_000;
const ETAG_LEN_MAX: usize = 256;
/// Bounds what HTTP/2 may buffer for us.
const WINDOW_LEN: u32 = 1 << 20;
const HEADERS_LEN_MAX: u32 = 32 << 10;

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) device: &'a DeviceId,
    pub(super) tenant: String,
    pub(super) etag: Option<&'a Etag>,
    pub(super) body: Option<Vec<u8>>,
    /// The action that it reports on, and whether that is its last report.
    pub(super) quota: Option<(ActionId, bool)>,
    /// The longest answer in bytes.
    pub(super) max: usize,
}

/// An answer that went well.
pub(super) struct Answer {
    url: String,
    body: Vec<u8>,
    pub(super) etag: Option<Etag>,
    /// 304.
    pub(super) unchanged: bool,
}

impl Answer {
    pub(super) fn read<T>(&self, decode: impl FnOnce(&[u8]) -> Result<T, AnswerError>) -> Result<T, DdiError> {
        decode(&self.body).map_err(|source| DdiError::Answer { url: self.url.clone(), source })
    }
}

/// What Hawkbit says about an error, and what the web server below it does.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Problem {
    error_code: Option<String>,
    message: Option<String>,
    error: Option<String>,
}

#[derive(Debug)]
struct Shared {
    backoff: BackOff,
    quotas: Quotas,
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    client: Client,
    base: Url,
    tokens: Arc<Tokens>,
    timeout: Duration,
    in_flight: Arc<Semaphore>,
    shared: Arc<Mutex<Shared>>,
}

impl Exchange {
    pub(super) fn new(options: Options) -> Result<Self, DdiError> {
        let secure = options.url.scheme() == "https" || options.proxy.as_ref().is_some_and(|p| p.scheme() == "https");
        let clock = Arc::new(options.clock);
        let tls = fullmetal::https::client_config(secure, options.ca_file.as_deref(), clock, &HTTP_ANY)?;
        let failed = |source| DdiError::Client { source };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .timeout(options.timeout)
            .http2_initial_stream_window_size(WINDOW_LEN)
            .http2_initial_connection_window_size(2 * WINDOW_LEN)
            .http2_max_header_list_size(HEADERS_LEN_MAX)
            .pool_max_idle_per_host(IN_FLIGHT_MAX)
            .pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX))
            .user_agent(concat!("fullmetal-gateway/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = options.proxy {
            builder = builder.proxy(Proxy::all(proxy).map_err(failed)?);
        }
        let shared = Shared { backoff: BackOff::new(Random::new(options.seed)), quotas: Quotas::default() };
        Ok(Exchange {
            client: builder.build().map_err(failed)?,
            base: options.url,
            tokens: Arc::new(options.tokens),
            timeout: options.timeout,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            shared: Arc::new(Mutex::new(shared)),
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Asks, unless there is a pause, and notes what the answer means for later requests.
    pub(super) async fn exchange(&self, ask: Ask<'_>) -> Result<Answer, DdiError> {
        // The semaphore is never closed.
        let _permit = self.in_flight.acquire().await;
        let began = Instant::now();
        let key = ask.quota.map(|(action, last)| ((ask.device.clone(), action), last));
        self.with(|shared| shared.held(key.as_ref(), began))?;
        let result = self.send(&ask).await;
        self.with(|shared| shared.note(result, key, began))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Shared) -> T) -> T {
        f(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Answer, DdiError> {
        let url = ask.url.to_string();
        let Some((token, kind)) = self.tokens.of(ask.device) else {
            return Err(DdiError::NoToken { device: ask.device.clone() });
        };
        let mut request = self.client.request(ask.method.clone(), ask.url.clone());
        request = request.header(AUTHORIZATION, token).header(ACCEPT, "application/json");
        if let Some(etag) = ask.etag {
            request = request.header(IF_NONE_MATCH, &etag.0);
        }
        if let Some(body) = &ask.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let broken = |error: reqwest::Error| DdiError::of_request(&url, &error, self.timeout);
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && ask.etag.is_some() {
            return Ok(Answer { url, body: Vec::new(), etag: None, unchanged: true });
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(DdiError::Unauthorized { url, tenant: ask.tenant.clone(), token: kind });
        }
        if !status.is_success() {
            return Err(self.refused(url, response, ask.quota).await);
        }
        let etag = etag(response.headers());
        // What answers a report has no body; a page of something before the server must not pass for its word.
        if let Err(found) = is_json(response.headers()) {
            return Err(DdiError::NotJson { url, found });
        }
        let body = self.read(&url, response, if ask.max == 0 { ERROR_LEN_MAX } else { ask.max }).await?;
        // Where no answer is read, none is sent; what is sent there in JSON's name and is none came from something else.
        if ask.max == 0 && !body.is_empty() && serde_json::from_slice::<IgnoredAny>(&body).is_err() {
            return Err(DdiError::NotJson { url, found: "unreadable".to_owned() });
        }
        Ok(Answer { url, body, etag, unchanged: false })
    }

    async fn read(&self, url: &str, mut response: Response, max: usize) -> Result<Vec<u8>, DdiError> {
        let too_long = || DdiError::TooLong { url: url.to_owned(), max };
        if response.content_length().is_some_and(|length| length > max as u64) {
            return Err(too_long());
        }
        let mut body = Vec::new();
        while let Some(block) = response.chunk().await.map_err(|e| DdiError::of_request(url, &e, self.timeout))? {
            if body.len() + block.len() > max {
                return Err(too_long());
            }
            body.extend_from_slice(&block);
        }
        Ok(body)
    }

    /// What any other status means.
    async fn refused(&self, url: String, response: Response, quota: Option<(ActionId, bool)>) -> DdiError {
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let location = headers.get(LOCATION).and_then(|v| v.to_str().ok()).map(shown).unwrap_or_default();
            return DdiError::Redirected { url, location };
        }
        let after = retry_after(&headers);
        // An error that cannot be read is an error all the same.
        let body = self.read(&url, response, ERROR_LEN_MAX).await.unwrap_or_default();
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let code = problem.error_code;
        let said = problem.message.filter(|m| !m.is_empty()).or(problem.error);
        let detail = said.map_or_else(|| "it says no more".to_owned(), |said| shown(&said));
        let is_quota = code.as_deref().is_some_and(|code| code.starts_with("hawkbit.server.error.quota"));
        match (status.as_u16(), quota) {
            (403 | 429, Some((action, _))) if is_quota => {
                DdiError::Quota { action, detail: detail.into(), after: Duration::ZERO }
            }
            (404, _) => DdiError::NotFound { url, detail, code },
            (410, _) => DdiError::Gone { url },
            (429, _) => DdiError::Busy { url, after },
            (status @ (304 | 408 | 409 | 423 | 425 | 500..), _) => DdiError::Server { url, status, detail, after },
            (status, _) => DdiError::Refused { url, status, detail, code },
        }
    }
}

impl Shared {
    fn held(&self, key: Option<&((DeviceId, ActionId), bool)>, now: Instant) -> Result<(), DdiError> {
        if let Some((after, reason, lasting)) = self.backoff.held(now) {
            return Err(DdiError::Held { after, reason, lasting });
        }
        let full = key.and_then(|(key, last)| Some((key.1, self.quotas.held(key, *last, now)?)));
        full.map_or(Ok(()), |(action, (after, detail))| Err(DdiError::Quota { action, detail, after }))
    }

    fn note(
        &mut self,
        result: Result<Answer, DdiError>,
        key: Option<((DeviceId, ActionId), bool)>,
        began: Instant,
    ) -> Result<Answer, DdiError> {
        let now = Instant::now();
        match &result {
            Err(DdiError::NoToken { .. }) => return result,
            Err(error) if error.is_the_servers() => {
                let why = (error.to_string(), error.verdict() == Verdict::Lasting);
                self.backoff.failed(began, now, why, error.wish());
            }
            _ => self.backoff.succeeded(began),
        }
        match (result, key) {
            (Err(DdiError::Quota { action, detail, .. }), Some((key, last))) => {
                let after = self.quotas.refused(key, last, now, &detail);
                Err(DdiError::Quota { action, detail, after })
            }
            (result, Some((key, last))) => {
                if matches!(result, Err(DdiError::Gone { .. })) || (last && result.is_ok()) {
                    self.quotas.forget(&key);
                }
                result
            }
            (result, None) => result,
        }
    }
}

fn etag(headers: &HeaderMap) -> Option<Etag> {
    headers.get(ETAG).filter(|value| value.len() <= ETAG_LEN_MAX).cloned().map(Etag)
}

/// No content type will do, as an empty body has none; the error is what else it is.
fn is_json(headers: &HeaderMap) -> Result<(), String> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json { Ok(()) } else { Err(shown(&text)) }
}

/// Seconds only, at most [`RETRY_AFTER_S_MAX`]; of a date nothing is believed, since clocks differ, and the
/// own pause must do.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(|secs: u64| Duration::from_secs(secs.min(RETRY_AFTER_S_MAX)))
}
