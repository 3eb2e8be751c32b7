//! Batches from central: object by object, several at a time, unpacked, hashed and packed as batches.
//!
//! A `.filez` is one deflate stream that other repos may have packed otherwise; what is kept and sent on is the object's
//! own stream, which its checksum names.

use super::What;
use super::origin::{Ended, Fetching, Run};
use super::unsaid::Unsaid;
use crate::peer::cache::{Cache, CacheError, Key};
use crate::peer::central::{Body, Central};
use crate::peer::transfer::{Worked, off_reactor};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectKind, PlainManifest, PlainObject};
use futures::stream::{self, StreamExt as _};
use packing::Packing;
use std::io::Read as _;
use unpacking::{UnpackError, Unpacking};

mod packing;
mod unpacking;

/// Objects asked for at once; central answers each by itself, and a long line hides its round trips.
const OBJECTS_AT_ONCE: usize = 8;
/// Bytes that are gathered before they are unpacked and hashed.
const GATHER_LEN: usize = 16 << 10;
/// Objects up to this length come whole beside each other; a longer one is packed as it comes, alone.
const WHOLE_LEN_MAX: u64 = 512 << 10;

/// An object, or its beginning.
struct Coming {
    unpacking: Unpacking,
    /// What is still to come of a long one.
    body: Option<Body>,
    /// Bytes that came from central for it so far.
    came: u64,
}

/// Fetches the batches of `run` that are not in the cache.
pub(super) async fn fetch(
    fetching: &Fetching,
    central: &Central,
    (manifest, ids): (&PlainManifest, &[Digest]),
    run: &Run,
) -> Result<(), Ended> {
    let mut wanted: Vec<(u32, PlainObject)> = Vec::new();
    for piece in run.first..run.first.saturating_add(run.count) {
        let Some(id) = ids.get(piece as usize) else { break };
        if fetching.data.cache.length(Key::batch(*id)).is_some() {
            fetching.say(What::Verified { piece, bytes: 0 }).await;
        } else {
            wanted.extend(manifest.batch(piece).iter().map(|object| (piece, *object)));
        }
    }
    let getting = &Getting { fetching, central, unsaid: Unsaid::new() };
    let get = |(piece, object): (u32, PlainObject)| async move { (piece, object, getting.begin(&object).await) };
    let coming = stream::iter(wanted.iter().copied()).map(get).buffered(OBJECTS_AT_ONCE);
    let mut coming = std::pin::pin!(coming);
    let mut packing: Option<Packing> = None;
    while let Some((piece, object, begun)) = coming.next().await {
        let begun = begun.map_err(|stop| stop.ended(piece, &object))?;
        let batch = match packing.take() {
            Some(batch) => batch,
            None => Packing::start(&fetching.data, ids[piece as usize]).await.map_err(Ended::Cache)?,
        };
        let batch = getting.pack(batch, begun).await.map_err(|stop| stop.ended(piece, &object))?;
        if manifest.batch(piece).last() != Some(&object) {
            packing = Some(batch);
            continue;
        }
        let bytes = batch.came;
        let objects = manifest.batch(piece).to_vec();
        getting.while_working(batch.worked.clone(), batch.finish(objects, piece)).await?;
        fetching.say(What::Verified { piece, bytes }).await;
    }
    Ok(())
}

/// Why an object did not come.
enum Stop {
    Ended(Ended),
    Unpack(UnpackError),
}

impl Stop {
    fn ended(self, piece: u32, object: &PlainObject) -> Ended {
        match self {
            Stop::Ended(ended) => ended,
            Stop::Unpack(UnpackError::Wrong) => Ended::Corrupt(piece),
            Stop::Unpack(UnpackError::Refused(why)) => Ended::Refused(object.id, why),
        }
    }
}

impl From<CacheError> for Stop {
    fn from(error: CacheError) -> Self {
        Stop::Ended(Ended::Cache(error))
    }
}

impl From<UnpackError> for Stop {
    fn from(error: UnpackError) -> Self {
        Stop::Unpack(error)
    }
}

struct Getting<'a> {
    fetching: &'a Fetching,
    central: &'a Central,
    unsaid: Unsaid,
}

impl Getting<'_> {
    /// One object, from the blobs at hand if it was read for the manifest, else from central; of a long one the beginning.
    async fn begin(&self, object: &PlainObject) -> Result<Coming, Stop> {
        let cache = &self.fetching.data.cache;
        let mut unpacking = Unpacking::of(object);
        if let Some(bytes) = at_hand(cache, object) {
            unpacking = unpack(unpacking, bytes).await?;
            return Ok(Coming { unpacking, body: None, came: 0 });
        }
        let body = self.central.archived(&object.id).await.map_err(|e| Stop::Ended(Ended::Central(e)))?;
        let mut coming = Coming { unpacking, body: Some(body), came: 0 };
        while coming.body.is_some() && !coming.unpacking.is_longer_than(WHOLE_LEN_MAX) {
            coming = self.next(coming).await?;
        }
        self.moved(self.unsaid.take()).await;
        Ok(coming)
    }

    /// Takes in the next of what comes; the body goes with its end.
    async fn next(&self, mut coming: Coming) -> Result<Coming, Stop> {
        let Some(mut body) = coming.body.take() else { return Ok(coming) };
        let mut gathered = Vec::new();
        while gathered.len() < GATHER_LEN {
            let Some(block) = body.next(GATHER_LEN as u64).await.map_err(|e| Stop::Ended(Ended::Central(e)))? else {
                coming.unpacking = unpack(coming.unpacking, gathered).await?;
                return Ok(coming);
            };
            coming.came += block.len() as u64;
            gathered.extend_from_slice(&block);
            self.moved(self.unsaid.add(block.len() as u64)).await;
        }
        coming.unpacking = unpack(coming.unpacking, gathered).await?;
        coming.body = Some(body);
        Ok(coming)
    }

    /// Packs an object, to its end.
    async fn pack(&self, mut batch: Packing, mut coming: Coming) -> Result<Packing, Stop> {
        let Some(length) = coming.unpacking.length() else { return Err(UnpackError::Wrong.into()) };
        batch.begin(length).await?;
        loop {
            let worked = batch.worked.clone();
            let stream = coming.unpacking.take();
            batch = self.while_working(worked, batch.add(stream)).await?;
            if coming.body.is_none() {
                coming.unpacking.finish()?;
                batch.came += coming.came;
                return Ok(batch);
            }
            coming = self.next(coming).await?;
        }
    }

    async fn moved(&self, unsaid: Option<u64>) {
        if let Some(bytes) = unsaid {
            self.fetching.say(What::Moved(bytes)).await;
        }
    }

    /// Long work on what has come is progress too: others need not take over.
    async fn while_working<T>(&self, worked: Worked, work: impl Future<Output = T>) -> T {
        worked.told(work, |bytes| self.fetching.say(What::Moved(bytes))).await
    }
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

async fn unpack(mut unpacking: Unpacking, bytes: Vec<u8>) -> Result<Unpacking, Stop> {
    let unpacked = off_reactor(move || Ok(unpacking.write(&bytes).map(|()| unpacking)));
    Ok(unpacked.await??)
}
