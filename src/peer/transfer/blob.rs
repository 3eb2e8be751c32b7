//! Small content by its hash: from neighbours first, from central when they have not got it.

use super::{Data, Inflow, Notice, TransferError, fetch};
use crate::peer::cache::{Cache, CacheError, Key};
use crate::peer::central::CentralError;
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::BlobRef;
use fullmetal_proto::wire::bundle::{BLOB_LEN_MAX, CHUNK_LEN};
use fullmetal_proto::wire::local::CentralObject;
use fullmetal_proto::wire::transfer::Request;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

/// How long neighbours are asked before central is.
const NEIGHBOURS_MS: u64 = 2_000;
/// How much longer each further peer waits, so that one of them asks central and the others ask it.
const TURN_MS: u64 = 1_000;
/// The longest such wait, however many come before.
const TURNS_MAX: u32 = 20;
/// Between two rounds of questions.
const ROUND_MS: u64 = 500;
/// Before central is asked again after an error.
const CENTRAL_RETRY_MS: u64 = 5_000;
/// After this the blob cannot be had now.
const GIVE_UP_MS: u64 = 30_000;

/// Why a blob cannot be had now.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The reference makes no sense.
    #[error("its reference has a length or number of chunks that no blob of ours has")]
    Reference,
    /// Nobody in reach has it.
    #[error("none of {neighbours} neighbours has it, and this peer may not ask central (peer.origin, peer.central)")]
    Nowhere {
        /// How many were asked.
        neighbours: usize,
    },
    /// Central did not give it.
    #[error("no neighbour has it; central: {0}")]
    Central(#[from] CentralError),
    /// It came and had to give way to something else.
    #[error("the cache is too small for it beside what must stay; raise peer.cache_bytes_max")]
    Evicted,
    /// Central has another content in its place.
    #[error("what central has in its place has another hash; was it published again? announce it again")]
    Differs,
    /// The cache could not take it.
    #[error(transparent)]
    Cache(CacheError),
}

impl From<CacheError> for BlobError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Corrupt { .. } => BlobError::Differs,
            other => BlobError::Cache(other),
        }
    }
}

/// Whether the reference has a length and chunks that go together.
pub fn check(blob: &BlobRef) -> Result<(), BlobError> {
    let chunks = if blob.length > CHUNK_LEN { blob.length.div_ceil(CHUNK_LEN) } else { 0 };
    let good = (1..=BLOB_LEN_MAX).contains(&blob.length) && blob.chunks.len() as u64 == chunks;
    if good { Ok(()) } else { Err(BlobError::Reference) }
}

/// The chunks that are not in the cache.
pub fn missing(cache: &Cache, blob: &BlobRef) -> Vec<(Key, u64)> {
    let pieces = blob.pieces().into_iter().map(|(sha256, length)| (Key::blob(sha256), length));
    pieces.filter(|(key, length)| !cache.has(*key, *length)).collect()
}

/// Brings all chunks of `blob` into the cache.
pub async fn pull(data: &Data, blob: &BlobRef, object: Option<&CentralObject>) -> Result<(), BlobError> {
    check(blob)?;
    let begun = Instant::now();
    let mut central_at = begun + patience(data, blob);
    let mut trouble = None;
    loop {
        if missing(&data.cache, blob).is_empty() || from_neighbours(data, blob).await? {
            return Ok(());
        }
        if data.neighbours.is_empty() {
            central_at = central_at.min(begun.max(data.started + Duration::from_millis(NEIGHBOURS_MS)));
        }
        if let (Some(_), Some(object)) = (&data.central, object)
            && Instant::now() >= central_at
        {
            match from_central(data, blob, object).await {
                Ok(()) => return Ok(()),
                // Of a plain repo, the gateway made it, whatever central has in its place by now: it is on its way here.
                Err(error @ (BlobError::Central(_) | BlobError::Differs)) if is_manifest(object) => {
                    trouble = Some(error);
                }
                Err(BlobError::Central(error)) if !error.is_missing() => trouble = Some(BlobError::Central(error)),
                Err(other) => return Err(other),
            }
            central_at = Instant::now() + Duration::from_millis(CENTRAL_RETRY_MS);
        }
        if begun.elapsed() >= Duration::from_millis(GIVE_UP_MS) {
            let neighbours = data.neighbours.in_turn(&blob.sha256).len();
            return Err(trouble.unwrap_or(BlobError::Nowhere { neighbours }));
        }
        let _ = timeout(Duration::from_millis(ROUND_MS), data.neighbours.joined()).await;
    }
}

