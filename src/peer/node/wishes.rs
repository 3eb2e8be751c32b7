//! Wanted and retained manifests: what is fetched, for whom, and what stays for late joiners.

use super::Node;
use super::answers::{Finished, advice, describe};
use crate::local::read_descriptor;
use crate::peer::cache::{CacheError, Key, Shelf};
use crate::peer::fetch::{Listing, ListingError};
use crate::peer::socket::{ClientId, Reply};
use crate::peer::transfer::Data;
use crate::peer::transfer::blob::{self, BlobError};
use bytes::Bytes;
use fullmetal_proto::wire::bundle::{BLOB_LEN_MAX, CHUNK_LEN};
use fullmetal_proto::wire::local::{CentralObject, Client, FromPeer};
use fullmetal_proto::wire::{BlobRef, cbor};
use fullmetal_proto::{Bitmap, Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// The cache's note of the manifests that stay.
const NOTE: &str = "kept";
const NOTE_LEN_MAX: usize = 4 << 20;
/// Manifests at once.
const MANIFESTS_MAX: usize = 256;
/// Before a manifest that could not be had is tried again.
const RETRY_MS: u64 = 10_000;
/// Between two tellings of a growing have-map.
const TELL_MS: u64 = 100;
/// Before the same trouble is told again.
const TROUBLE_MS: u64 = 30_000;

#[derive(Default)]
pub(super) struct Wishes {
    known: BTreeMap<Digest, Known>,
    retained: BTreeMap<Retainer, BTreeSet<Digest>>,
    tell_at: Option<Timestamp>,
    retry_at: Option<Timestamp>,
}

/// On whose word a manifest stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Retainer {
    /// What stayed in the run before, until a client says otherwise.
    Before,
    Agent,
    Gateway,
}

struct Known {
    blob: BlobRef,
    commit: Digest,
    listing: Option<Arc<Listing>>,
    /// What a gateway brought, until it is listed: central does not have it.
    offered: Option<Bytes>,
    loading: bool,
    needs: BTreeMap<ClientId, Bitmap>,
    /// Its clients have not heard of the newest have-map.
    untold: bool,
    trouble: Option<(String, Timestamp)>,
}

/// A manifest that was looked for.
pub(super) struct Loaded {
    manifest: Digest,
    outcome: Result<Listing, String>,
}

impl Wishes {
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.known.values().flat_map(|known| {
            let chunks = known.blob.pieces().into_iter().map(|(sha256, _)| Key::blob(sha256));
            let pieces = known.listing.iter().flat_map(|listing| listing.keys());
            chunks.chain(pieces)
        })
    }

    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.tell_at.into_iter().chain(self.retry_at).min()
    }

    fn is_retained(&self, manifest: &Digest) -> bool {
        self.retained.values().any(|set| set.contains(manifest))
    }
}

impl Node {
    /// Serves what an earlier run kept. Blocks for a moment, before the network is up.
    pub(super) fn restore_wishes(&mut self) -> Result<(), CacheError> {
        let note = self.data.cache.read_note(NOTE)?.unwrap_or_default();
        let kept: Vec<(BlobRef, Digest)> = cbor::from_slice(&note, NOTE_LEN_MAX).unwrap_or_default();
        let now = self.now();
        for (manifest, commit) in kept.into_iter().take(MANIFESTS_MAX) {
            if blob::check(&manifest).is_err() || !blob::missing(&self.data.cache, &manifest).is_empty() {
                continue;
            }
            match Listing::read(&self.data.cache, manifest.clone(), commit) {
                Ok(listing) => {
                    let digest = manifest.sha256;
                    self.wishes.retained.entry(Retainer::Before).or_default().insert(digest);
                    self.wishes.known.insert(digest, Known::new(manifest, commit));
                    self.listed(digest, listing, now);
                }
                Err(error) => warn!(manifest = %manifest.sha256.short(), %error, "kept manifest"),
            }
        }
        Ok(())
    }

