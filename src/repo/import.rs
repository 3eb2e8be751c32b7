//! From pieces to objects in the store.

use super::{Objects, StoreError};
use crate::batch::BatchError;
use fullmetal_proto::wire::{Manifest, ObjectId, ObjectKind, Pieces, PlainManifest};
use fullmetal_proto::{Bitmap, Digest};
use source::Source;
use std::io::{Cursor, Read};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

mod batches;
mod frames;
mod source;

/// Content is committed after this many bytes of objects.
pub const SLICE_BYTES_MAX: u64 = 64 << 20;
/// Content is committed at the first object after this time.
pub const SLICE_AGE_MAX: Duration = Duration::from_secs(30);

/// A piece as it is packed.
pub enum Packed {
    /// All its bytes.
    Bytes(Vec<u8>),
    /// A reader of them, and how many they are.
    Stream(Box<dyn Read>, u64),
}

impl Packed {
    /// All bytes; none unless they are `length` of them.
    fn bytes(self, length: u32) -> Option<Vec<u8>> {
        let bytes = match self {
            Packed::Bytes(bytes) => bytes,
            Packed::Stream(stream, _) => {
                let mut bytes = Vec::with_capacity(length as usize);
                stream.take(u64::from(length)).read_to_end(&mut bytes).ok()?;
                bytes
            }
        };
        (bytes.len() == length as usize).then_some(bytes)
    }

    /// A reader of the bytes, and how many they are.
    fn stream(self) -> (Box<dyn Read>, u64) {
        match self {
            Packed::Bytes(bytes) => {
                let length = bytes.len() as u64;
                (Box::new(Cursor::new(bytes)), length)
            }
            Packed::Stream(stream, length) => (stream, length),
        }
    }
}

/// Why pieces could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError<E> {
    /// The piece could not be read.
    #[error("reading piece {piece}")]
    Read {
        /// Index in the manifest.
        piece: u32,
        /// The reader's error.
        #[source]
        source: E,
    },
    /// The bytes are not the frame: tell the peer, whose cache is wrong, and fetch again.
    #[error("frame {frame} is corrupt: its bytes do not hash to {sha256}")]
    Frame {
        /// Index in the manifest.
        frame: u32,
        /// What they should hash to.
        sha256: Digest,
    },
    /// The bytes are not the batch: tell the peer, whose cache is wrong, and fetch again.
    #[error("batch {batch} is corrupt: {why}")]
    Batch {
        /// Index in the manifest.
        batch: u32,
        /// What names it.
        id: Digest,
        /// What was found.
        why: BatchError,
    },
    /// The frame is what the manifest names, but what is inside is not what the manifest says.
    #[error(
        "the manifest of {commit} lies about object {object}; remove the manifest at central and make it anew with `fullmetal publish --commit`"
    )]
    Lie {
        /// The manifest's commit.
        commit: Digest,
        /// The object that cannot be had from it.
        object: ObjectId,
        /// What was found.
        #[source]
        source: Box<StoreError>,
    },
    /// The frame is what the manifest names, but does not decompress to what the manifest says.
    #[error(
        "the manifest of {commit} lies about frame {frame}: {why}; remove the manifest at central and make it anew with `fullmetal publish --commit`"
    )]
    LieFrame {
        /// The manifest's commit.
        commit: Digest,
        /// Index in the manifest.
        frame: u32,
        /// What was found.
        why: String,
    },
    /// A plain repo's commit is not one that a device takes, or its manifest does not name all of it.
    #[error("commit {commit} cannot be installed: object {object}")]
    Unfit {
        /// The commit.
        commit: Digest,
        /// The object that cannot be had, or taken.
        object: ObjectId,
        /// What was found.
        #[source]
        source: Box<StoreError>,
    },
    /// The store failed: the disk, not the data.
    #[error(transparent)]
    Store(StoreError),
}

/// How far an import is, counted in object streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects in the store or in its current slice.
    pub objects: u64,
    /// Objects that were missing when the import began.
    pub objects_total: u64,
    /// Bytes of those objects.
    pub bytes: u64,
    /// Bytes that were missing.
    pub bytes_total: u64,
}

