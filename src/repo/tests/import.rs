use super::super::{Import, ImportError, LibostreeStore, MemoryStore, ObjectStore, Objects, StoreError, installed};
use super::{Fixture, feed_all, frame, pack, packed};
use fullmetal_proto::wire::{Manifest, ObjectId, ObjectKind, Pieces};
use fullmetal_proto::{Bitmap, Digest};
use std::io::Read;
use std::path::Path;

/// So short that nearly every object crosses a frame.
const SHORT: usize = 5_000;

fn plan(manifest: &Manifest, store: &dyn Objects) -> Result<Import, StoreError> {
    Import::plan(&Pieces::Frames(manifest.clone()), store)
}

fn full(manifest: &Manifest) -> Bitmap {
    Bitmap::full(manifest.frames.len() as u32)
}

#[test]
fn all_frames_give_the_whole_commit_whatever_their_length() {
    let fixture = Fixture::new(1);
    for length in [SHORT, 64 << 10, 1 << 20, 8 << 20] {
        let (manifest, frames) = pack(&fixture, length);
        let mut store = MemoryStore::new();
        let mut import = plan(&manifest, &store).unwrap();
        assert!(import.needed().is_full());
        feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap();
        assert!(import.is_complete() && import.needed().is_empty());
        assert!(installed(&store, &fixture.commit).unwrap());
        let progress = import.progress();
        assert_eq!((progress.objects, progress.bytes), (progress.objects_total, progress.bytes_total));
        let again = plan(&manifest, &store).unwrap();
        assert!(again.is_complete() && again.next(&full(&manifest)).is_none());
    }
}

#[test]
fn frames_may_come_in_any_order() {
    let fixture = Fixture::new(1);
    let (manifest, frames) = pack(&fixture, 64 << 10);
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store).unwrap();
    let mut have = Bitmap::new(manifest.frames.len() as u32);
    for i in 0..have.len() {
        have.set(i * 7 % have.len());
        feed_all(&mut import, &mut store, &frames, &have).unwrap();
    }
    have.union_with(&full(&manifest));
    feed_all(&mut import, &mut store, &frames, &have).unwrap();
    assert!(import.is_complete());
}

#[test]
fn only_what_is_missing_is_fetched_for_the_next_release() {
    let (one, two) = (Fixture::new(1), Fixture::new(2));
    let mut store = MemoryStore::new();
    one.install(&mut store);
    let (manifest, frames) = pack(&two, 64 << 10);
    let mut import = plan(&manifest, &store).unwrap();
    let need = import.needed();
    assert!(need.count() < 4, "{} of {} frames", need.count(), manifest.frames.len());
    feed_all(&mut import, &mut store, &frames, &need).unwrap();
    assert!(import.is_complete());
}

#[test]
fn the_commit_object_is_the_last_and_metadata_comes_after_content() {
    let fixture = Fixture::new(1);
    let (manifest, frames) = pack(&fixture, SHORT);
    let mut store = Recorder::default();
    let mut import = plan(&manifest, &store).unwrap();
    feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap();
    let mut kinds: Vec<&str> = store.log.iter().map(String::as_str).collect();
    kinds.dedup();
    assert_eq!(kinds.first(), Some(&"File"));
    let first_tree = kinds.iter().position(|k| k.starts_with("Dir")).unwrap();
    assert!(!kinds[first_tree..].contains(&"File") && kinds[first_tree - 1] == "slice");
    assert_eq!(kinds[kinds.len() - 3..], ["slice", "Commit", "slice"]);
}

#[test]
fn a_flipped_frame_is_named_and_can_be_had_again() {
    let fixture = Fixture::new(1);
    let (manifest, mut frames) = pack(&fixture, 64 << 10);
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store).unwrap();
    frames[3][9] ^= 1;
    let error = feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap_err();
    assert!(matches!(error, ImportError::Frame { frame: 3, sha256 } if sha256 == manifest.frames[3].sha256), "{error}");
    assert!(!installed(&store, &fixture.commit).unwrap());
    frames[3][9] ^= 1;
    feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap();
    assert!(import.is_complete());
}

