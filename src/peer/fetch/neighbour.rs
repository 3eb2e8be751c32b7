//! One frame from one neighbour.

use super::{Listing, MOVED_BYTES, Report, What};
use crate::peer::cache::Key;
use crate::peer::transfer::{self, Data, TransferError};
use fullmetal_proto::DeviceId;
use fullmetal_proto::swarm::{Failure, TransferId};
use fullmetal_proto::wire::transfer::Request;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(super) struct Wanted {
    pub transfer: TransferId,
    pub piece: u32,
    pub peer: DeviceId,
}

pub(super) async fn fetch(data: Arc<Data>, listing: Arc<Listing>, wanted: Wanted, reports: mpsc::Sender<Report>) {
    let Wanted { transfer, piece, .. } = wanted;
    let what = match transfer_frame(&data, &listing, &wanted, &reports).await {
        Ok(()) => What::Verified(piece),
        Err(TransferError::Corrupt) => What::Corrupt(piece),
        Err(error) => {
            let lasting = matches!(error, TransferError::Cache(_));
            What::Failed { why: failure(&error), reason: error.to_string(), lasting }
        }
    };
    let _ = reports.send(Report { transfer, what }).await;
}

async fn transfer_frame(
    data: &Data,
    listing: &Listing,
    wanted: &Wanted,
    reports: &mpsc::Sender<Report>,
) -> Result<(), TransferError> {
    let frame = listing.frames.get(wanted.piece as usize).ok_or(TransferError::NotHere)?;
    let key = Key::frame(frame.sha256);
    if data.cache.has(key, u64::from(frame.length)) {
        return Ok(());
    }
    let gone = || TransferError::Gone("not connected".to_owned());
    let neighbour = data.neighbours.get(&wanted.peer).ok_or_else(gone)?;
    let draft = data.draft(key, u64::from(frame.length)).await?;
    let request = Request::Frame { sha256: frame.sha256, length: frame.length };
    let mut unsaid = 0;
    let progress = |bytes| {
        unsaid += bytes;
        let report = Report { transfer: wanted.transfer, what: What::Moved(unsaid) };
        if unsaid >= MOVED_BYTES && reports.try_send(report).is_ok() {
            unsaid = 0;
        }
    };
    transfer::fetch(&neighbour.connection, request, draft, progress).await
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
