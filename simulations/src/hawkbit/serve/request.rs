//! Requests and responses as the rest of the folder sees them.

use super::super::model::{Refusal, Result};
use super::ADMIN;
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

const JSON: &str = "application/json;charset=UTF-8";

/// A request, taken apart.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    /// The path, decoded.
    pub segments: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub authorization: Option<String>,
    pub if_none_match: Option<String>,
    /// What links begin with.
    pub base: String,
    pub body: Vec<u8>,
}

/// What a call gives when it is not refused.
#[derive(Debug)]
pub enum Answer {
    /// A body.
    Json(u16, Value),
    /// Only a status.
    Bare(u16),
}

/// What goes back over the wire.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Request {
    /// Takes a path with its query apart.
    pub fn target(path_and_query: &str) -> (Vec<String>, BTreeMap<String, String>) {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let segments = path.trim_matches('/').split('/').map(decoded).collect();
        let pair = |p: &str| {
            let (key, value) = p.split_once('=').unwrap_or((p, ""));
            (decoded(key), decoded(&value.replace('+', " ")))
        };
        (segments, query.split('&').filter(|p| !p.is_empty()).map(pair).collect())
    }

    /// Whether the operator asks.
    pub fn is_admin(&self) -> bool {
        let encoded = self.authorization.as_deref().and_then(|a| a.strip_prefix("Basic "));
        let decoded = encoded.and_then(|e| base64::engine::general_purpose::STANDARD.decode(e).ok());
        decoded.is_some_and(|d| d == format!("{ADMIN}:{ADMIN}").into_bytes())
    }

    /// The body as a document.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|_| Refusal::unreadable())
    }

    /// A number of the query.
    pub fn number(&self, key: &str) -> Result<Option<usize>> {
        self.query.get(key).map(|v| v.parse().map_err(|_| Refusal::unreadable())).transpose()
    }

    /// An absolute link.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// An id of the path.
pub fn id(segment: &str) -> Result<u64> {
    segment.parse().map_err(|_| Refusal::unreadable())
}

/// What goes back: a `GET` gets an ETag, and no body when its sender has that body already.
pub fn response(result: Result<Answer>, request: &Request) -> Response {
    let (status, body) = match result {
        Ok(Answer::Json(status, body)) => (status, Some(body)),
        Ok(Answer::Bare(status)) => (status, None),
        Err(refusal) => (refusal.status, refusal.body),
    };
    let Some(body) = body else {
        let asks = status == 401 && request.segments.first().is_some_and(|s| s == "rest");
        let headers = asks.then(|| ("WWW-Authenticate", "Basic realm=\"hawkBit\"".to_owned())).into_iter().collect();
        return Response { status, headers, body: vec![] };
    };
    let bytes = body.to_string().into_bytes();
    let mut headers = vec![("Content-Type", JSON.to_owned())];
    if request.method == "GET" && status == 200 {
        let hash: String = Sha256::digest(&bytes)[..16].iter().map(|b| format!("{b:02x}")).collect();
        let tag = format!("\"0{hash}\"");
        if request.if_none_match.as_ref() == Some(&tag) {
            return Response { status: 304, headers: vec![("ETag", tag)], body: vec![] };
        }
        headers.push(("ETag", tag));
    }
    Response { status, headers, body: bytes }
}
