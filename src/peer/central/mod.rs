//! The central repo over HTTP(S): any static server, object store or CDN that answers single ranges.

mod body;
mod bucket;
mod error;
#[cfg(test)]
mod tests;
mod uplink;

pub use body::Body;
pub use error::CentralError;
pub use uplink::Uplink;

use crate::config::CentralBudget;
use crate::https::{HTTP_1, HTTP_ANY};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{DIRTREE_LEN_MAX, metadata_len_max};
use fullmetal_proto::wire::bundle::{BLOB_LEN_MAX, COMMIT_LEN_MAX};
use fullmetal_proto::wire::local::CentralObject;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Client, Proxy, Response, StatusCode, Url, redirect};
use rustls::time_provider::TimeProvider;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a server may send nothing before it counts as stalled.
pub const STALL_MS_MAX: u64 = 20_000;
const CONNECT_MS_MAX: u64 = 10_000;
const REDIRECTS_MAX: usize = 5;
/// 64 hex digits, a newline, and room for what other tools write.
const REF_LEN_MAX: u64 = 256;
/// Bounds what HTTP/2 may buffer for us, from below by its own least window (RFC 9113, section 6.9.2).
const WINDOW_LEN: u32 = 1 << 20;
const WINDOW_LEN_MIN: u32 = 65_535;

/// Where the central repo is and how its certificate is judged.
#[derive(Clone, Debug)]
pub struct CentralOptions {
    /// The repo's root, `https://central.example/repo`.
    pub url: Url,
    /// CA certificates (PEM) instead of the system's.
    pub ca: Option<PathBuf>,
    /// An HTTP proxy for all requests; without it none, whatever the environment says.
    pub proxy: Option<Url>,
    /// What the whole site may take of it.
    pub budget: CentralBudget,
    /// The trusted time.
    pub clock: Arc<dyn TimeProvider>,
    /// See [`STALL_MS_MAX`].
    pub stall: Duration,
}

/// A client of the central repo. Every request is bounded in bytes and by progress, none in total time.
#[derive(Clone, Debug)]
pub struct Central {
    client: Client,
    /// For objects of plain repos: those that wait for their turn hold up a connection of their own and nothing else, as
    /// streams of one HTTP/2 connection would.
    objects: Client,
    base: Url,
    terms: Terms,
}

/// What every body keeps to.
#[derive(Clone, Debug)]
struct Terms {
    stall: Duration,
    uplink: Option<Arc<Uplink>>,
}

impl Central {
    /// Reads the CA certificates; connects to nothing yet.
    pub fn new(options: CentralOptions) -> Result<Self, CentralError> {
        let mut base = options.url;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(CentralError::Scheme { url: base.to_string() });
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let secure = [Some(&base), options.proxy.as_ref()].into_iter().flatten().any(|url| url.scheme() == "https");
        let failed = |source| CentralError::Client { source };
        let window = window(&options.budget);
        let proxy = options.proxy.map(Proxy::all).transpose().map_err(failed)?;
        let client = |alpn: &[&[u8]]| {
            let tls = crate::https::client_config(secure, options.ca.as_deref(), options.clock.clone(), alpn)?;
            let client = Client::builder()
                .tls_backend_preconfigured(tls)
                .redirect(redirect::Policy::custom(stay_at_origin))
                .referer(false)
                .no_proxy()
                .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
                .http2_initial_stream_window_size(window)
                .http2_initial_connection_window_size(2 * window)
                .pool_idle_timeout(Duration::from_secs(30))
                .user_agent(concat!("fullmetal/", env!("CARGO_PKG_VERSION")));
            let client = if alpn == HTTP_1 { client.http1_only() } else { client };
            let client = proxy.iter().cloned().fold(client, reqwest::ClientBuilder::proxy);
            client.build().map_err(failed)
        };
        let (client, objects) = (client(&HTTP_ANY)?, client(&HTTP_1)?);
        let uplink = Uplink::new(options.budget, options.clock).map(Arc::new);
        Ok(Central { client, objects, base, terms: Terms { stall: options.stall, uplink } })
    }