/// Imports a commit's missing objects from frames or batches as they arrive: content first, in slices that are
/// committed on the way, then dirtrees and dirmetas, the commit object last.
///
/// It is idempotent: after a crash or an error make a new one (or go on with this one, after an error) and
/// what is already there is skipped. Loop: [`next`](Self::next) with the pieces at hand, [`feed`](Self::feed) that run, until
/// [`is_complete`](Self::is_complete).
#[derive(Debug)]
pub struct Import {
    commit: Digest,
    source: Source,
    /// What was missing, in the order of its bytes.
    wanted: Vec<Wanted>,
    progress: Progress,
    slice: Slice,
}

#[derive(Debug)]
struct Wanted {
    id: ObjectId,
    /// Where its stream starts among all frames' raw bytes, or its number in a plain manifest.
    start: u64,
    /// Bytes; of an object of a batch what was said of it.
    length: u64,
    first: u32,
    last: u32,
    done: bool,
}

/// Objects written since the store's last commit.
#[derive(Debug, Default)]
struct Slice {
    objects: Vec<usize>,
    bytes: u64,
    since: Option<Instant>,
}

/// The order in which kinds enter the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Content,
    Metadata,
    Commit,
}

impl Stage {
    fn of(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::File => Stage::Content,
            ObjectKind::DirTree | ObjectKind::DirMeta => Stage::Metadata,
            ObjectKind::Commit => Stage::Commit,
        }
    }
}

impl Import {
    /// An import of `missing`, which [`Objects::missing`] answered for the manifest's objects.
    pub fn new(pieces: &Pieces, missing: &[ObjectId]) -> Self {
        let mut missing = missing.to_vec();
        missing.sort_unstable();
        let is_missing = |id: &ObjectId| missing.binary_search(id).is_ok();
        let mut wanted = match pieces {
            Pieces::Frames(manifest) => Wanted::in_frames(manifest, is_missing),
            Pieces::Batches(manifest) => Wanted::in_batches(manifest, is_missing),
        };
        wanted.sort_by_key(|w| w.start);
        let progress = Progress {
            objects_total: wanted.len() as u64,
            bytes_total: wanted.iter().map(|w| w.length).sum(),
            ..Progress::default()
        };
        Import { commit: pieces.commit(), source: Source::of(pieces), wanted, progress, slice: Slice::default() }
    }

    /// An import of what `store` lacks of the manifest's objects.
    pub fn plan(pieces: &Pieces, store: &dyn Objects) -> Result<Self, StoreError> {
        let ids: Vec<ObjectId> = pieces.objects().into_iter().map(|(id, _)| id).collect();
        Ok(Self::new(pieces, &store.missing(&ids)?))
    }