    pub(super) fn want(&mut self, client: ClientId, manifest: BlobRef, commit: Digest, need: Bitmap, now: Timestamp) {
        let digest = manifest.sha256;
        if blob::check(&manifest).is_err() || self.is_full_for(&digest) {
            return self.clients.say(client, FromPeer::WantFailed { manifest: digest, reason: too_many() });
        }
        let known = self.wishes.known.entry(digest).or_insert_with(|| Known::new(manifest, commit));
        known.needs.insert(client, need);
        known.untold = true;
        match &known.listing {
            Some(_) => self.pursue(&digest, now),
            None => self.load(&digest),
        }
        self.note_kept();
    }

    /// A gateway has a manifest that central has not: it is kept, and others are helped with it.
    pub(super) fn offer(
        &mut self,
        client: ClientId,
        (manifest, commit): (BlobRef, Digest),
        descriptor: Option<OwnedFd>,
        now: Timestamp,
    ) {
        let digest = manifest.sha256;
        let bytes = descriptor.as_ref().map(|fd| read_descriptor(fd, BLOB_LEN_MAX));
        let (Some(Client::Gateway), Some(Ok(bytes))) = (self.clients.kind(client), bytes) else {
            return self.clients.close(client, "a manifest was offered without its bytes, or by no gateway");
        };
        if BlobRef::of(&bytes) != manifest {
            return self.clients.close(client, "a manifest was offered that is not what its name says");
        }
        if self.is_full_for(&digest) {
            return self.clients.say(client, FromPeer::WantFailed { manifest: digest, reason: too_many() });
        }
        let known = self.wishes.known.entry(digest).or_insert_with(|| Known::new(manifest.clone(), commit));
        if known.listing.is_none() {
            known.offered = Some(bytes.into());
        }
        self.want(client, manifest, commit, Bitmap::default(), now);
    }

    fn is_full_for(&self, manifest: &Digest) -> bool {
        self.wishes.known.len() >= MANIFESTS_MAX && !self.wishes.known.contains_key(manifest)
    }

    pub(super) fn unwant(&mut self, client: ClientId, manifest: &Digest, now: Timestamp) {
        if let Some(known) = self.wishes.known.get_mut(manifest) {
            known.needs.remove(&client);
            self.pursue(manifest, now);
            self.drop_loose(now);
        }
    }

    /// A client is gone: nothing is fetched for it, but what it wanted stays to be served.
    pub(super) fn forget_client(&mut self, client: ClientId, now: Timestamp) {
        let of_client = self.wishes.known.iter_mut().filter_map(|(d, k)| k.needs.remove(&client).map(|_| *d));
        let wanted: BTreeSet<Digest> = of_client.collect();
        self.wishes.retained.entry(Retainer::Before).or_default().extend(&wanted);
        wanted.iter().for_each(|manifest| self.pursue(manifest, now));
    }

    pub(super) fn retain(&mut self, client: ClientId, manifests: Vec<Digest>, now: Timestamp) {
        let retainer = match self.clients.kind(client) {
            Some(Client::Agent) => Retainer::Agent,
            Some(Client::Gateway) => Retainer::Gateway,
            _ => return,
        };
        self.wishes.retained.insert(retainer, manifests.into_iter().take(MANIFESTS_MAX).collect());
        self.wishes.retained.remove(&Retainer::Before);
        self.drop_loose(now);
        self.note_kept();
    }

    /// Forgets what nobody wants or retains.
    fn drop_loose(&mut self, now: Timestamp) {
        let loose =
            |(manifest, known): &(&Digest, &Known)| known.needs.is_empty() && !self.wishes.is_retained(manifest);
        let loose: Vec<Digest> = self.wishes.known.iter().filter(loose).map(|(manifest, _)| *manifest).collect();
        for manifest in &loose {
            self.wishes.known.remove(manifest);
            self.fetcher.unwant(manifest, now);
        }
        if !loose.is_empty() {
            self.keep();
            self.note_kept();
        }
    }

    fn note_kept(&self) {
        let kept: Vec<(&BlobRef, Digest)> = self.wishes.known.values().map(|k| (&k.blob, k.commit)).collect();
        self.notes.write(NOTE, cbor::to_vec(&kept));
        self.notes.flush_now();
    }

