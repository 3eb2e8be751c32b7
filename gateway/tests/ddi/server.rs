//! A small HTTP/1.1 server whose answers a test writes: real sockets, one thread a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// As it stands in the request line, with its query.
    pub target: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What goes back.
pub enum Reply {
    /// A whole answer.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and the end.
    Raw(Vec<u8>),
    /// These bytes, and then one more each time this passes.
    Drip(Vec<u8>, Duration),
    /// Nothing at all, with the connection left open.
    Hang,
    /// The connection is reset.
    Reset,
}

/// An answer with a JSON body.
pub fn json(status: u16, body: &str) -> Reply {
    Reply::Answer(status, vec![("Content-Type", "application/json;charset=UTF-8".to_owned())], body.into())
}

/// An answer without a body.
pub fn empty(status: u16) -> Reply {
    Reply::Answer(status, vec![], vec![])
}

pub type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A stream that a connection speaks over: TCP itself, or TLS.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub type Wrap = dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync;

/// A running server; it ends with this value.
pub struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::wrapped(handler, |stream| Box::new(stream))
    }

    pub fn wrapped(
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            port: listener.local_addr().unwrap().port(),
            requests: Arc::default(),
            connections: Arc::default(),
            over: Arc::default(),
        };
        let (handler, wrap): (Arc<Handler>, Arc<Wrap>) = (Arc::new(handler), Arc::new(wrap));
        let (requests, connections, over) = (server.requests.clone(), server.connections.clone(), server.over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                let (handler, requests, wrap) = (handler.clone(), requests.clone(), wrap.clone());
                // A client that has gone away ends its connection's thread; no test waits for it.
                std::thread::spawn(move || serve(stream, &*wrap, &*handler, &requests));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(tcp: TcpStream, wrap: &Wrap, handler: &Handler, requests: &Mutex<Vec<Request>>) -> Option<()> {
    let raw = tcp.try_clone().ok()?;
    let mut stream = BufReader::new(wrap(tcp));
    loop {
        let request = read(&mut stream)?;
        requests.lock().unwrap().push(request.clone());
        match handler(&request) {
            Reply::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} Reason\r\n");
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                if status != 304 {
                    head += &format!("Content-Length: {}\r\n", body.len());
                }
                let whole = [head.as_bytes(), b"\r\n", &body].concat();
                stream.get_mut().write_all(&whole).ok()?;
                stream.get_mut().flush().ok()?;
            }
            Reply::Raw(bytes) => {
                stream.get_mut().write_all(&bytes).ok()?;
                stream.get_mut().flush().ok()?;
                raw.shutdown(Shutdown::Write).ok()?;
                return None;
            }
            Reply::Drip(bytes, pace) => {
                stream.get_mut().write_all(&bytes).ok()?;
                loop {
                    std::thread::sleep(pace);
                    stream.get_mut().write_all(b" ").ok()?;
                }
            }
            Reply::Hang => {
                let _ = stream.read(&mut [0]);
                return None;
            }
            Reply::Reset => {
                rustix::net::sockopt::set_socket_linger(&raw, Some(Duration::ZERO)).ok()?;
                return None;
            }
        }
    }
}

fn read(stream: &mut BufReader<Box<dyn Stream>>) -> Option<Request> {
    let mut line = String::new();
    let mut next = |stream: &mut BufReader<Box<dyn Stream>>| {
        line.clear();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = next(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = next(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body: String::from_utf8(body).unwrap() })
}