#[test]
fn a_flipped_object_in_a_well_hashed_frame_is_named() {
    let mut fixture = Fixture::new(1);
    let at = fixture.objects.len() - 1;
    let id = fixture.objects[at].0;
    let last = fixture.objects[at].1.len() - 1;
    fixture.objects[at].1[last] ^= 1;
    let (manifest, frames) = pack(&fixture, 64 << 10);
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store).unwrap();
    let error = feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap_err();
    assert!(
        matches!(&error, ImportError::Lie { object, source, .. } if *object == id && matches!(**source, StoreError::Corrupt { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(&id.to_string()));
    assert!(!installed(&store, &fixture.commit).unwrap());
}

#[test]
fn a_manifest_that_leaves_an_object_out_installs_nothing() {
    let fixture = Fixture::new(1);
    let (mut manifest, frames) = pack(&fixture, 64 << 10);
    let left_out = manifest.objects.pop().unwrap().id;
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store).unwrap();
    let error = feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap_err();
    let missing = |source: &StoreError| matches!(source, StoreError::Missing { object } if *object == left_out);
    assert!(matches!(&error, ImportError::Lie { source, .. } if missing(source)), "{error}");
    assert!(!installed(&store, &fixture.commit).unwrap());
}

#[test]
fn bombs_and_overlaps_are_lies() {
    let fixture = Fixture::new(1);
    let (mut manifest, mut frames) = pack(&fixture, 8 << 20);
    let have = full(&manifest);
    let mut overlap = manifest.clone();
    overlap.objects[9].offset -= 1;
    let mut store = MemoryStore::new();
    let mut import = plan(&overlap, &store).unwrap();
    let error = feed_all(&mut import, &mut store, &frames, &have).unwrap_err();
    assert!(matches!(error, ImportError::LieFrame { .. } | ImportError::Lie { .. }), "{error}");

    let raw_length = manifest.frames[0].raw_length as usize;
    frames[0] = zstd::bulk::compress(&vec![0; 512 << 20], 1).unwrap();
    manifest.frames[0] = frame(&frames[0], raw_length, 0);
    let mut import = plan(&manifest, &store).unwrap();
    let error = feed_all(&mut import, &mut store, &frames, &have).unwrap_err();
    assert!(matches!(error, ImportError::LieFrame { frame: 0, .. }), "{error}");
}

#[test]
fn the_readers_error_comes_through() {
    let fixture = Fixture::new(1);
    let (manifest, _) = pack(&fixture, SHORT);
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store).unwrap();
    let run = import.next(&full(&manifest)).unwrap();
    let error = import.feed(&mut store, run.clone(), &mut |_| Err("gone")).unwrap_err();
    assert!(matches!(error, ImportError::Read { piece, source: "gone" } if piece == *run.start()));
}

#[test]
fn a_store_that_fails_once_gets_the_same_objects_again() {
    let fixture = Fixture::new(1);
    let (manifest, frames) = pack(&fixture, 64 << 10);
    let content = fixture.objects.iter().filter(|(id, _)| id.kind == ObjectKind::File).count();
    let (content_slice, commit_slice) = (content + 1, fixture.objects.len() + 3);
    for fail_at in [3, content_slice, commit_slice] {
        let mut store = Recorder { fail_at: Some(fail_at), ..Recorder::default() };
        let mut import = plan(&manifest, &store).unwrap();
        let error = feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap_err();
        assert!(matches!(error, ImportError::Store(StoreError::Full { .. })), "{error}");
        feed_all(&mut import, &mut store, &frames, &full(&manifest)).unwrap();
        assert!(import.is_complete() && installed(&store, &fixture.commit).unwrap());
    }
}

#[test]
fn an_import_that_is_cut_anywhere_ends_whole_after_a_restart() {
    let fixture = Fixture::new(1);
    let (manifest, frames) = pack(&fixture, 256 << 10);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let mut whole = false;
    for steps in 1.. {
        let mut store = LibostreeStore::open_or_create(&path).unwrap();
        let mut import = plan(&manifest, &store).unwrap();
        for _ in 0..steps {
            let Some(run) = import.next(&full(&manifest)) else { break };
            import.feed(&mut store, run, &mut |f| Ok::<_, String>(packed(&frames[f as usize]))).unwrap();
        }
        whole = installed(&store, &fixture.commit).unwrap();
        drop((store, import));
        super::run("ostree", &["fsck", "--quiet", &format!("--repo={}", path.display())]);
        if whole {
            break;
        }
    }
    assert!(whole);
}

/// A memory store that keeps a log of kinds and slices, and fails once if told so.
#[derive(Default)]
struct Recorder {
    inner: MemoryStore,
    log: Vec<String>,
    calls: usize,
    fail_at: Option<usize>,
}

impl Recorder {
    fn step(&mut self, entry: String) -> Result<(), StoreError> {
        self.calls += 1;
        if self.fail_at == Some(self.calls) {
            self.inner = std::mem::take(&mut self.inner).without_slice();
            return Err(StoreError::Full { path: "disk".into(), why: "told so".into() });
        }
        self.log.push(entry);
        Ok(())
    }
}

impl Objects for Recorder {
    fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        self.inner.missing(ids)
    }

    fn write(&mut self, id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<(), StoreError> {
        self.step(format!("{:?}", id.kind))?;
        self.inner.write(id, length, stream)
    }

    fn commit_slice(&mut self) -> Result<(), StoreError> {
        self.step("slice".into())?;
        self.inner.commit_slice()
    }
}

impl ObjectStore for Recorder {
    fn checkout(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        self.inner.checkout(commit, into)
    }

    fn prune(&mut self, keep: &[Digest]) -> Result<u64, StoreError> {
        self.inner.prune(keep)
    }
}

trait WithoutSlice {
    fn without_slice(self) -> Self;
}

impl WithoutSlice for MemoryStore {
    /// A failed write drops the slice: provoke one.
    fn without_slice(mut self) -> Self {
        let id = ObjectId { kind: ObjectKind::Commit, checksum: Digest::of(b"") };
        assert!(self.write(&id, 1, &mut &b"x"[..]).is_err());
        self
    }
}
