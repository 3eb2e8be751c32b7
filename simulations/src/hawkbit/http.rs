//! Connections: bytes in, bytes out, and the faults between them.

use super::faults::{Fault, Faults, Rule, Seen};
use super::model::{Feedback, Hawkbit, Millis};
use super::serve::{self, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a request's body.
const BODY_MAX: usize = 4 << 20;
/// What a fault pads a body with.
const PADDING: usize = (1 << 20) + 1;

/// What all connections share.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<Hawkbit>,
    pub faults: Faults,
    /// How far the clock is ahead of the machine's.
    pub ahead_ms: AtomicU64,
    /// When the last request came.
    last: AtomicU64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Hawkbit> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Millis {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        u64::try_from(now).unwrap_or(u64::MAX).saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// The time of the next request: no two share a millisecond, else what came first could not be told.
    fn next_now(&self) -> Millis {
        let now = self.now();
        let last = self.last.fetch_max(now, Ordering::Relaxed);
        if last < now { now } else { self.last.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

/// The connection is to end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("reset on purpose")]
struct Broken;

/// Serves connections for ever.
pub async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        // Accepting fails while too many files are open; the next round may do better.
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, shared.clone()))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // A second descriptor of the socket, to reset it when hyper has let go of it.
    let Ok(stream) = stream.into_std() else { return };
    let Ok(second) = stream.try_clone() else { return };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let broken = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (shared, broken) = (shared.clone(), broken.clone());
        async move {
            let answer = exchange(request, &shared).await;
            broken.fetch_or(answer.is_err(), Ordering::Relaxed);
            answer
        }
    });
    // What peers do to their connections is no concern of a server.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if broken.load(Ordering::Relaxed) {
        // Closing with nothing allowed to linger sends a reset.
        let _ = rustix::net::sockopt::set_socket_linger(&second, Some(Duration::ZERO));
    }
}

async fn exchange(request: hyper::Request<Incoming>, shared: &Shared) -> Result<hyper::Response<Full<Bytes>>, Broken> {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let Some(request) = taken_apart(request, &path).await else {
        return Ok(built(Response { status: 413, headers: vec![], body: vec![] }));
    };
    if request.segments.first().is_some_and(|s| s == "standin") {
        return Ok(built(control(shared, &request)));
    }
    let mut seen = Seen { at: shared.now(), method: request.method.clone(), path: path.clone(), status: None };
    let answer = match shared.faults.meets(&request.method, &path) {
        Some(fault) => faulty(shared, &request, fault).await,
        None => Some(answered(shared, &request)),
    };
    seen.status = answer.as_ref().map(|a| a.status);
    shared.faults.saw(seen);
    answer.map(built).ok_or(Broken)
}

async fn taken_apart(request: hyper::Request<Incoming>, path: &str) -> Option<Request> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = Limited::new(body, BODY_MAX).collect().await.ok()?.to_bytes().to_vec();
    let (segments, query) = Request::target(path);
    Some(Request {
        method: parts.method.to_string(),
        segments,
        query,
        authorization: header("authorization"),
        if_none_match: header("if-none-match"),
        base: format!("http://{}", header("host").unwrap_or_default()),
        body,
    })
}

fn built(response: Response) -> hyper::Response<Full<Bytes>> {
    let Response { status, headers, body } = response;
    let mut built = hyper::Response::new(Full::new(Bytes::from(body)));
    *built.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let Ok(value) = hyper::header::HeaderValue::from_str(&value) {
            built.headers_mut().insert(name, value);
        }
    }
    built
}

/// The true answer; feedbacks that end an action are counted.
fn answered(shared: &Shared, request: &Request) -> Response {
    let mut state = shared.state();
    let now = shared.next_now();
    let response = serve::answer(&mut state, request, now);
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    if let [_, "controller", "v1", device, "deploymentBase" | "cancelAction", action, "feedback"] = segments[..]
        && response.status == 200
        && let Ok(feedback) = serde_json::from_slice::<Feedback>(&request.body)
        && let Ok(action) = action.parse()
        && feedback.is_terminal()
        && state.action_of(device, action).is_ok_and(|a| !a.active)
    {
        shared.faults.ended(action);
    }
    response
}

