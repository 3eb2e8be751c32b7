//! Content on its way in: request streams to neighbours, and what all transfers share.

pub mod blob;
mod inflow;
mod neighbours;
mod pace;
mod worked;

pub use inflow::{Incoming, Inflow, off_reactor};
pub use neighbours::{Neighbour, Neighbours};
pub use pace::Pace;
pub use worked::Worked;

use super::cache::{BatchDraft, Cache, CacheError, Draft, Key, Shelf};
use super::central::{Central, Uplink};
use super::control::{ControlError, read_message, write_message};
use bytes::Bytes;
use fullmetal_proto::wire::transfer::{REQUEST_LEN_MAX, Request, ResponseHead};
use fullmetal_proto::{DeviceId, Digest};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How long a neighbour may take to answer a request, its queue for uploads included.
const ANSWER_MS_MAX: u64 = 10_000;
/// Batches that are verified at once.
pub const VERIFYING_MAX: usize = 3;
/// What one read from a stream gives at most.
const BLOCK_LEN: usize = 64 << 10;

/// What every transfer needs at hand.
#[derive(Debug)]
pub struct Data {
    /// This device.
    pub me: DeviceId,
    /// Where content goes.
    pub cache: Cache,
    /// The central repo, if this peer may use it.
    pub central: Option<Central>,
    /// Who can be asked.
    pub neighbours: Neighbours,
    /// What went over the wires.
    pub counters: Counters,
    /// To the owner of swarm and membership.
    pub notices: mpsc::Sender<Notice>,
    /// Long verifications at once; the other threads for the disk are for the rest.
    pub verifying: Semaphore,
    /// When this process started; for a moment after it, neighbours are still being found.
    pub started: tokio::time::Instant,
}

/// What transfers and uploads cannot settle themselves.
#[derive(Debug)]
pub enum Notice {
    /// Space is short: evict, the have-map first.
    Room {
        /// Bytes that must fit.
        length: u64,
        /// Whether they do now.
        reply: oneshot::Sender<Result<(), CacheError>>,
    },
    /// A file in the cache is no longer what its name says and was removed.
    Rotten(Key),
    /// A neighbour sent wrong bytes for a blob.
    Liar(DeviceId),
}

/// Bytes since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    from_peers: AtomicU64,
    from_central: AtomicU64,
    to_peers: AtomicU64,
}

impl Counters {
    /// Counts frame bytes from a neighbour.
    pub fn add_from_peers(&self, bytes: u64) {
        self.from_peers.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts frame bytes from central.
    pub fn add_from_central(&self, bytes: u64) {
        self.from_central.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts frame bytes sent to a neighbour.
    pub fn add_to_peers(&self, bytes: u64) {
        self.to_peers.fetch_add(bytes, Ordering::Relaxed);
    }

    /// From neighbours, from central, to neighbours.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.from_peers), read(&self.from_central), read(&self.to_peers))
    }
}

impl Data {
    /// The site's budget for central, if this peer asks central and there is one.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.central.as_ref()?.uplink()
    }

    /// A draft in the cache, after eviction where space is short.
    pub async fn draft(&self, key: Key, length: u64) -> Result<Draft, CacheError> {
        match self.cache.create(key, length) {
            Err(full @ CacheError::NoRoom { .. }) => {
                self.room(length, full).await?;
                self.cache.create(key, length)
            }
            other => other,
        }
    }

    /// A batch in the cache; eviction makes room as it grows.
    pub fn batch_draft(&self, id: Digest) -> Result<BatchDraft, CacheError> {
        let notices = self.notices.clone();
        let make_room = move |length, full: CacheError| {
            let (reply, answer) = oneshot::channel();
            match notices.blocking_send(Notice::Room { length, reply }) {
                Ok(()) => answer.blocking_recv().unwrap_or(Err(full)),
                Err(_) => Err(full),
            }
        };
        self.cache.create_batch(id, Box::new(make_room))
    }

    /// Stores bytes that are at hand, after eviction where space is short.
    pub async fn put(&self, shelf: Shelf, bytes: Bytes) -> Result<Key, CacheError> {
        match self.put_now(shelf, bytes.clone()).await {
            Err(full @ CacheError::NoRoom { .. }) => {
                self.room(bytes.len() as u64, full).await?;
                self.put_now(shelf, bytes).await
            }
            other => other,
        }
    }

    async fn put_now(&self, shelf: Shelf, bytes: Bytes) -> Result<Key, CacheError> {
        let cache = self.cache.clone();
        let put = tokio::task::spawn_blocking(move || cache.put(shelf, &bytes));
        put.await.unwrap_or(Err(CacheError::Stopping))
    }