    /// What the site's budget leaves to this peer; none without a budget.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.terms.uplink.as_deref()
    }

    /// `length` bytes of a pack from `offset`. The body ends with an error unless all of them came.
    pub async fn pack(&self, pack: &Digest, offset: u64, length: u64) -> Result<Body, CentralError> {
        let url = self.locate(&format!("fullmetal/packs/{pack}.pack"))?;
        let last = offset + length.max(1) - 1;
        let request = self.client.get(url.clone()).header(RANGE, format!("bytes={offset}-{last}"));
        let response = self.send(&url, request).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => check_range(&url, &response, offset, last)?,
            StatusCode::OK if offset == 0 => {}
            StatusCode::OK => return Err(CentralError::NoRange { url: url.to_string() }),
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(CentralError::PackTooShort { url: url.to_string(), last }),
            _ => return Err(refused(&url, &response)),
        }
        Ok(Body::exactly(response, url, length, self.terms.clone()))
    }

    /// An object's file in the archive repo. The body ends with an error when it is longer than its kind may be.
    pub async fn archived(&self, object: &ObjectId) -> Result<Body, CentralError> {
        let max = metadata_len_max(object.kind).map_or(u64::MAX, |max| max as u64);
        self.whole(&self.objects, &object.archive_path(), max).await
    }

    /// A small object, whole. The body ends with an error when it is longer than its kind may be.
    pub async fn object(&self, object: &CentralObject) -> Result<Body, CentralError> {
        let (path, max) = place(object);
        self.whole(&self.client, &path, max).await
    }

    async fn whole(&self, client: &Client, path: &str, max: u64) -> Result<Body, CentralError> {
        let url = self.locate(path)?;
        let response = self.send(&url, client.get(url.clone())).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&url, &response));
        }
        if response.content_length().is_some_and(|length| length > max) {
            return Err(CentralError::TooLong { url: url.to_string(), max });
        }
        Ok(Body::at_most(response, url, max, self.terms.clone()))
    }

    fn locate(&self, path: &str) -> Result<Url, CentralError> {
        self.base.join(path).map_err(|_| CentralError::Scheme { url: self.base.to_string() })
    }

    async fn send(&self, url: &Url, request: reqwest::RequestBuilder) -> Result<Response, CentralError> {
        let sent = request.header(ACCEPT_ENCODING, "identity").send();
        in_time(self.terms.stall, url, sent).await?.map_err(|e| CentralError::of_request(url, e))
    }
}

/// Half a second's worth of the most that the site may take: enough for round trips of so long, and no more, since it comes at
/// once.
fn window(budget: &CentralBudget) -> u32 {
    let half = budget.most().map_or(u64::MAX, |rate| rate.bytes_per_s() / 2);
    u32::try_from(half).unwrap_or(u32::MAX).clamp(WINDOW_LEN_MIN, WINDOW_LEN)
}

/// Ends what makes no progress within `stall`.
async fn in_time<T>(stall: Duration, url: &Url, step: impl Future<Output = T>) -> Result<T, CentralError> {
    let stalled = |_| CentralError::Stalled { url: url.to_string(), seconds: stall.as_secs() };
    tokio::time::timeout(stall, step).await.map_err(stalled)
}

/// Where a small object lies below the repo's root, and how long it may be.
fn place(object: &CentralObject) -> (String, u64) {
    let path = |kind, checksum: &Digest| ObjectId { kind, checksum: *checksum }.archive_path();
    match object {
        CentralObject::Ref(name) => (format!("refs/heads/{name}"), REF_LEN_MAX),
        CentralObject::Commit(commit) => (path(ObjectKind::Commit, commit), COMMIT_LEN_MAX),
        CentralObject::CommitMeta(commit) => (format!("{}meta", path(ObjectKind::Commit, commit)), COMMIT_LEN_MAX),
        CentralObject::Manifest(commit) => (format!("fullmetal/manifests/{commit}"), BLOB_LEN_MAX),
        CentralObject::DirTree(tree) => (path(ObjectKind::DirTree, tree), DIRTREE_LEN_MAX as u64),
    }
}

fn stay_at_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
    match (same, attempt.previous().len() > REDIRECTS_MAX) {
        (true, false) => attempt.follow(),
        (true, true) => attempt.error("too many redirects"),
        (false, _) => attempt.error("redirected to another server"),
    }
}

/// A 206 must hold the range that was asked for (RFC 9110, section 14.4).
fn check_range(url: &Url, response: &Response, first: u64, last: u64) -> Result<(), CentralError> {
    let header = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or("none");
    let range = header.strip_prefix("bytes ").and_then(|r| r.split('/').next());
    if range == Some(&format!("{first}-{last}")) {
        return Ok(());
    }
    Err(CentralError::WrongRange { url: url.to_string(), wanted: format!("{first}-{last}"), found: header.to_owned() })
}

fn refused(url: &Url, response: &Response) -> CentralError {
    let url = url.to_string();
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => CentralError::Missing { url },
        status => CentralError::Status { url, status: status.as_u16() },
    }
}