/// What goes back when something goes wrong; none resets the connection.
async fn faulty(shared: &Shared, request: &Request, fault: Fault) -> Option<Response> {
    let json = ("Content-Type", "application/json;charset=UTF-8".to_owned());
    match fault {
        Fault::Status(status) => Some(Response { status, headers: vec![], body: vec![] }),
        Fault::Hang => std::future::pending().await,
        Fault::Reset => None,
        Fault::LoseAnswer => {
            answered(shared, request);
            None
        }
        Fault::Garbage => {
            let body = (0..=255).rev().cycle().take(2_000).collect();
            Some(Response { status: 200, headers: vec![json], body })
        }
        Fault::Megabyte => {
            let body = json!({ "padding": "x".repeat(PADDING) }).to_string().into_bytes();
            Some(Response { status: 200, headers: vec![json], body })
        }
        Fault::OtherAction => Some(as_other(shared, request)),
        Fault::Late(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Some(answered(shared, request))
        }
    }
}

/// Answers as if another device had asked, one that has something to do; nothing of it is remembered.
fn as_other(shared: &Shared, request: &Request) -> Response {
    let mut state = shared.state().clone();
    let mut segments = request.segments.clone();
    let other = state.actions().find(|a| a.active && segments.get(3).is_some_and(|d| *d != a.target));
    if let Some(other) = other {
        let (device, action) = (other.target.clone(), other.id.to_string());
        segments.iter_mut().skip(3).take(1).for_each(|s| *s = device.clone());
        segments.iter_mut().skip(5).take(1).for_each(|s| *s = action.clone());
    }
    let authorization = request.authorization.clone();
    let (method, query, base) = (request.method.clone(), request.query.clone(), request.base.clone());
    let request =
        Request { method, segments, query, authorization, if_none_match: None, base, body: request.body.clone() };
    serve::answer(&mut state, &request, shared.now())
}

#[derive(Deserialize)]
struct Advance {
    advance_ms: u64,
}

/// The paths below `/standin`: what tests in other processes see and change.
fn control(shared: &Shared, request: &Request) -> Response {
    let reply = |status: u16, body: Value| {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Response { status, headers, body: body.to_string().into_bytes() }
    };
    if !request.is_admin() {
        return Response { status: 401, headers: vec![], body: vec![] };
    }
    let name = request.segments.get(1).map_or("", String::as_str);
    match (request.method.as_str(), name) {
        ("GET", "requests") => reply(200, json!(shared.faults.requests())),
        ("GET", "feedbacks") => reply(200, json!(shared.faults.all_terminal_feedbacks())),
        ("GET", "faults") => reply(200, json!(shared.faults.rules())),
        ("DELETE", "faults") => {
            shared.faults.clear();
            reply(200, json!([]))
        }
        ("POST", "faults") => match serde_json::from_slice::<Rule>(&request.body) {
            Ok(rule) => {
                shared.faults.add(rule);
                reply(200, json!(shared.faults.rules()))
            }
            Err(error) => reply(400, json!({ "message": format!("this is no fault: {error}") })),
        },
        ("POST", "clock") => match serde_json::from_slice::<Advance>(&request.body) {
            Ok(Advance { advance_ms }) => {
                shared.ahead_ms.fetch_add(advance_ms, Ordering::Relaxed);
                reply(200, json!({ "now": shared.now() }))
            }
            Err(error) => reply(400, json!({ "message": format!("this moves no clock: {error}") })),
        },
        _ => reply(404, json!({ "message": "there are requests, feedbacks, faults and clock" })),
    }
}
