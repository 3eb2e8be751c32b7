//! Stands between gateway and server: passes requests on one by one, counts the feedbacks that the server took, and stops
//! at one of them so that a test can kill the gateway at that very moment.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// When a feedback is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It came, and the server has not heard of it.
    Asked,
    /// The server has it, and the gateway does not know.
    Taken,
    /// The gateway has the answer, and perhaps no time to note it.
    Answered,
}

/// What the test and the proxy's threads share.
struct Shared {
    upstream: String,
    /// Feedbacks so far, also those that went nowhere.
    seen: u32,
    /// The feedback that is stopped, counted from 1, and when.
    stop: Option<(u32, Moment)>,
    /// Tells the test that it is stopped, with what lets it go on.
    stopped: Sender<Sender<()>>,
    /// Closing feedbacks that the server took with 2xx, by path.
    taken: BTreeMap<String, u32>,
}

pub struct Proxy {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    stopped: Receiver<Sender<()>>,
}

impl Proxy {
    pub fn before(upstream: &str, stop: (u32, Moment)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, stopped) = channel();
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let shared = Shared { upstream, seen: 0, stop: Some(stop), stopped: sender, taken: BTreeMap::new() };
        let shared = Arc::new(Mutex::new(shared));
        let serving = shared.clone();
        // Ends with the test's process; it holds nothing but its port.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || drop(pass(connection, &shared)));
            }
        });
        Proxy { url, shared, stopped }
    }

    /// Waits until the feedback is stopped; dropping what comes lets it go on.
    pub fn stopped(&self) -> Sender<()> {
        self.stopped.recv_timeout(Duration::from_secs(60)).expect("the feedback never came")
    }

    /// How many closing feedbacks the server took whose path has this in it.
    pub fn taken(&self, part: &str) -> u32 {
        let shared = self.shared.lock().unwrap();
        shared.taken.iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }
}

/// One request on one connection, which is closed afterwards.
fn pass(mut gateway: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let (head, body) = request(&mut gateway)?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let feedback = head.starts_with("POST ") && path.ends_with("/feedback");
    let moment = feedback.then(|| next(shared)).flatten();
    if moment == Some(Moment::Asked) {
        hold(shared);
        return Ok(());
    }
    let upstream = shared.lock().unwrap().upstream.clone();
    let mut server = TcpStream::connect(upstream)?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned();
    if feedback && status.starts_with('2') && closes(&body) {
        *shared.lock().unwrap().taken.entry(path).or_default() += 1;
    }
    if moment == Some(Moment::Taken) {
        hold(shared);
        return Ok(());
    }
    gateway.write_all(&answer)?;
    gateway.shutdown(Shutdown::Write)?;
    if moment == Some(Moment::Answered) {
        hold(shared);
    }
    Ok(())
}

/// Whether this feedback is to be stopped.
fn next(shared: &Mutex<Shared>) -> Option<Moment> {
    let mut shared = shared.lock().unwrap();
    shared.seen += 1;
    let stop = shared.stop.filter(|(at, _)| *at == shared.seen);
    stop.map(|(_, moment)| moment)
}

fn hold(shared: &Mutex<Shared>) {
    let (go_on, wait) = channel();
    let _ = shared.lock().unwrap().stopped.send(go_on);
    let _ = wait.recv();
}

fn closes(body: &[u8]) -> bool {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    said["status"]["execution"] == "closed"
}

/// Head and body of a request.
fn request(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}