    fn load(&mut self, manifest: &Digest) {
        let Some(known) = self.wishes.known.get_mut(manifest) else { return };
        if std::mem::replace(&mut known.loading, true) {
            return;
        }
        let (data, blob, commit) = (self.data.clone(), known.blob.clone(), known.commit);
        let offered = known.offered.clone();
        self.answers.spawn(async move {
            let manifest = blob.sha256;
            let kept = match offered {
                Some(bytes) => keep_offered(&data, bytes).await,
                None => Ok(()),
            };
            let outcome = match kept {
                Ok(()) => listing(data, blob, commit).await,
                Err(error) => Err(error.to_string()),
            };
            Finished::Listing(Loaded { manifest, outcome })
        });
    }

    pub(super) fn on_listing(&mut self, Loaded { manifest, outcome }: Loaded) {
        let now = self.now();
        let Some(known) = self.wishes.known.get_mut(&manifest) else { return };
        known.loading = false;
        match outcome {
            Ok(listing) => self.listed(manifest, listing, now),
            Err(reason) => {
                self.wishes.retry_at.get_or_insert(now.after(Duration::from_millis(RETRY_MS)));
                self.want_failed(&manifest, &reason);
            }
        }
    }

    fn listed(&mut self, manifest: Digest, listing: Listing, now: Timestamp) {
        let Some(known) = self.wishes.known.get_mut(&manifest) else { return };
        known.offered = None;
        info!(commit = %listing.commit.short(), pieces = listing.pieces(), "manifest");
        known.listing = Some(Arc::new(listing));
        self.keep();
        self.pursue(&manifest, now);
    }

    /// Tells the swarm what is needed now.
    fn pursue(&mut self, manifest: &Digest, now: Timestamp) {
        let Some(known) = self.wishes.known.get_mut(manifest) else { return };
        let Some(listing) = known.listing.clone() else { return };
        let mut need = Bitmap::new(listing.pieces());
        let fits = |map: &Bitmap| [0, listing.pieces()].contains(&map.len());
        let misfits: Vec<ClientId> = known.needs.iter().filter(|(_, map)| !fits(map)).map(|(id, _)| *id).collect();
        misfits.iter().for_each(|id| drop(known.needs.remove(id)));
        known.needs.values().for_each(|map| need.union_with(map));
        for id in misfits {
            let reason = format!("the need-map does not fit the manifest's {} pieces", listing.pieces());
            self.clients.say(id, FromPeer::WantFailed { manifest: *manifest, reason });
        }
        self.fetcher.want(&listing, need, now);
        self.drain();
        self.tell_have(manifest);
    }

    pub(super) fn on_have(&mut self, manifest: Digest, complete: bool) {
        let now = self.now();
        let Some(known) = self.wishes.known.get_mut(&manifest) else { return };
        known.untold = true;
        if complete {
            self.tell_have(&manifest);
        } else {
            self.wishes.tell_at.get_or_insert(now.after(Duration::from_millis(TELL_MS)));
        }
    }

    fn tell_have(&mut self, manifest: &Digest) {
        let Some(state) = self.fetcher.state(manifest) else { return };
        let Some(known) = self.wishes.known.get_mut(manifest) else { return };
        if !std::mem::take(&mut known.untold) {
            return;
        }
        for client in known.needs.keys().copied().collect::<Vec<_>>() {
            let message = FromPeer::Have {
                manifest: *manifest,
                have: state.have.clone(),
                bytes_from_peers: state.bytes_from_peers,
                bytes_from_central: state.bytes_from_central,
            };
            self.clients.say(client, message);
        }
    }

    pub(super) fn want_failed(&mut self, manifest: &Digest, reason: &str) {
        let now = self.now();
        let Some(known) = self.wishes.known.get_mut(manifest) else { return };
        let again =
            |(told, at): &(String, Timestamp)| told == reason && now.since(*at) < Duration::from_millis(TROUBLE_MS);
        if known.trouble.as_ref().is_some_and(again) {
            return;
        }
        known.trouble = Some((reason.to_owned(), now));
        for client in known.needs.keys().copied().collect::<Vec<_>>() {
            self.clients.say(client, FromPeer::WantFailed { manifest: *manifest, reason: reason.to_owned() });
        }
    }

