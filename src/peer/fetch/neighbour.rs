//! One piece from one neighbour.

use super::listing::Listed;
use super::{Listing, MOVED_BYTES, Report, What};
use crate::batch::packed_len_max;
use crate::peer::cache::{BatchDraft, CacheError, Key};
use crate::peer::transfer::{self, Data, Incoming, Inflow, TransferError};
use fullmetal_proto::ostree::HEAD_LEN_MAX;
use fullmetal_proto::swarm::{Failure, TransferId};
use fullmetal_proto::wire::plain::BATCH_RAW_MAX;
use fullmetal_proto::wire::transfer::Request;
use fullmetal_proto::wire::{Frame, PlainManifest, PlainObject};
use fullmetal_proto::{DeviceId, Digest};
use std::sync::Arc;
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
    let mut unsaid = 0;
    let progress = |bytes| {
        unsaid += bytes;
        let report = Report { transfer: wanted.transfer, what: What::Moved(unsaid) };
        if unsaid >= MOVED_BYTES && reports.try_send(report).is_ok() {
            unsaid = 0;
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
    progress: impl FnMut(u64),
) -> Result<u64, TransferError> {
    let mut draft = data.cache.create_batch(id)?;
    let (stream, length) = transfer::ask_for_batch(connection, id).await?;
    let objects = manifest.batch(piece).to_vec();
    if length > length_max(&objects) {
        return Err(TransferError::Corrupt);
    }
    data.reserve(&mut draft, length).await?;
    let coming = Coming { draft, length, id, objects };
    transfer::receive(stream, Inflow::new(coming), progress).await
}

/// How long a batch of these objects can be, as packed.
fn length_max(objects: &[PlainObject]) -> u64 {
    let known = |o: &PlainObject| (o.unpacked > 0).then(|| o.unpacked.saturating_add(HEAD_LEN_MAX as u64 + 8));
    let raw = objects.iter().map(known).try_fold(0u64, |sum, length| Some(sum.saturating_add(length?)));
    packed_len_max(raw.unwrap_or(BATCH_RAW_MAX))
}

/// A batch of a length that its sender named.
struct Coming {
    draft: BatchDraft,
    length: u64,
    id: Digest,
    objects: Vec<PlainObject>,
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
        self.draft.finish(&self.objects)
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
