//! What every object store must do.

use super::super::{LibostreeStore, MemoryStore, ObjectStore, Objects, StoreError, SystemStore, installed};
use super::{BIG_LEN, Fixture, noise};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{ContentHeader, OstreeError};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use ostree::glib::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[test]
fn the_memory_store_conforms() {
    conform(&|_| Box::new(MemoryStore::new()));
}

#[test]
fn the_libostree_store_conforms() {
    conform(&|dir| Box::new(LibostreeStore::open_or_create(&dir.join("var/repo")).unwrap()));
}

/// It writes files of other owners than its own.
#[test]
fn the_store_of_the_sysroot_conforms() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let one = Fixture::new(1);
    let scratch = tempfile::tempdir().unwrap();
    of_objects(&one, scratch.path(), &|dir| Box::new(SystemStore::open(&super::system::sysroot(dir)).unwrap()));
}

/// A test of an empty store with a fixture.
type OfObjects = fn(&mut dyn Objects, &Fixture);
/// A test of an empty store with two fixtures and a scratch directory.
type OfCheckouts = fn(&mut dyn ObjectStore, &Fixture, &Fixture, &Path);

fn conform(open: &dyn Fn(&Path) -> Box<dyn ObjectStore>) {
    let (one, two) = (Fixture::new(1), Fixture::new(2));
    let scratch = tempfile::tempdir().unwrap();
    of_objects(&one, scratch.path(), &|dir| open(dir));
    let bodies: [OfCheckouts; 2] = [a_checkout_is_the_tree_that_was_committed, a_prune_keeps_what_is_kept];
    for (i, body) in bodies.into_iter().enumerate() {
        let dir = scratch.path().join(format!("checkouts-{i}"));
        fs::create_dir(&dir).unwrap();
        body(&mut *open(&dir), &one, &two, &dir);
    }
}

fn of_objects(one: &Fixture, scratch: &Path, open: &dyn Fn(&Path) -> Box<dyn Objects>) {
    let bodies: [OfObjects; 4] = [
        objects_are_visible_after_the_slice_was_committed,
        bad_objects_are_refused_and_the_slice_dropped,
        hostile_objects_are_refused,
        a_commit_needs_everything_that_it_reaches,
    ];
    for (i, body) in bodies.into_iter().enumerate() {
        let dir = scratch.join(format!("objects-{i}"));
        fs::create_dir(&dir).unwrap();
        body(&mut *open(&dir), one);
    }
}

fn ids(fixture: &Fixture) -> Vec<ObjectId> {
    fixture.objects.iter().map(|(id, _)| *id).collect()
}

fn objects_are_visible_after_the_slice_was_committed(store: &mut dyn Objects, one: &Fixture) {
    assert_eq!(store.missing(&ids(one)).unwrap(), ids(one));
    store.commit_slice().unwrap();
    let (id, bytes) = one.one(ObjectKind::File);
    store.write(&id, bytes.len() as u64, &mut &*bytes).unwrap();
    assert_eq!(store.missing(&[id]).unwrap(), [id]);
    store.write(&id, bytes.len() as u64, &mut &*bytes).unwrap();
    store.commit_slice().unwrap();
    assert_eq!(store.missing(&[id]).unwrap(), []);
    store.write(&id, bytes.len() as u64, &mut std::io::empty()).unwrap();
    one.install(store);
    one.install(store);
    assert_eq!(store.missing(&ids(one)).unwrap(), []);
    assert!(installed(store, &one.commit).unwrap());
}

fn bad_objects_are_refused_and_the_slice_dropped(store: &mut dyn Objects, one: &Fixture) {
    let big = one.objects.iter().find(|(_, bytes)| bytes.len() > BIG_LEN).unwrap();
    let (good, good_bytes) = one.one(ObjectKind::DirMeta);
    for (id, bytes) in [&one.objects[0], &one.objects[1], big].into_iter().chain(one.objects.last()) {
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            store.write(&good, good_bytes.len() as u64, &mut &*good_bytes).unwrap();
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            let refused = store.write(id, flipped.len() as u64, &mut flipped.as_slice()).unwrap_err();
            let expected = matches!(&refused, StoreError::Corrupt { object, .. } | StoreError::Refused { object, .. } if object == id);
            assert!(expected, "{refused}");
            store.commit_slice().unwrap();
            assert_eq!(store.missing(&[*id, good]).unwrap(), [*id, good], "neither is visible");
        }
        let short = store.write(id, bytes.len() as u64, &mut &bytes[..bytes.len() - 1]);
        assert!(matches!(short, Err(StoreError::Corrupt { .. })), "{short:?}");
        let other_length = store.write(id, bytes.len() as u64 - 1, &mut bytes.as_slice());
        assert!(other_length.is_err());
    }
    one.install(store);
}

