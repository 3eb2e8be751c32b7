//! What only the libostree store has: a repository that the real `ostree` finds clean.

use super::super::{LibostreeStore, ObjectStore as _, Objects as _, StoreError, installed};
use super::{Fixture, run};
use fullmetal_proto::wire::ObjectKind;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn fsck(repo: &Path) {
    run("ostree", &["fsck", &format!("--repo={}", repo.display())]);
}

#[test]
fn the_repository_is_clean_for_ostree_and_serves_the_commit_on() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    fixture.install(&mut store);
    fsck(&path);
    let option = format!("--repo={}", path.display());
    run("ostree", &["prune", &option, "--refs-only"]);
    assert!(installed(&store, &fixture.commit).unwrap(), "a keep ref holds it");
    assert_eq!(super::streams(&path, &fixture.commit), fixture.objects, "owner, mode and xattrs are kept");
    store.checkout(&fixture.commit, &dir.path().join("one")).unwrap();
    store.prune(&[fixture.commit]).unwrap();
    fsck(&path);
    fs::remove_dir_all(dir.path().join("one")).unwrap();
    fsck(&path);
}

#[test]
fn checked_out_files_are_hardlinks_and_empty_ones_are_not() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let mut store = LibostreeStore::open_or_create(&dir.path().join("repo")).unwrap();
    fixture.install(&mut store);
    for name in ["one", "two"] {
        store.checkout(&fixture.commit, &dir.path().join(name)).unwrap();
    }
    let links = |name: &str| fs::metadata(dir.path().join(name)).unwrap().nlink();
    assert_eq!((links("one/bin/tool"), links("two/big"), links("one/empty")), (3, 3, 1));
}

#[test]
fn what_was_not_committed_is_gone_after_a_restart_and_comes_back() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    fixture.write(&mut store, |kind| kind == ObjectKind::File).unwrap();
    let (tree, bytes) = fixture.one(ObjectKind::DirTree);
    store.write(&tree, bytes.len() as u64, &mut &*bytes).unwrap();
    drop(store);
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    let ids: Vec<_> = fixture.objects.iter().map(|(id, _)| *id).collect();
    let missing = store.missing(&ids).unwrap();
    assert!(missing.contains(&tree) && missing.iter().all(|id| id.kind != ObjectKind::File));
    fsck(&path);
    fixture.install(&mut store);
    fsck(&path);
}

#[test]
fn holes_that_fsck_cut_are_filled_by_installing_again() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    fixture.install(&mut store);
    let (id, _) = fixture.one(ObjectKind::File);
    let hex = id.checksum.to_string();
    let object = path.join(format!("objects/{}/{}.file", &hex[..2], &hex[2..]));
    fs::write(&object, "rot").unwrap();
    let _ = std::process::Command::new("ostree")
        .args(["fsck", "--delete", &format!("--repo={}", path.display())])
        .output()
        .unwrap();
    assert!(!installed(&store, &fixture.commit).unwrap(), "a commit with holes is not installed");
    assert_eq!(store.missing(&[id]).unwrap(), [id]);
    fixture.install(&mut store);
    assert!(installed(&store, &fixture.commit).unwrap());
    fsck(&path);
}

#[test]
fn a_full_disk_has_its_own_error() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    drop(LibostreeStore::open_or_create(&path).unwrap());
    let option = format!("--repo={}", path.display());
    run("ostree", &["config", &option, "set", "core.min-free-space-size", "900TB"]);
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    let full = fixture.write(&mut store, |kind| kind == ObjectKind::File).unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    let error = StoreError::io("writing", &path, std::io::Error::from_raw_os_error(28));
    assert!(matches!(error, StoreError::Full { .. }));
    run("ostree", &["config", &option, "set", "core.min-free-space-size", "1MB"]);
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    fixture.install(&mut store);
    fsck(&path);
}

#[test]
fn a_prune_writes_no_ref_that_is_there_since_a_full_disk_takes_none() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    fixture.install(&mut store);
    let inode = || fs::metadata(path.join("refs/heads/fullmetal/keep").join(fixture.commit.to_string())).unwrap().ino();
    let before = inode();
    store.prune(&[fixture.commit]).unwrap();
    assert_eq!(inode(), before, "it was written anew");
    fsck(&path);
}

#[test]
fn a_repository_of_another_mode_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run("ostree", &["init", "--mode=archive", &format!("--repo={}", dir.path().display())]);
    let refused = LibostreeStore::open_or_create(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Mode { .. }), "{refused}");
}

#[test]
fn an_empty_directory_becomes_a_repository_and_a_used_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    fs::create_dir(&path).unwrap();
    drop(LibostreeStore::open_or_create(&path).unwrap());
    drop(LibostreeStore::open_or_create(&path).unwrap());
    let used = dir.path().join("used");
    fs::create_dir_all(used.join("photos")).unwrap();
    let refused = LibostreeStore::open_or_create(&used).unwrap_err();
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    assert!(used.join("photos").exists());
}
