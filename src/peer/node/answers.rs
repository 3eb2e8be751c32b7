//! What takes a while to answer: work of tasks that hand their outcome back to the node.

use super::wishes::Loaded;
use super::{Node, announcements, carrier};
use crate::local::sealed_descriptor;
use crate::peer::cache::{CacheError, Shelf};
use crate::peer::central::CentralError;
use crate::peer::socket::{ClientId, Reply};
use crate::peer::transfer::Data;
use crate::peer::transfer::blob::{BlobError, assemble, pull};
use bytes::Bytes;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::BlobRef;
use fullmetal_proto::wire::bundle::CHUNK_LEN;
use fullmetal_proto::wire::local::{CentralObject, FromPeer};
use std::fs::File;
use std::future::Future;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Outcomes that wait for the node.
pub(super) const FINISHED_MAX: usize = 64;

/// The outcome of a task.
pub(super) enum Finished {
    Announcement(announcements::Judged),
    Carried(carrier::Judged),
    Blob { client: ClientId, sha256: Digest, outcome: Result<OwnedFd, String> },
    Central { client: ClientId, object: CentralObject, outcome: Result<OwnedFd, CentralTrouble> },
    Listing(Loaded),
}

/// Why an object of central's cannot be handed over.
pub(super) struct CentralTrouble {
    missing: bool,
    reason: String,
}

/// Spawns such tasks.
pub(super) struct Answers {
    finished: mpsc::Sender<Finished>,
}

impl Answers {
    pub fn new(finished: mpsc::Sender<Finished>) -> Self {
        Answers { finished }
    }

    pub fn spawn(&self, task: impl Future<Output = Finished> + Send + 'static) {
        let finished = self.finished.clone();
        tokio::spawn(async move {
            let _ = finished.send(task.await).await;
        });
    }
}

impl Node {
    pub(super) fn on_finished(&mut self, finished: Finished) {
        match finished {
            Finished::Announcement(judged) => self.on_judged(judged),
            Finished::Carried(judged) => self.on_carried(judged),
            Finished::Listing(loaded) => self.on_listing(loaded),
            Finished::Blob { client, sha256, outcome } => match outcome {
                Ok(fd) => self.clients.send(client, Reply::Message(FromPeer::Blob { sha256 }, Some(fd))),
                Err(reason) => self.clients.say(client, FromPeer::BlobFailed { sha256, reason }),
            },
            Finished::Central { client, object, outcome } => match outcome {
                Ok(fd) => self.clients.send(client, Reply::Message(FromPeer::Central(object), Some(fd))),
                Err(CentralTrouble { missing, reason }) => {
                    self.clients.say(client, FromPeer::CentralFailed { object, missing, reason });
                }
            },
        }
        self.sync_soon();
    }

    pub(super) fn answer_blob(&mut self, client: ClientId, blob: BlobRef, central: CentralObject) {
        let data = self.data.clone();
        self.answers.spawn(async move {
            let sha256 = blob.sha256;
            let outcome = blob_behind_descriptor(data, blob, &central).await;
            let outcome = outcome.map_err(|e| format!("{}: {e}", describe(&central)));
            Finished::Blob { client, sha256, outcome }
        });
    }

    pub(super) fn answer_central(&mut self, client: ClientId, object: CentralObject) {
        let data = self.data.clone();
        self.answers.spawn(async move {
            let outcome = read_central(&data, &object).await;
            Finished::Central { client, object, outcome }
        });
    }
}

async fn blob_behind_descriptor(data: Arc<Data>, blob: BlobRef, central: &CentralObject) -> Result<OwnedFd, BlobError> {
    pull(&data, &blob, Some(central)).await?;
    let assembled = tokio::task::spawn_blocking(move || assemble(&data.cache, &blob)).await;
    match assembled.unwrap_or(Err(CacheError::Stopping))? {
        Some(file) => Ok(file.into()),
        None => Err(BlobError::Evicted),
    }
}

/// Reads a small object at central. All but refs also enter the cache chunk by chunk, so that the fleet gets
/// them from here.
async fn read_central(data: &Arc<Data>, object: &CentralObject) -> Result<OwnedFd, CentralTrouble> {
    let Some(central) = &data.central else {
        let reason = "this peer may not ask central (peer.origin, peer.central)".to_owned();
        return Err(CentralTrouble { missing: false, reason });
    };
    let of_central = |error: CentralError| {
        let missing = error.is_missing();
        let hint = if missing { advice(object) } else { String::new() };
        CentralTrouble { missing, reason: format!("{error}{hint}") }
    };
    let local = |error: &dyn std::fmt::Display| CentralTrouble { missing: false, reason: error.to_string() };
    let mut body = central.object(object).await.map_err(of_central)?;
    if let CentralObject::Ref(_) = object {
        let bytes = body.whole().await.map_err(of_central)?;
        return sealed_descriptor(&bytes).map_err(|e| local(&e));
    }
    let (mut writer, reader) = data.cache.scratch().map_err(|e| local(&e))?;
    let mut ended = false;
    while !ended {
        let mut chunk = Vec::new();
        while (chunk.len() as u64) < CHUNK_LEN {
            let Some(block) = body.next(CHUNK_LEN - chunk.len() as u64).await.map_err(of_central)? else {
                ended = true;
                break;
            };
            chunk.extend_from_slice(&block);
        }
        if !chunk.is_empty() {
            writer = keep_chunk(data, writer, chunk.into()).await.map_err(|e| local(&e))?;
        }
    }
    Ok(reader.into())
}

async fn keep_chunk(data: &Arc<Data>, mut writer: File, chunk: Bytes) -> Result<File, CacheError> {
    data.put(Shelf::Blobs, chunk.clone()).await?;
    let cache = data.cache.clone();
    let written = tokio::task::spawn_blocking(move || {
        writer.write_all(&chunk).map_err(|e| cache.scratch_error(e))?;
        Ok(writer)
    });
    written.await.unwrap_or(Err(CacheError::Stopping))
}

/// What a person calls it.
pub(super) fn describe(object: &CentralObject) -> String {
    match object {
        CentralObject::Ref(name) => format!("ref {name}"),
        CentralObject::Commit(commit) => format!("commit {commit}"),
        CentralObject::CommitMeta(commit) => format!("signatures of commit {commit}"),
        CentralObject::Manifest(commit) => format!("manifest of commit {commit}"),
        CentralObject::DirTree(tree) => format!("directory {tree}"),
    }
}

/// What to do when central does not have it.
pub(super) fn advice(object: &CentralObject) -> String {
    match object {
        CentralObject::Ref(name) => format!("; publish it with `fullmetal publish --ref {name} …`"),
        CentralObject::Commit(commit) | CentralObject::CommitMeta(commit) | CentralObject::Manifest(commit) => {
            format!("; publish it with `fullmetal publish --commit {commit}`")
        }
        CentralObject::DirTree(_) => "; check the repo there with `ostree fsck`".into(),
    }
}