    /// The pieces that are still needed.
    pub fn needed(&self) -> Bitmap {
        let mut need = Bitmap::new(self.source.count());
        let mut from = 0;
        for wanted in self.wanted.iter().filter(|w| !w.done) {
            for frame in wanted.first.max(from)..=wanted.last {
                need.set(frame);
            }
            from = from.max(wanted.last);
        }
        need
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether everything, the commit object too, is in the store and durable.
    pub fn is_complete(&self) -> bool {
        self.slice.objects.is_empty() && self.wanted.iter().all(|w| w.done)
    }

    /// A run of pieces, all in `have`, with which objects can be completed now.
    pub fn next(&self, have: &Bitmap) -> Option<RangeInclusive<u32>> {
        let stage = self.stage()?;
        let ready = |w: &&Wanted| w.is_due(stage) && (w.first..=w.last).all(|frame| have.get(frame));
        self.wanted.iter().find(ready).map(|w| w.first..=w.last)
    }

    /// Reads the pieces of `run`, which [`next`](Self::next) gave, checks them and writes the objects they complete.
    ///
    /// `read` gives a piece's bytes as packed; what is used is hashed here. After an error go on, or make a new import: what
    /// the store dropped is done again.
    pub fn feed<E>(
        &mut self,
        store: &mut dyn Objects,
        run: RangeInclusive<u32>,
        read: &mut dyn FnMut(u32) -> Result<Packed, E>,
    ) -> Result<(), ImportError<E>> {
        let Some(stage) = self.stage() else { return Ok(()) };
        let fits = |w: &Wanted| w.is_due(stage) && run.contains(&w.first) && run.contains(&w.last);
        let due: Vec<usize> = (0..self.wanted.len()).filter(|i| fits(&self.wanted[*i])).collect();
        let source = std::mem::take(&mut self.source);
        let fed = match &source {
            Source::Frames(frames, starts) => self.feed_frames(store, (frames, starts), run, &due, read),
            Source::Batches(manifest) => self.feed_batches(store, manifest, run, &due, read),
        };
        self.source = source;
        fed?;
        if self.stage() != Some(stage) {
            self.flush(store).map_err(ImportError::Store)?;
        }
        Ok(())
    }

    /// Commits what was written so far; for a caller who is about to wait long for the next frames.
    pub fn flush(&mut self, store: &mut dyn Objects) -> Result<(), StoreError> {
        if self.slice.objects.is_empty() {
            return Ok(());
        }
        let committed = store.commit_slice();
        match &committed {
            Ok(()) => self.slice = Slice::default(),
            Err(_) => self.drop_slice(),
        }
        committed
    }

    /// The object is in the slice, which is committed when it has become large or old.
    fn written<E>(&mut self, store: &mut dyn Objects, index: usize, length: u64) -> Result<(), ImportError<E>> {
        self.done(index, length);
        let old = self.slice.since.get_or_insert_with(Instant::now).elapsed() >= SLICE_AGE_MAX;
        if old || self.slice.bytes >= SLICE_BYTES_MAX {
            self.flush(store).map_err(ImportError::Store)?;
        }
        Ok(())
    }

    fn stage(&self) -> Option<Stage> {
        self.wanted.iter().filter(|w| !w.done).map(|w| Stage::of(w.id.kind)).min()
    }

    fn done(&mut self, index: usize, length: u64) {
        let wanted = &mut self.wanted[index];
        wanted.done = true;
        self.progress.objects += 1;
        self.progress.bytes += wanted.length;
        self.slice.bytes += length;
        self.slice.objects.push(index);
    }

    /// The store dropped its slice: those objects are to be done again.
    fn drop_slice(&mut self) {
        for index in std::mem::take(&mut self.slice).objects {
            let wanted = &mut self.wanted[index];
            wanted.done = false;
            self.progress.objects -= 1;
            self.progress.bytes -= wanted.length;
        }
    }
}

impl Wanted {
    fn in_frames(manifest: &Manifest, is_missing: impl Fn(&ObjectId) -> bool) -> Vec<Self> {
        let starts = manifest.starts();
        let missing = manifest.objects.iter().filter(|entry| is_missing(&entry.id));
        let wanted = missing.map(|entry| {
            let (first, last) = starts.frames_of(entry).into_inner();
            let start = starts.stream(entry).map_or(0, |(start, _)| start);
            Wanted { id: entry.id, start, length: entry.length, first, last, done: false }
        });
        wanted.collect()
    }

    fn in_batches(manifest: &PlainManifest, is_missing: impl Fn(&ObjectId) -> bool) -> Vec<Self> {
        let mut wanted = Vec::new();
        for batch in 0..manifest.ends.len() as u32 {
            for (object, number) in manifest.batch(batch).iter().zip(manifest.range(batch)) {
                if !object.spare && is_missing(&object.id) {
                    let (id, start, length) = (object.id, number as u64, object.unpacked);
                    wanted.push(Wanted { id, start, length, first: batch, last: batch, done: false });
                }
            }
        }
        wanted
    }

    fn is_due(&self, stage: Stage) -> bool {
        !self.done && Stage::of(self.id.kind) == stage
    }
}
