//! A relay that passes TCP connections on later: the latency to central where the kernel has no netem.
//!
//! Bytes arrive one latency later in each direction, the first ones of a client two more: its connection was accepted
//! without the round trip that it would have taken. Rates are not its matter; it holds back no more than fits a
//! connection's buffers.

use super::net;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Bytes that are passed on at once, and how many such are on their way in one direction of a connection at most.
const CHUNK_LEN: usize = 16 << 10;
const CHUNKS_MAX: usize = 256;

/// A running relay; it stops when dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    /// Passes what connects to `listen` on to `server`, both in namespace `netns`, with `latency` one way.
    pub fn start(netns: &str, listen: SocketAddr, server: SocketAddr, latency: Duration) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = std::sync::mpsc::channel();
        let netns = netns.to_owned();
        let run = move || {
            let listening = || {
                net::enter(&netns)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let listener = runtime.block_on(TcpListener::bind(listen)).with_context(|| listen.to_string())?;
                anyhow::Ok((runtime, listener))
            };
            match listening() {
                Ok((runtime, listener)) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(async {
                        tokio::select! {
                            () = accept(listener, server, latency) => {}
                            _ = stopped => {}
                        }
                    });
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(run).context("starting a thread")?;
        started.recv().context("the relay has ended")?.context("starting the relay to central")?;
        Ok(Relay { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The thread ends when its end of the channel is closed.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, latency: Duration) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(connect(client, server, latency))),
            // Out of descriptors: others will be closed.
            Err(_) => tokio::time::sleep(latency).await,
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, latency: Duration) {
    // Without a server the client finds its connection closed.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pass(from_client, to_server, latency, 2 * latency),
        pass(from_server, to_client, latency, Duration::ZERO)
    );
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, latency: Duration, first: Duration) {
    let (hold, mut held) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let read = async move {
        let mut later = latency + first;
        loop {
            let mut chunk = vec![0; CHUNK_LEN];
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
            chunk.truncate(length);
            if hold.send((Instant::now() + later, chunk)).await.is_err() {
                return;
            }
            later = latency;
        }
    };
    let write = async move {
        while let Some((at, chunk)) = held.recv().await {
            sleep_until(at).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