/// Asks one neighbour for one blob of one chunk: for bodies that a hint named.
pub async fn pull_from(data: &Data, from: &DeviceId, key: Key, length: u32) -> Result<(), TransferError> {
    if data.cache.has(key, u64::from(length)) {
        return Ok(());
    }
    let gone = || TransferError::Gone("not connected".to_owned());
    let neighbour = data.neighbours.get(from).ok_or_else(gone)?;
    let draft = data.draft(key, u64::from(length)).await?;
    let request = Request::Blob { sha256: key.sha256, length };
    let fetched = fetch(&neighbour.connection, request, draft, |_| {}).await;
    if matches!(fetched, Err(TransferError::Corrupt)) {
        let _ = data.notices.send(Notice::Liar(from.clone())).await;
    }
    fetched
}

/// The whole blob behind one read-only descriptor, hashed while its chunks are put together. Blocks.
pub fn assemble(cache: &Cache, blob: &BlobRef) -> Result<Option<File>, CacheError> {
    if blob.chunks.is_empty() {
        return Ok(cache.open_read(Key::blob(blob.sha256), blob.length));
    }
    let (mut writer, reader) = cache.scratch()?;
    let mut hasher = Sha256::new();
    for (sha256, length) in blob.pieces() {
        let Some(mut chunk) = cache.open_read(Key::blob(sha256), length) else { return Ok(None) };
        let mut bytes = Vec::new();
        let copied = chunk.read_to_end(&mut bytes).and_then(|_| writer.write_all(&bytes));
        copied.map_err(|source| cache.scratch_error(source))?;
        hasher.update(&bytes);
    }
    if hasher.finalize()[..] != blob.sha256.0 {
        return Err(CacheError::Corrupt { sha256: blob.sha256 });
    }
    Ok(Some(reader))
}

fn patience(data: &Data, blob: &BlobRef) -> Duration {
    let turn = data.neighbours.turn_of(&data.me, &blob.sha256).min(TURNS_MAX);
    Duration::from_millis(NEIGHBOURS_MS + TURN_MS * u64::from(turn))
}

fn is_manifest(object: &CentralObject) -> bool {
    matches!(object, CentralObject::Manifest(_))
}

/// One round through the neighbours; true when nothing is missing any more.
async fn from_neighbours(data: &Data, blob: &BlobRef) -> Result<bool, BlobError> {
    let mut without = BTreeSet::new();
    for (key, length) in missing(&data.cache, blob) {
        let length = u32::try_from(length).map_err(|_| BlobError::Reference)?;
        for (device, _) in data.neighbours.in_turn(&key.sha256) {
            if without.contains(&device) {
                continue;
            }
            match pull_from(data, &device, key, length).await {
                Ok(()) => break,
                Err(TransferError::Cache(error)) => return Err(BlobError::Cache(error)),
                Err(TransferError::Busy) => sleep(Duration::from_millis(50)).await,
                Err(error) => {
                    debug!(peer = %device, blob = %key.sha256, %error, "blob not there");
                    without.insert(device);
                }
            }
        }
    }
    Ok(missing(&data.cache, blob).is_empty())
}

/// Reads the object whole and keeps the chunks that are missing.
async fn from_central(data: &Data, blob: &BlobRef, object: &CentralObject) -> Result<(), BlobError> {
    let Some(central) = &data.central else { return Err(BlobError::Nowhere { neighbours: 0 }) };
    let mut body = central.object(object).await?;
    for (sha256, length) in blob.pieces() {
        let key = Key::blob(sha256);
        let here = data.cache.has(key, length);
        let mut inflow = if here { None } else { Some(Inflow::new(data.draft(key, length).await?)) };
        let mut left = length;
        while left > 0 {
            let block = body.next(left).await?.ok_or(BlobError::Differs)?;
            left -= block.len() as u64;
            if let Some(inflow) = &mut inflow {
                inflow.write(&block).await?;
            }
        }
        if let Some(inflow) = inflow {
            inflow.finish().await?;
        }
    }
    match body.next(1).await? {
        None => Ok(()),
        Some(_) => Err(BlobError::Differs),
    }
}