    pub(super) fn tend_wishes(&mut self, now: Timestamp) {
        if self.wishes.tell_at.is_some_and(|at| at <= now) {
            self.wishes.tell_at = None;
            let manifests: Vec<Digest> = self.wishes.known.keys().copied().collect();
            manifests.iter().for_each(|manifest| self.tell_have(manifest));
        }
        if self.wishes.retry_at.is_some_and(|at| at <= now) {
            self.wishes.retry_at = None;
            let unlisted = self.wishes.known.iter().filter(|(_, k)| k.listing.is_none()).map(|(d, _)| *d);
            let unlisted: Vec<Digest> = unlisted.collect();
            unlisted.iter().for_each(|manifest| self.load(manifest));
        }
    }

    pub(super) fn answer_frame(&mut self, client: ClientId, manifest: Digest, index: u32) {
        let listing = self.wishes.known.get(&manifest).and_then(|known| known.listing.clone());
        let key = listing.as_ref().and_then(|listing| listing.key(index));
        let length = listing.and_then(|listing| listing.length_in(&self.data.cache, index));
        let file = key.zip(length).and_then(|(key, length)| self.data.cache.open_read(key, length));
        if let (None, Some(key)) = (&file, key) {
            self.lost(&[key]);
        }
        self.clients.send(client, Reply::Message(FromPeer::Frame { manifest, index }, file.map(Into::into)));
    }

    /// The client found a rotten file.
    pub(super) fn on_corrupt(&mut self, sha256: Digest) {
        warn!(file = %sha256.short(), "the client found a cached file that is not what its name says");
        self.lost(&[Key::frame(sha256), Key::batch(sha256), Key::blob(sha256)]);
    }

    /// These files are not what they should be: they go, and what needs them is fetched again.
    pub(super) fn lost(&mut self, keys: &[Key]) {
        self.evict(keys);
        let now = self.now();
        let has = |known: &Known| known.listing.as_ref().is_some_and(|l| l.keys().any(|key| keys.contains(&key)));
        let hit: Vec<Digest> = self.wishes.known.iter().filter(|(_, known)| has(known)).map(|(d, _)| *d).collect();
        hit.iter().for_each(|manifest| self.pursue(manifest, now));
    }
}

impl Known {
    fn new(blob: BlobRef, commit: Digest) -> Self {
        let needs = BTreeMap::new();
        Known { blob, commit, listing: None, offered: None, loading: false, needs, untold: false, trouble: None }
    }
}

fn too_many() -> String {
    format!("the manifest's reference is not usable, or more than {MANIFESTS_MAX} are wanted")
}

/// Puts an offered manifest's chunks where neighbours find them.
async fn keep_offered(data: &Data, bytes: Bytes) -> Result<(), CacheError> {
    for start in (0..bytes.len()).step_by(CHUNK_LEN as usize) {
        let end = bytes.len().min(start + CHUNK_LEN as usize);
        data.put(Shelf::Blobs, bytes.slice(start..end)).await?;
    }
    Ok(())
}

/// Pulls the manifest if it is not here, and reads it.
async fn listing(data: Arc<Data>, manifest: BlobRef, commit: Digest) -> Result<Listing, String> {
    let object = CentralObject::Manifest(commit);
    if let Err(error) = blob::pull(&data, &manifest, Some(&object)).await {
        let missing = matches!(&error, BlobError::Central(e) if e.is_missing());
        let hint = if missing { advice(&object) } else { String::new() };
        return Err(format!("{}: {error}{hint}", describe(&object)));
    }
    let read = tokio::task::spawn_blocking(move || Listing::read(&data.cache, manifest, commit));
    let read = read.await.unwrap_or(Err(ListingError::Cache(CacheError::Stopping)));
    read.map_err(|error| format!("{}: {error}", describe(&CentralObject::Manifest(commit))))
}
