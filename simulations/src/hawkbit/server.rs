//! The server as a value: started with it, gone with it.

use super::faults::Faults;
use super::http::{self, Shared};
use crate::lab;
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often a server that runs alone looks whether it is to end.
const LOOK_MS: u64 = 100;

/// A running server on a thread of its own; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts an empty server at `listen`; port 0 takes any.
    pub fn start(listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
        listener.set_nonblocking(true).context("preparing the listener")?;
        let address = listener.local_addr().context("asking for the address")?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
        let shared = Arc::<Shared>::default();
        let (stop, stopped) = oneshot::channel();
        let serving = shared.clone();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = http::serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("hawkbit".into()).spawn(serve).context("starting a thread")?;
        Ok(Server { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Faults to inject, and what has been asked so far.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Moves the server's clock ahead.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.shared.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Nobody listens any more when the thread has ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Runs a server alone until somebody interrupts it.
pub fn run(listen: SocketAddr) -> anyhow::Result<()> {
    lab::on_interrupt()?;
    let server = Server::start(listen)?;
    println!("{}", server.url());
    eprintln!("tenant DEFAULT, operator admin, password admin; everything is forgotten at the end");
    while !lab::interrupted() {
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    }
    Ok(())
}