fn hostile_objects_are_refused(store: &mut dyn Objects, _: &Fixture) {
    let mut refuse = |kind, bytes: &[u8]| {
        let id = ObjectId { kind, checksum: Digest::of(bytes) };
        let refused = store.write(&id, bytes.len() as u64, &mut &*bytes).unwrap_err();
        store.commit_slice().unwrap();
        assert_eq!(store.missing(&[id]).unwrap(), [id]);
        match refused {
            StoreError::Refused { object, reason } if object == id => reason,
            other => panic!("{other}"),
        }
    };
    for name in ["..", ".", "", "a/b"] {
        let files = vec![(name, vec![1u8; 32])];
        let dirs: Vec<(&str, Vec<u8>, Vec<u8>)> = Vec::new();
        let tree = (files, dirs).to_variant();
        assert_eq!(refuse(ObjectKind::DirTree, tree.data()), OstreeError::Name(name.into()));
    }
    let head = |mode, target: Option<&str>| {
        ContentHeader { uid: 0, gid: 0, mode, target: target.map(str::to_owned), xattrs: vec![] }.build()
    };
    assert_eq!(refuse(ObjectKind::File, &head(0o020_666, None)), OstreeError::Mode(0o020_666));
    assert_eq!(refuse(ObjectKind::File, &head(0o060_666, None)), OstreeError::Mode(0o060_666));
    let long = [head(0o020_666, None), noise(BIG_LEN, 3)].concat();
    assert_eq!(refuse(ObjectKind::File, &long), OstreeError::Mode(0o020_666));
    let link = [head(0o120_777, Some("x")), vec![0]].concat();
    assert_eq!(refuse(ObjectKind::File, &link), OstreeError::Field("content of a symlink"));
    assert!(matches!(refuse(ObjectKind::DirMeta, &[0; 300_000]), OstreeError::TooLong { .. }));
    assert_eq!(refuse(ObjectKind::Commit, b"rubbish"), OstreeError::NotNormal);
}

fn a_commit_needs_everything_that_it_reaches(store: &mut dyn Objects, one: &Fixture) {
    let (commit, bytes) = one.one(ObjectKind::Commit);
    let refused = |store: &mut dyn Objects| match store.write(&commit, bytes.len() as u64, &mut &*bytes) {
        Err(StoreError::Missing { object }) => object.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(store), ObjectKind::DirTree);
    one.write(store, |kind| kind == ObjectKind::DirTree).unwrap();
    assert_eq!(refused(store), ObjectKind::File);
    one.write(store, |kind| kind == ObjectKind::File).unwrap();
    assert_eq!(refused(store), ObjectKind::DirMeta);
    assert!(!installed(store, &one.commit).unwrap());
    one.write(store, |kind| kind == ObjectKind::DirMeta).unwrap();
    one.write(store, |kind| kind == ObjectKind::Commit).unwrap();
    assert!(installed(store, &one.commit).unwrap());
}

fn a_checkout_is_the_tree_that_was_committed(store: &mut dyn ObjectStore, one: &Fixture, _: &Fixture, dir: &Path) {
    let (commit, _) = one.one(ObjectKind::Commit);
    one.write(store, |kind| kind != ObjectKind::Commit).unwrap();
    let lost = store.checkout(&one.commit, &dir.join("apps/web/x"));
    assert!(matches!(lost, Err(StoreError::Missing { object }) if object == commit));
    one.install(store);
    let into = dir.join("apps/web").join(one.commit.to_string());
    let left_over = dir.join("apps/web/.checkout-old/x");
    fs::create_dir_all(&left_over).unwrap();
    store.checkout(&one.commit, &into).unwrap();
    assert!(!left_over.exists(), "swept");
    super::run(
        "diff",
        &["-r", "--no-dereference", one.dir.path().join("tree").to_str().unwrap(), into.to_str().unwrap()],
    );
    let stat = |name: &str| fs::symlink_metadata(into.join(name)).unwrap();
    assert_eq!(stat("bin/tool").permissions().mode() & 0o7777, 0o755, "no setuid");
    assert_eq!(stat("bin/tool").uid(), stat(".").uid(), "ours, not the commit's owner");
    assert_eq!(fs::read_link(into.join("etc/link")).unwrap(), Path::new("../bin/tool"));
    let secret = into.join("etc/deep/er/secret");
    assert!(!super::run("getfattr", &["-d", secret.to_str().unwrap()]).contains("user.demo"), "no xattrs");
    fs::write(into.join("mark"), "").unwrap();
    store.checkout(&one.commit, &into).unwrap();
    assert!(into.join("mark").exists(), "nothing happens when it is there");
    let names: Vec<_> = fs::read_dir(dir.join("apps/web")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [one.commit.to_string().as_str()]);
}

fn a_prune_keeps_what_is_kept(store: &mut dyn ObjectStore, one: &Fixture, two: &Fixture, dir: &Path) {
    one.install(store);
    two.install(store);
    assert!(installed(store, &one.commit).unwrap() && installed(store, &two.commit).unwrap());
    assert_eq!(store.prune(&[one.commit, two.commit]).unwrap(), 0);
    assert!(store.prune(&[two.commit, Digest::of(b"unknown")]).unwrap() > 0);
    assert!(!installed(store, &one.commit).unwrap());
    assert!(installed(store, &two.commit).unwrap());
    assert_eq!(store.missing(&ids(two)).unwrap(), []);
    assert!(!store.missing(&ids(one)).unwrap().is_empty());
    store.checkout(&two.commit, &dir.join("two")).unwrap();
    one.install(store);
    store.checkout(&one.commit, &dir.join("one")).unwrap();
    store.prune(&[]).unwrap();
    assert_eq!(store.missing(&ids(one)).unwrap(), ids(one));
}
