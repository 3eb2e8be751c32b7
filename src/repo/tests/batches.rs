use super::super::{Import, ImportError, LibostreeStore, MemoryStore, Objects, installed};
use super::{Fixture, feed_all, run};
use crate::batch::{BatchError, BatchWriter};
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::{Document as _, ObjectKind, Pieces, PlainManifest, PlainObject};
use std::io::Write as _;

/// The manifest that a gateway derives without sizes, and the batches as a peer packs them.
fn batches(fixture: &Fixture) -> (PlainManifest, Vec<Vec<u8>>) {
    let mut objects: Vec<PlainObject> =
        fixture.objects.iter().map(|(id, _)| PlainObject { id: *id, archived: 0, unpacked: 0, spare: false }).collect();
    objects.sort_by_key(|o| o.id);
    let manifest = PlainManifest::of(fixture.commit, objects, &[]);
    manifest.check().unwrap();
    let packed = (0..manifest.ends.len() as u32).map(|batch| pack(fixture, manifest.batch(batch))).collect();
    (manifest, packed)
}

fn pack(fixture: &Fixture, objects: &[PlainObject]) -> Vec<u8> {
    let mut writer = BatchWriter::new(Vec::new()).unwrap();
    for object in objects {
        let (_, stream) = fixture.objects.iter().find(|(id, _)| *id == object.id).unwrap();
        writer.object(stream.len() as u64).unwrap();
        writer.write_all(stream).unwrap();
    }
    writer.finish().unwrap()
}

fn full(manifest: &PlainManifest) -> Bitmap {
    Bitmap::full(manifest.ends.len() as u32)
}

fn plan(manifest: &PlainManifest, store: &dyn Objects) -> Import {
    Import::plan(&Pieces::Batches(manifest.clone()), store).unwrap()
}

#[test]
fn batches_give_the_whole_commit_to_libostree() {
    let fixture = Fixture::new(1);
    let (manifest, packed) = batches(&fixture);
    let path = fixture.dir.path().join("store");
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    let mut import = plan(&manifest, &store);
    assert!(import.needed().is_full());
    feed_all(&mut import, &mut store, &packed, &full(&manifest)).unwrap();
    assert!(import.is_complete() && installed(&store, &fixture.commit).unwrap());
    drop(store);
    run("ostree", &["fsck", "--quiet", &format!("--repo={}", path.display())]);
}

#[test]
fn of_the_next_release_only_the_batches_with_something_new_are_needed() {
    let (one, two) = (Fixture::new(1), Fixture::new(2));
    let mut store = MemoryStore::new();
    one.install(&mut store);
    let (manifest, packed) = batches(&two);
    let mut import = plan(&manifest, &store);
    let need = import.needed();
    let with_files = need.iter().filter(|b| manifest.batch(*b)[0].id.kind == ObjectKind::File).count();
    assert_eq!(with_files, 1, "one file changed");
    feed_all(&mut import, &mut store, &packed, &need).unwrap();
    assert!(import.is_complete());
}

#[test]
fn a_wrong_object_or_a_flipped_bit_makes_the_batch_corrupt_and_it_can_be_had_again() {
    let fixture = Fixture::new(1);
    let (manifest, good) = batches(&fixture);
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store);
    let mut wrong = good.clone();
    let others = BatchWriter::new(Vec::new()).and_then(|mut writer| {
        for _ in manifest.batch(0) {
            writer.object(3)?;
            writer.write_all(b"lie")?;
        }
        writer.finish()
    });
    wrong[0] = others.unwrap();
    let error = feed_all(&mut import, &mut store, &wrong, &full(&manifest)).unwrap_err();
    let id = manifest.id(0);
    assert!(
        matches!(&error, ImportError::Batch { batch: 0, id: i, why: BatchError::Object(_) } if *i == id),
        "{error}"
    );
    wrong[0] = good[0].clone();
    let middle = wrong[0].len() / 2;
    wrong[0][middle] ^= 1;
    let error = feed_all(&mut import, &mut store, &wrong, &full(&manifest)).unwrap_err();
    assert!(matches!(&error, ImportError::Batch { batch: 0, .. }), "{error}");
    assert!(!installed(&store, &fixture.commit).unwrap());
    feed_all(&mut import, &mut store, &good, &full(&manifest)).unwrap();
    assert!(import.is_complete() && installed(&store, &fixture.commit).unwrap());
}

#[test]
fn a_manifest_that_leaves_an_object_out_installs_nothing() {
    let fixture = Fixture::new(1);
    let (mut manifest, _) = batches(&fixture);
    manifest.objects.remove(0);
    let manifest = PlainManifest::of(manifest.commit, manifest.objects, &[]);
    let packed: Vec<Vec<u8>> =
        (0..manifest.ends.len() as u32).map(|batch| pack(&fixture, manifest.batch(batch))).collect();
    let mut store = MemoryStore::new();
    let mut import = plan(&manifest, &store);
    let error = feed_all(&mut import, &mut store, &packed, &full(&manifest)).unwrap_err();
    assert!(matches!(&error, ImportError::Unfit { .. }), "{error}");
    assert!(!installed(&store, &fixture.commit).unwrap());
}
