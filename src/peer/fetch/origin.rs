//! A run of neighbouring pieces from central: frames by one Range request as long as none of them is here already, batches
//! object by object.

use super::listing::Listed;
use super::unsaid::Unsaid;
use super::{Listing, Report, What, objects};
use crate::peer::cache::{CacheError, Draft, Key};
use crate::peer::central::{Central, CentralError};
use crate::peer::transfer::{Data, Inflow};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::OstreeError;
use fullmetal_proto::swarm::{Failure, TransferId};
use fullmetal_proto::wire::{Frame, ObjectId};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(super) struct Run {
    pub transfer: TransferId,
    pub first: u32,
    pub count: u32,
}

/// Why a run stopped.
pub(super) enum Ended {
    Central(CentralError),
    Cache(CacheError),
    Corrupt(u32),
    /// Central has it as it should be, and no device would take it.
    Refused(ObjectId, OstreeError),
    NoCentral,
}

/// A frame and its index.
type Numbered = (u32, Frame);

pub(super) async fn fetch(data: Arc<Data>, listing: Arc<Listing>, run: Run, reports: mpsc::Sender<Report>) {
    let transfer = run.transfer;
    let fetching = Fetching { data, transfer, reports: reports.clone(), naming: None };
    let (why, reason) = match fetching.run(&listing, &run).await {
        Ok(()) => return,
        Err(Ended::Corrupt(piece)) => {
            let _ = reports.send(Report { transfer, what: What::Corrupt(piece) }).await;
            return;
        }
        Err(Ended::Central(e)) if e.is_missing() => {
            let advice = match listing.listed {
                Listed::Frames(..) => "restore it from a backup, or publish with --recommit",
                Listed::Batches(..) => "check the repo there with `ostree fsck` and copy the commit there again",
            };
            (Failure::OriginMissing, format!("{e}; {advice}"))
        }
        Err(Ended::Refused(object, why)) => {
            (Failure::OriginMissing, format!("central's object {object} is one that no device takes: {why}"))
        }
        Err(Ended::Central(e)) => (Failure::OriginUnreachable, e.to_string()),
        Err(Ended::Cache(e)) => (Failure::Local, e.to_string()),
        Err(Ended::NoCentral) => (Failure::Local, "no central repo is configured (peer.central)".to_owned()),
    };
    let what = What::Failed { why, reason, lasting: true };
    let _ = reports.send(Report { transfer, what }).await;
}

/// A run that is being fetched.
pub(super) struct Fetching {
    pub(super) data: Arc<Data>,
    transfer: TransferId,
    reports: mpsc::Sender<Report>,
    /// The frame before, being synced and named while this one arrives.
    naming: Option<JoinHandle<Result<(), Ended>>>,
}

impl Fetching {
    async fn run(self, listing: &Listing, run: &Run) -> Result<(), Ended> {
        let central = self.data.central.clone().ok_or(Ended::NoCentral)?;
        match &listing.listed {
            Listed::Frames(frames, packs) => self.frames(&central, (frames, packs), run).await,
            Listed::Batches(manifest, ids) => objects::fetch(&self, &central, (manifest, ids), run).await,
        }
    }

    async fn frames(
        mut self,
        central: &Central,
        (frames, packs): (&[Frame], &[Digest]),
        run: &Run,
    ) -> Result<(), Ended> {
        let mut wanted = Vec::new();
        for (piece, frame) in (run.first..).zip(frames.iter().skip(run.first as usize)).take(run.count as usize) {
            if self.data.cache.has(Key::frame(frame.sha256), u64::from(frame.length)) {
                self.say(What::Verified { piece, bytes: 0 }).await;
            } else {
                wanted.push((piece, *frame));
            }
        }
        for group in wanted.chunk_by(adjoin) {
            let pack = packs.get(group[0].1.pack as usize).copied().unwrap_or_default();
            self.group(central, &pack, group).await?;
        }
        self.named().await
    }

    async fn group(&mut self, central: &Central, pack: &Digest, group: &[Numbered]) -> Result<(), Ended> {
        let length = group.iter().map(|(_, frame)| u64::from(frame.length)).sum();
        let mut body = central.pack(pack, group[0].1.offset, length).await.map_err(Ended::Central)?;
        let unsaid = Unsaid::new();
        for (piece, frame) in group {
            let key = Key::frame(frame.sha256);
            let draft = self.data.draft(key, u64::from(frame.length)).await.map_err(Ended::Cache)?;
            let mut inflow = Inflow::new(draft);
            while inflow.missing() > 0 {
                let Some(block) = body.next(inflow.missing()).await.map_err(Ended::Central)? else { break };
                inflow.write(&block).await.map_err(Ended::Cache)?;
                if let Some(bytes) = unsaid.add(block.len() as u64) {
                    self.say(What::Moved(bytes)).await;
                }
            }
            self.named().await?;
            self.naming = Some(self.name(*piece, inflow));
        }
        Ok(())
    }

    /// Syncs and names a whole frame beside the rest, then reports it.
    fn name(&self, piece: u32, inflow: Inflow<Draft>) -> JoinHandle<Result<(), Ended>> {
        let (reports, transfer) = (self.reports.clone(), self.transfer);
        tokio::spawn(async move {
            match inflow.finish().await {
                Ok(bytes) => {
                    let _ = reports.send(Report { transfer, what: What::Verified { piece, bytes } }).await;
                    Ok(())
                }
                Err(CacheError::Corrupt { .. }) => Err(Ended::Corrupt(piece)),
                Err(error) => Err(Ended::Cache(error)),
            }
        })
    }

    async fn named(&mut self) -> Result<(), Ended> {
        let Some(naming) = self.naming.take() else { return Ok(()) };
        naming.await.unwrap_or(Err(Ended::Cache(CacheError::Stopping)))
    }

    pub(super) async fn say(&self, what: What) {
        let _ = self.reports.send(Report { transfer: self.transfer, what }).await;
    }
}

fn adjoin(a: &Numbered, b: &Numbered) -> bool {
    a.1.pack == b.1.pack && a.1.offset.checked_add(u64::from(a.1.length)) == Some(b.1.offset)
}
