//! One piece from one neighbour.

use super::listing::Listed;
use super::{Listing, MOVED_BYTES, Report, What};
use crate::peer::cache::{BatchDraft, CacheError, Key};
use crate::peer::transfer::{self, Data, Incoming, Inflow, TransferError, Worked};
use fullmetal_proto::swarm::{Failure, TransferId};
use fullmetal_proto::wire::plain::BATCH_RAW_MAX;
use fullmetal_proto::wire::transfer::Request;
use fullmetal_proto::wire::{Frame, PlainManifest, PlainObject};
use fullmetal_proto::{DeviceId, Digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

pub(super) struct Wanted {
    pub transfer: TransferId,
    pub piece: u32,
    pub peer: DeviceId,
}

pub(super) async fn fetch(data: Arc<Data>, listing: Arc<Listing>, wanted: Wanted, reports: mpsc::Sender<Report>) {
    let Wanted { transfer, piece, .. } = wanted;
    let what = match transfer_piece(&data, &listing, &wanted, &reports).await {
        Ok(bytes) => What::Verified { piece, bytes },
        Err(TransferError::Corrupt) => What::Corrupt(piece),
        Err(error) => {
            let lasting = matches!(error, TransferError::Cache(_));
            What::Failed { why: failure(&error), reason: error.to_string(), lasting }
        }
    };
    let _ = reports.send(Report { transfer, what }).await;
}

/// Gives the bytes that had to come.
async fn transfer_piece(
    data: &Data,
    listing: &Arc<Listing>,
    wanted: &Wanted,
    reports: &mpsc::Sender<Report>,
) -> Result<u64, TransferError> {
    if listing.length_in(&data.cache, wanted.piece).is_some() {
        return Ok(0);
    }
    let gone = || TransferError::Gone("not connected".to_owned());
    let connection = data.neighbours.get(&wanted.peer).ok_or_else(gone)?.connection;
    let unsaid = AtomicU64::new(0);
    let progress = |bytes| {
        let sum = unsaid.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let report = Report { transfer: wanted.transfer, what: What::Moved(sum) };
        if sum >= MOVED_BYTES && reports.try_send(report).is_ok() {
            unsaid.store(0, Ordering::Relaxed);
        }
    };
    let piece = wanted.piece as usize;
    match &listing.listed {
        Listed::Frames(frames, _) => {
            let frame = frames.get(piece).ok_or(TransferError::NotHere)?;
            frame_from(data, &connection, frame, progress).await
        }
        Listed::Batches(manifest, ids) => {
            let id = *ids.get(piece).ok_or(TransferError::NotHere)?;
            batch_from(data, &connection, (id, manifest, wanted.piece), progress).await
        }
    }
}

async fn frame_from(
    data: &Data,
    connection: &quinn::Connection,
    frame: &Frame,
    progress: impl FnMut(u64),
) -> Result<u64, TransferError> {
    let (sha256, length) = (frame.sha256, frame.length);
    let draft = data.draft(Key::frame(sha256), u64::from(length)).await?;
    transfer::fetch(connection, Request::Frame { sha256, length }, draft, progress).await?;
    Ok(u64::from(length))
}

async fn batch_from(
    data: &Data,
    connection: &quinn::Connection,
    (id, manifest, piece): (Digest, &PlainManifest, u32),
    tell: impl Fn(u64),
) -> Result<u64, TransferError> {
    let draft = data.batch_draft(id)?;
    let (stream, length) = transfer::ask_for_batch(connection, id).await?;
    if length > 2 * BATCH_RAW_MAX {
        return Err(TransferError::Corrupt);
    }
    let worked = Worked::default();
    let coming = Coming { draft, length, id, objects: manifest.batch(piece).to_vec(), worked: worked.clone() };
    let inflow = transfer::receive(stream, Inflow::new(coming), &tell).await?;
    let finish = async {
        let _permit = data.verifying.acquire().await;
        inflow.finish().await
    };
    let told = |bytes| {
        tell(bytes);
        std::future::ready(())
    };
    Ok(worked.told(finish, told).await?)
}

/// A batch of a length that its sender named.
struct Coming {
    draft: BatchDraft,
    length: u64,
    id: Digest,
    objects: Vec<PlainObject>,
    worked: Worked,
}

impl Incoming for Coming {
    fn missing(&self) -> u64 {
        self.length - self.draft.written()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        if bytes.len() as u64 > self.missing() {
            return Err(CacheError::Corrupt { sha256: self.id });
        }
        self.draft.add(bytes)
    }

    fn finish(self) -> Result<u64, CacheError> {
        self.draft.finish(&self.objects, &|bytes| self.worked.add(bytes))
    }
}

/// A full cache is our own trouble; the shortest pause is for it.
fn failure(error: &TransferError) -> Failure {
    match error {
        TransferError::NotHere => Failure::NotHere,
        TransferError::Busy | TransferError::Cache(_) => Failure::Busy,
        TransferError::Stalled => Failure::Stalled,
        TransferError::Gone(_) | TransferError::Answer(_) | TransferError::Corrupt => Failure::PeerGone,
    }
}
