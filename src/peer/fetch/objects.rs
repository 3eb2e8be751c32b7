//! Batches from central: object by object, several at a time, unpacked, hashed and packed as batches.
//!
//! A `.filez` is one deflate stream that other repos may have packed otherwise; what is kept and sent on is the object's
//! own stream, which its checksum names.

use super::origin::{Ended, Fetching, Run};
use super::{MOVED_BYTES, What};
use crate::batch::{BatchWriter, packed_len_max};
use crate::peer::cache::{BatchDraft, Cache, CacheError, Key};
use crate::peer::central::Central;
use crate::peer::transfer::off_reactor;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectKind, PlainManifest, PlainObject};
use futures::stream::{self, StreamExt as _};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use unpacking::Unpacking;

mod unpacking;

/// Objects asked for at once; central answers each by itself, and a long line hides its round trips.
const OBJECTS_AT_ONCE: usize = 8;
/// Bytes that are gathered before they are unpacked and hashed.
const GATHER_LEN: usize = 256 << 10;

/// An object's verified stream.
pub(super) struct Object {
    length: u64,
    content: tempfile::SpooledTempFile,
    /// Bytes that came from central for it.
    came: u64,
}

/// Fetches the batches of `run` that are not in the cache.
pub(super) async fn fetch(
    fetching: &Fetching,
    central: &Central,
    (manifest, ids): (&PlainManifest, &[Digest]),
    run: &Run,
) -> Result<(), Ended> {
    let pieces = run.first..run.first.saturating_add(run.count);
    let mut wanted: Vec<(u32, PlainObject)> = Vec::new();
    for piece in pieces {
        let Some(id) = ids.get(piece as usize) else { break };
        if fetching.data.cache.length(Key::batch(*id)).is_some() {
            fetching.say(What::Verified { piece, bytes: 0 }).await;
        } else {
            wanted.extend(manifest.batch(piece).iter().map(|object| (piece, *object)));
        }
    }
    let unsaid = AtomicU64::new(0);
    let get = |(piece, object): (u32, PlainObject)| {
        let (unsaid, central) = (&unsaid, &central);
        async move { (piece, object, one(fetching, central, piece, &object, unsaid).await) }
    };
    let coming = stream::iter(wanted.iter().copied()).map(get).buffered(OBJECTS_AT_ONCE);
    let mut coming = std::pin::pin!(coming);
    let mut packing: Option<Packing> = None;
    while let Some((piece, object, got)) = coming.next().await {
        let got = got?;
        let mut batch = match packing.take() {
            Some(batch) => batch,
            None => Packing::start(&fetching.data.cache, ids[piece as usize]).await?,
        };
        batch = batch.add(fetching, got).await?;
        if manifest.batch(piece).last() == Some(&object) {
            let bytes = batch.came;
            batch.finish(&fetching.data.cache, manifest.batch(piece).to_vec(), piece).await?;
            fetching.say(What::Verified { piece, bytes }).await;
        } else {
            packing = Some(batch);
        }
    }
    Ok(())
}

/// One object, from the blobs at hand if it was read for the manifest, else from central.
async fn one(
    fetching: &Fetching,
    central: &Central,
    piece: u32,
    object: &PlainObject,
    unsaid: &AtomicU64,
) -> Result<Object, Ended> {
    let mut unpacking = Unpacking::of(object, &fetching.data.cache);
    if let Some(bytes) = at_hand(&fetching.data.cache, object) {
        return finish(unpacking, bytes, piece, 0).await;
    }
    let mut body = central.archived(&object.id).await.map_err(Ended::Central)?;
    let (mut came, mut gathered) = (0, Vec::new());
    while let Some(block) = body.next(u64::MAX).await.map_err(Ended::Central)? {
        came += block.len() as u64;
        gathered.extend_from_slice(&block);
        if gathered.len() >= GATHER_LEN {
            unpacking = unpack(unpacking, std::mem::take(&mut gathered), piece).await?;
        }
        let moved = unsaid.fetch_add(block.len() as u64, Ordering::Relaxed) + block.len() as u64;
        if moved >= MOVED_BYTES {
            fetching.say(What::Moved(unsaid.swap(0, Ordering::Relaxed))).await;
        }
    }
    finish(unpacking, gathered, piece, came).await
}

/// Metadata that this peer read for its gateway lies among the blobs, named as here: by its bytes.
fn at_hand(cache: &Cache, object: &PlainObject) -> Option<Vec<u8>> {
    if object.id.kind == ObjectKind::File {
        return None;
    }
    let key = Key::blob(object.id.checksum);
    let mut bytes = Vec::new();
    cache.open_read(key, cache.length(key)?)?.read_to_end(&mut bytes).ok()?;
    (Digest::of(&bytes) == object.id.checksum).then_some(bytes)
}

async fn unpack(mut unpacking: Unpacking, bytes: Vec<u8>, piece: u32) -> Result<Unpacking, Ended> {
    let unpacked = off_reactor(move || Ok(unpacking.write(&bytes).map(|()| unpacking)));
    unpacked.await.map_err(Ended::Cache)?.map_err(|e| e.ended(piece))
}

async fn finish(unpacking: Unpacking, rest: Vec<u8>, piece: u32, came: u64) -> Result<Object, Ended> {
    let finished = off_reactor(move || Ok(unpacking.finish(&rest)));
    let (length, content) = finished.await.map_err(Ended::Cache)?.map_err(|e| e.ended(piece))?;
    Ok(Object { length, content, came })
}

/// A batch that is being packed.
struct Packing {
    writer: BatchWriter<BatchDraft>,
    came: u64,
}

impl Packing {
    async fn start(cache: &Cache, id: Digest) -> Result<Self, Ended> {
        let cache = cache.clone();
        let started = off_reactor(move || {
            let mut draft = cache.create_batch(id)?;
            draft.reserve(packed_len_max(0))?;
            BatchWriter::new(draft).map_err(|e| cache.scratch_error(e))
        });
        Ok(Packing { writer: started.await.map_err(Ended::Cache)?, came: 0 })
    }

    async fn add(mut self, fetching: &Fetching, object: Object) -> Result<Self, Ended> {
        let room = packed_len_max(object.length + 8);
        fetching.data.reserve(self.writer.get_mut(), room).await.map_err(Ended::Cache)?;
        let cache = fetching.data.cache.clone();
        let Object { length, mut content, came } = object;
        let added = off_reactor(move || {
            let copied = content.seek(SeekFrom::Start(0)).and_then(|_| {
                self.writer.object(length)?;
                std::io::copy(&mut content, &mut self.writer)
            });
            copied.map_err(|e| cache.scratch_error(e))?;
            self.came += came;
            Ok(self)
        });
        added.await.map_err(Ended::Cache)
    }

    async fn finish(self, cache: &Cache, objects: Vec<PlainObject>, piece: u32) -> Result<(), Ended> {
        let cache = cache.clone();
        let finished = off_reactor(move || {
            let draft = self.writer.finish().map_err(|e| cache.scratch_error(e))?;
            draft.finish(&objects)
        });
        match finished.await {
            Ok(_) => Ok(()),
            Err(CacheError::Corrupt { .. }) => Err(Ended::Corrupt(piece)),
            Err(error) => Err(Ended::Cache(error)),
        }
    }
}
