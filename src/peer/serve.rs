//! Uploads: answers request streams from the cache.
//!
//! The cache holds verified content only; it is hashed again on its way out, and the last block goes only
//! when the hash is right, so that a rotten disk makes this peer slower and never a liar.

use super::cache::{Cache, Key, Shelf};
use super::control::{read_message, write_message};
use super::transfer::{Data, Notice, Pace};
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::transfer::{REQUEST_LEN_MAX, Request, ResponseHead};
use quinn::{RecvStream, SendStream};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Uploads at once of each kind, frames and blobs.
pub const UPLOADS_MAX: usize = 8;
/// How long a request waits for its turn before it is answered with Busy.
const QUEUE_MS_MAX: u64 = 500;
/// How long a stream may take to say what it wants.
const REQUEST_MS_MAX: u64 = 5_000;
/// Bytes read and sent at a time.
const BLOCK_LEN: usize = 256 << 10;
/// Codes with which a stream of ours is reset.
const RESET_ROTTEN: u32 = 1;
const RESET_STALLED: u32 = 2;

/// Serves all neighbours.
#[derive(Debug)]
pub struct Uploads {
    data: Arc<Data>,
    frames: Semaphore,
    blobs: Semaphore,
}

impl Uploads {
    /// Nothing is being sent yet.
    pub fn new(data: Arc<Data>) -> Self {
        Uploads { data, frames: Semaphore::new(UPLOADS_MAX), blobs: Semaphore::new(UPLOADS_MAX) }
    }
}

/// Why an upload ended early.
enum Ended {
    /// The file is not what its name says.
    Rotten,
    /// The neighbour takes nothing.
    Stalled,
    /// The stream, the connection or the disk.
    Broken(String),
}

/// Answers one request stream of `device`.
pub async fn serve(uploads: Arc<Uploads>, device: DeviceId, mut send: SendStream, mut receive: RecvStream) {
    let asked = timeout(Duration::from_millis(REQUEST_MS_MAX), read_message(&mut receive, REQUEST_LEN_MAX)).await;
    let Ok(Ok(request)) = asked else {
        debug!(peer = %device, "no request on a request stream");
        return;
    };
    if let Err(ended) = answer(&uploads, request, &mut send).await {
        let (code, error) = match ended {
            Ended::Rotten => (RESET_ROTTEN, "the cached file had rotted".to_owned()),
            Ended::Stalled => (RESET_STALLED, "it takes nothing".to_owned()),
            Ended::Broken(error) => (RESET_STALLED, error),
        };
        debug!(peer = %device, error, "upload ended");
        let _ = send.reset(code.into());
    }
}

async fn answer(uploads: &Uploads, request: Request, send: &mut SendStream) -> Result<(), Ended> {
    let (sha256, length) = request.content();
    let (key, slots) = match request {
        Request::Frame { .. } => (Key::frame(sha256), &uploads.frames),
        Request::Blob { .. } => (Key::blob(sha256), &uploads.blobs),
    };
    let cache = &uploads.data.cache;
    if !request.is_within_limits() || !cache.has(key, u64::from(length)) {
        return head(send, ResponseHead::NotHere).await;
    }
    let slot = timeout(Duration::from_millis(QUEUE_MS_MAX), slots.acquire()).await;
    let Ok(Ok(_slot)) = slot else { return head(send, ResponseHead::Busy).await };
    let Some(file) = cache.open_read(key, u64::from(length)) else {
        return head(send, ResponseHead::NotHere).await;
    };
    head(send, ResponseHead::Ok).await?;
    let sent = copy(file, key, length as usize, send).await;
    match &sent {
        Ok(()) if key.shelf == Shelf::Frames => uploads.data.counters.add_to_peers(u64::from(length)),
        Err(Ended::Rotten) => rotten(&uploads.data, cache, key).await,
        _ => {}
    }
    sent
}

async fn head(send: &mut SendStream, head: ResponseHead) -> Result<(), Ended> {
    let written = write_message(send, &head, REQUEST_LEN_MAX).await;
    if head != ResponseHead::Ok {
        let _ = send.finish();
    }
    written.map_err(|e| Ended::Broken(e.to_string()))
}

async fn copy(file: File, key: Key, length: usize, send: &mut SendStream) -> Result<(), Ended> {
    let mut reading = Reading { file, hasher: Sha256::new(), left: length, block: Vec::new() };
    let mut pace = Pace::start();
    while reading.left > 0 {
        reading = reading.next().await?;
        if reading.left == 0 && reading.hasher.clone().finalize()[..] != key.sha256.0 {
            return Err(Ended::Rotten);
        }
        for part in reading.block.chunks(64 << 10) {
            let written = pace.keep(send.write_all(part)).await.ok_or(Ended::Stalled)?;
            written.map_err(|e| Ended::Broken(e.to_string()))?;
            pace.moved(part.len() as u64);
        }
    }
    send.finish().map_err(|e| Ended::Broken(e.to_string()))
}

/// A file that is read and hashed block by block on blocking threads.
struct Reading {
    file: File,
    hasher: Sha256,
    left: usize,
    block: Vec<u8>,
}

impl Reading {
    async fn next(mut self) -> Result<Self, Ended> {
        let read = tokio::task::spawn_blocking(move || {
            self.block.resize(self.left.min(BLOCK_LEN), 0);
            self.file.read_exact(&mut self.block)?;
            self.hasher.update(&self.block);
            self.left -= self.block.len();
            Ok(self)
        });
        let broken = |e: std::io::Error| Ended::Broken(e.to_string());
        read.await.map_err(|e| Ended::Broken(e.to_string()))?.map_err(broken)
    }
}

async fn rotten(data: &Data, cache: &Cache, key: Key) {
    warn!(file = ?key, "cached file is no longer what its name says; removed");
    cache.remove(key);
    let _ = data.notices.send(Notice::Rotten(key)).await;
}
