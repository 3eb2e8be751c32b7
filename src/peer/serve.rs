//! Uploads: answers request streams from the cache.
//!
//! The cache holds verified content only; it is hashed again on its way out, and the last block goes only
//! when the hash is right, so that a rotten disk makes this peer slower and never a liar.

use super::cache::{Cache, Key, Shelf};
use super::control::{read_message, write_message};
use super::transfer::{Data, Notice, Pace};
use bytes::Bytes;
use fullmetal_proto::wire::plain::BATCH_DIGEST_LEN;
use fullmetal_proto::wire::transfer::{REQUEST_LEN_MAX, Request, ResponseHead};
use fullmetal_proto::{DeviceId, Digest};
use quinn::{RecvStream, SendStream};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Uploads at once of each kind, pieces and blobs.
pub const UPLOADS_MAX: usize = 8;
/// How long a request waits for its turn before it is answered with Busy.
const QUEUE_MS_MAX: u64 = 500;
/// How long a stream may take to say what it wants.
const REQUEST_MS_MAX: u64 = 5_000;
/// Bytes read and hashed at a time.
const BLOCK_LEN: u64 = 256 << 10;
/// Bytes after which a neighbour's pace is looked at.
const PART_LEN: usize = 64 << 10;
/// Codes with which a stream of ours is reset.
const RESET_ROTTEN: u32 = 1;
const RESET_STALLED: u32 = 2;

/// Serves all neighbours.
#[derive(Debug)]
pub struct Uploads {
    data: Arc<Data>,
    pieces: Semaphore,
    blobs: Semaphore,
}

impl Uploads {
    /// Nothing is being sent yet.
    pub fn new(data: Arc<Data>) -> Self {
        Uploads { data, pieces: Semaphore::new(UPLOADS_MAX), blobs: Semaphore::new(UPLOADS_MAX) }
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
    let cache = &uploads.data.cache;
    let (key, length, slots) = match request {
        Request::Frame { sha256, length } => (Key::frame(sha256), Some(u64::from(length)), &uploads.pieces),
        Request::Blob { sha256, length } => (Key::blob(sha256), Some(u64::from(length)), &uploads.blobs),
        Request::Batch { id } => (Key::batch(id), cache.length(Key::batch(id)), &uploads.pieces),
    };
    let here = length.filter(|length| request.is_within_limits() && cache.has(key, *length));
    let Some(length) = here else { return head(send, ResponseHead::NotHere).await };
    let slot = timeout(Duration::from_millis(QUEUE_MS_MAX), slots.acquire()).await;
    let Ok(Ok(_slot)) = slot else { return head(send, ResponseHead::Busy).await };
    let Some(file) = cache.open_read(key, length) else {
        return head(send, ResponseHead::NotHere).await;
    };
    let batch = key.shelf == Shelf::Batches;
    head(send, if batch { ResponseHead::Length(length) } else { ResponseHead::Ok }).await?;
    let sent = copy(file, key, length, send).await;
    match &sent {
        Ok(()) if key.shelf != Shelf::Blobs => uploads.data.counters.add_to_peers(length),
        Err(Ended::Rotten) => rotten(&uploads.data, cache, key).await,
        _ => {}
    }
    sent
}

async fn head(send: &mut SendStream, head: ResponseHead) -> Result<(), Ended> {
    let written = write_message(send, &head, REQUEST_LEN_MAX).await;
    if matches!(head, ResponseHead::NotHere | ResponseHead::Busy) {
        let _ = send.finish();
    }
    written.map_err(|e| Ended::Broken(e.to_string()))
}

async fn copy(file: File, key: Key, length: u64, send: &mut SendStream) -> Result<(), Ended> {
    let mut reading = Reading { file, left: length, block: Vec::new(), seal: Seal::of(key, length) };
    let mut pace = Pace::start();
    while reading.left > 0 {
        reading = reading.next().await?;
        if reading.left == 0 && !reading.seal.holds() {
            return Err(Ended::Rotten);
        }
        let mut block = Bytes::from(std::mem::take(&mut reading.block));
        while !block.is_empty() {
            let part = block.split_to(block.len().min(PART_LEN));
            let length = part.len() as u64;
            let written = pace.keep(send.write_chunk(part)).await.ok_or(Ended::Stalled)?;
            written.map_err(|e| Ended::Broken(e.to_string()))?;
            pace.moved(length);
        }
    }
    send.finish().map_err(|e| Ended::Broken(e.to_string()))
}

/// What tells whether a file is still what was verified: its name, or the digest at the end of a batch.
struct Seal {
    hasher: Sha256,
    /// Bytes that are still to be hashed.
    left: u64,
    name: Option<Digest>,
    end: Vec<u8>,
}

impl Seal {
    fn of(key: Key, length: u64) -> Self {
        let batch = key.shelf == Shelf::Batches;
        let left = if batch { length.saturating_sub(BATCH_DIGEST_LEN) } else { length };
        Seal { hasher: Sha256::new(), left, name: (!batch).then_some(key.sha256), end: Vec::new() }
    }

    fn update(&mut self, block: &[u8]) {
        let hashed = usize::try_from(self.left).unwrap_or(usize::MAX).min(block.len());
        self.hasher.update(&block[..hashed]);
        self.left -= hashed as u64;
        self.end.extend_from_slice(&block[hashed..]);
    }

    fn holds(&self) -> bool {
        let digest = self.hasher.clone().finalize();
        digest[..] == *self.name.as_ref().map_or(&self.end[..], |name| &name.0[..])
    }
}

/// A file that is read and hashed block by block on blocking threads.
struct Reading {
    file: File,
    left: u64,
    block: Vec<u8>,
    seal: Seal,
}

impl Reading {
    async fn next(mut self) -> Result<Self, Ended> {
        let read = tokio::task::spawn_blocking(move || {
            let length = self.left.min(BLOCK_LEN);
            self.block.reserve_exact(length as usize);
            if (&self.file).take(length).read_to_end(&mut self.block)? as u64 != length {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.seal.update(&self.block);
            self.left -= length;
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
