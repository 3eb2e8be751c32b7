//! From verified frames to objects in the store.

use super::{ObjectStore, StoreError};
use frames::FrameReader;
use fullmetal_proto::wire::{Frame, FrameStarts, Manifest, ObjectEntry, ObjectId, ObjectKind};
use fullmetal_proto::{Bitmap, Digest};
use std::io::Read;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

mod frames;

/// Content is committed after this many bytes of objects.
pub const SLICE_BYTES_MAX: u64 = 64 << 20;
/// Content is committed at the first object after this time.
pub const SLICE_AGE_MAX: Duration = Duration::from_secs(30);

/// Why frames could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError<E> {
    /// The frame could not be read.
    #[error("reading frame {frame}")]
    Read {
        /// Index in the manifest.
        frame: u32,
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

/// Imports a commit's missing objects from frames as they arrive: content first, in slices that are
/// committed on the way, then dirtrees and dirmetas, the commit object last.
///
/// It is idempotent: after a crash or an error make a new one (or go on with this one, after an error) and
/// what is already there is skipped. Loop: [`next`](Self::next) with the frames at hand, [`feed`](Self::feed) that run, until
/// [`is_complete`](Self::is_complete).
#[derive(Debug)]
pub struct Import {
    commit: Digest,
    frames: Vec<Frame>,
    starts: FrameStarts,
    /// What was missing, in the order of its bytes.
    wanted: Vec<Wanted>,
    progress: Progress,
    slice: Slice,
}

#[derive(Debug)]
struct Wanted {
    id: ObjectId,
    start: u64,
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
    /// An import of `missing`, which [`ObjectStore::missing`] answered for the manifest's objects.
    pub fn new(manifest: &Manifest, missing: &[ObjectId]) -> Self {
        let starts = manifest.starts();
        let mut missing = missing.to_vec();
        missing.sort_unstable();
        let mut wanted: Vec<Wanted> = manifest
            .objects
            .iter()
            .filter(|entry| missing.binary_search(&entry.id).is_ok())
            .map(|entry| Wanted::new(entry, &starts))
            .collect();
        wanted.sort_by_key(|w| w.start);
        let progress = Progress {
            objects_total: wanted.len() as u64,
            bytes_total: wanted.iter().map(|w| w.length).sum(),
            ..Progress::default()
        };
        let frames = manifest.frames.clone();
        Import { commit: manifest.commit, frames, starts, wanted, progress, slice: Slice::default() }
    }

    /// An import of what `store` lacks of the manifest's objects.
    pub fn plan(manifest: &Manifest, store: &dyn ObjectStore) -> Result<Self, StoreError> {
        let ids: Vec<ObjectId> = manifest.objects.iter().map(|o| o.id).collect();
        Ok(Self::new(manifest, &store.missing(&ids)?))
    }

    /// The frames that are still needed.
    pub fn needed(&self) -> Bitmap {
        let mut need = Bitmap::new(self.frames.len() as u32);
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

    /// A run of frames, all in `have`, with which objects can be completed now.
    pub fn next(&self, have: &Bitmap) -> Option<RangeInclusive<u32>> {
        let stage = self.stage()?;
        let ready = |w: &&Wanted| w.is_due(stage) && (w.first..=w.last).all(|frame| have.get(frame));
        self.wanted.iter().find(ready).map(|w| w.first..=w.last)
    }

    /// Reads the frames of `run`, which [`next`](Self::next) gave, checks them and writes the objects they complete.
    ///
    /// `read` gives a frame's compressed bytes; they are hashed here. After an error go on, or make a new import: what the store
    /// dropped is done again.
    pub fn feed<E>(
        &mut self,
        store: &mut dyn ObjectStore,
        run: RangeInclusive<u32>,
        read: &mut dyn FnMut(u32) -> Result<Vec<u8>, E>,
    ) -> Result<(), ImportError<E>> {
        let Some(stage) = self.stage() else { return Ok(()) };
        let fits = |w: &Wanted| w.is_due(stage) && run.contains(&w.first) && run.contains(&w.last);
        let due: Vec<usize> = (0..self.wanted.len()).filter(|i| fits(&self.wanted[*i])).collect();
        let frames = std::mem::take(&mut self.frames);
        let starts = std::mem::take(&mut self.starts);
        let mut reader = FrameReader::new(self.commit, &frames, &starts, run, read);
        let fed = due.into_iter().try_for_each(|i| self.write_one(store, i, &mut reader));
        (self.frames, self.starts) = (frames, starts);
        fed?;
        if self.stage() != Some(stage) {
            self.flush(store).map_err(ImportError::Store)?;
        }
        Ok(())
    }

    /// Commits what was written so far; for a caller who is about to wait long for the next frames.
    pub fn flush(&mut self, store: &mut dyn ObjectStore) -> Result<(), StoreError> {
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

    fn write_one<E>(
        &mut self,
        store: &mut dyn ObjectStore,
        index: usize,
        reader: &mut FrameReader<'_, E>,
    ) -> Result<(), ImportError<E>> {
        let Wanted { id, start, length, .. } = self.wanted[index];
        reader.skip_to(start)?;
        if let Err(error) = store.write(&id, length, &mut reader.by_ref().take(length)) {
            self.drop_slice();
            return Err(reader.failure().unwrap_or_else(|| self.explain(id, error)));
        }
        self.done(index);
        let old = self.slice.since.get_or_insert_with(Instant::now).elapsed() >= SLICE_AGE_MAX;
        if old || self.slice.bytes >= SLICE_BYTES_MAX {
            self.flush(store).map_err(ImportError::Store)?;
        }
        Ok(())
    }

    /// A well-hashed frame with a bad object is the manifest's fault, anything else the disk's.
    fn explain<E>(&self, object: ObjectId, source: StoreError) -> ImportError<E> {
        use StoreError::{Corrupt, Missing, Refused};
        match source {
            Corrupt { .. } | Refused { .. } | Missing { .. } => {
                ImportError::Lie { commit: self.commit, object, source: Box::new(source) }
            }
            source => ImportError::Store(source),
        }
    }

    fn stage(&self) -> Option<Stage> {
        self.wanted.iter().filter(|w| !w.done).map(|w| Stage::of(w.id.kind)).min()
    }

    fn done(&mut self, index: usize) {
        let wanted = &mut self.wanted[index];
        wanted.done = true;
        self.progress.objects += 1;
        self.progress.bytes += wanted.length;
        self.slice.bytes += wanted.length;
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
    fn new(entry: &ObjectEntry, starts: &FrameStarts) -> Self {
        let (first, last) = starts.frames_of(entry).into_inner();
        let start = starts.stream(entry).map_or(0, |(start, _)| start);
        Wanted { id: entry.id, start, length: entry.length, first, last, done: false }
    }

    fn is_due(&self, stage: Stage) -> bool {
        !self.done && Stage::of(self.id.kind) == stage
    }
}