    async fn room(&self, length: u64, full: CacheError) -> Result<(), CacheError> {
        let (reply, answer) = oneshot::channel();
        match self.notices.send(Notice::Room { length, reply }).await {
            Ok(()) => answer.await.unwrap_or(Err(full)),
            Err(_) => Err(full),
        }
    }
}

/// Why a neighbour did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// It does not have it.
    #[error("the neighbour does not have it")]
    NotHere,
    /// It has too many uploads.
    #[error("the neighbour is busy")]
    Busy,
    /// It sent nothing, or next to nothing, for too long.
    #[error("the neighbour stalled")]
    Stalled,
    /// The connection or the stream ended.
    #[error("the stream ended: {0}")]
    Gone(String),
    /// Its answer is no answer.
    #[error("the neighbour's answer: {0}")]
    Answer(ControlError),
    /// What it sent is not what was asked for.
    #[error("the neighbour sent wrong bytes")]
    Corrupt,
    /// The cache could not take it.
    #[error(transparent)]
    Cache(CacheError),
}

impl From<CacheError> for TransferError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Corrupt { .. } => TransferError::Corrupt,
            other => TransferError::Cache(other),
        }
    }
}

/// Asks `connection` for one frame or blob and puts it into `draft`; `progress` hears of every block.
///
/// Dropping the future resets the stream, and the neighbour stops sending.
pub async fn fetch(
    connection: &quinn::Connection,
    request: Request,
    draft: Draft,
    progress: impl FnMut(u64),
) -> Result<(), TransferError> {
    match ask(connection, request).await? {
        (stream, None) => {
            let inflow = receive(stream, Inflow::new(draft), progress).await?;
            Ok(inflow.finish().await.map(drop)?)
        }
        (_, Some(_)) => Err(other_answer()),
    }
}

/// Asks for a batch; gives the stream on which it comes and its length as packed.
pub async fn ask_for_batch(
    connection: &quinn::Connection,
    id: Digest,
) -> Result<(quinn::RecvStream, u64), TransferError> {
    match ask(connection, Request::Batch { id }).await? {
        (stream, Some(length)) => Ok((stream, length)),
        (_, None) => Err(other_answer()),
    }
}

/// Takes in what comes on `stream`, up to the end; it is for the caller to finish.
pub async fn receive<D: Incoming>(
    mut stream: quinn::RecvStream,
    mut inflow: Inflow<D>,
    mut progress: impl FnMut(u64),
) -> Result<Inflow<D>, TransferError> {
    let mut pace = Pace::start();
    while inflow.missing() > 0 {
        let block = pace.keep(stream.read_chunk(BLOCK_LEN, true)).await.ok_or(TransferError::Stalled)?;
        let block = block.map_err(|e| TransferError::Gone(e.to_string()))?;
        let Some(block) = block else { return Err(TransferError::Gone("it ended early".to_owned())) };
        let length = block.bytes.len() as u64;
        inflow.write(&block.bytes).await?;
        pace.moved(length);
        progress(length);
    }
    let _ = stream.stop(0u8.into());
    Ok(inflow)
}

async fn ask(
    connection: &quinn::Connection,
    request: Request,
) -> Result<(quinn::RecvStream, Option<u64>), TransferError> {
    let asked = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), ask_and_wait(connection, request));
    asked.await.map_err(|_| TransferError::Stalled)?
}

async fn ask_and_wait(
    connection: &quinn::Connection,
    request: Request,
) -> Result<(quinn::RecvStream, Option<u64>), TransferError> {
    let opened = connection.open_bi().await;
    let (mut send, mut receive) = opened.map_err(|e| TransferError::Gone(e.to_string()))?;
    write_message(&mut send, &request, REQUEST_LEN_MAX).await.map_err(of_stream)?;
    let _ = send.finish();
    match read_message(&mut receive, REQUEST_LEN_MAX).await.map_err(of_stream)? {
        ResponseHead::Ok => Ok((receive, None)),
        ResponseHead::Length(length) => Ok((receive, Some(length))),
        ResponseHead::NotHere => Err(TransferError::NotHere),
        ResponseHead::Busy => Err(TransferError::Busy),
    }
}

fn other_answer() -> TransferError {
    TransferError::Gone("its answer is for another kind of request".to_owned())
}

fn of_stream(error: ControlError) -> TransferError {
    match error {
        ControlError::Stream(e) => TransferError::Gone(e.to_string()),
        other => TransferError::Answer(other),
    }
}
