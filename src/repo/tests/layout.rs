//! How objects lie in a repository: as libostree lays them there itself.

use super::super::{LibostreeStore, SystemStore};
use super::{Fixture, run, sysroot, system};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What there is to see of a file: type and mode, owner, group, time of modification; bytes or target; attributes.
type Seen = ((u32, u32, u32, i64), Vec<u8>, String);

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { files(&path, into) } else { into.push(path) }
    }
}

fn objects(repo: &Path) -> BTreeMap<PathBuf, Seen> {
    let (root, mut paths) = (repo.join("objects"), Vec::new());
    files(&root, &mut paths);
    let seen = |path: &PathBuf| {
        let stat = fs::symlink_metadata(path).unwrap();
        let link = fs::read_link(path).map(|target| target.into_os_string().into_encoded_bytes());
        let bytes = link.unwrap_or_else(|_| fs::read(path).unwrap());
        let attributes =
            run("getfattr", &["-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", path.to_str().unwrap()]);
        let attributes = attributes.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        // Links and metadata have the time of their making.
        let is_file = path.extension().is_some_and(|e| e == "file") && !stat.is_symlink();
        let time = if is_file { stat.mtime() } else { 0 };
        ((stat.mode(), stat.uid(), stat.gid(), time), bytes, attributes)
    };
    paths.iter().map(|path| (path.strip_prefix(&root).unwrap().to_owned(), seen(path))).collect()
}

/// Of the fixture, as `ostree pull-local` lays it there.
fn by_libostree(fixture: &Fixture, mode: &str) -> BTreeMap<PathBuf, Seen> {
    let dir = tempfile::tempdir().unwrap();
    let option = format!("--repo={}", dir.path().display());
    run("ostree", &["init", &option, &format!("--mode={mode}")]);
    let from = fixture.dir.path().join("repo");
    run("ostree", &["pull-local", &option, from.to_str().unwrap(), &fixture.commit.to_string()]);
    objects(dir.path())
}

fn assert_same(ours: &BTreeMap<PathBuf, Seen>, theirs: &BTreeMap<PathBuf, Seen>) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (path, seen) in theirs {
        let same = ours[path] == *seen;
        assert!(same, "{}: {:?} {} instead of {:?} {}", path.display(), ours[path].0, ours[path].2, seen.0, seen.2);
    }
}

#[test]
fn an_app_lies_there_as_libostree_lays_it() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    fixture.install(&mut LibostreeStore::open_or_create(&path).unwrap());
    assert_same(&objects(&path), &by_libostree(&fixture, "bare-user"));
    assert!(!path.join("tmp/fullmetal-slice").exists(), "nothing is left beside");
}

#[test]
fn an_operating_system_lies_there_as_libostree_lays_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (fixture, dir) = (system(), tempfile::tempdir().unwrap());
    let repo = sysroot(dir.path());
    fixture.install(&mut SystemStore::open(&repo).unwrap());
    assert_same(&objects(&repo), &by_libostree(&fixture, "bare"));
}

#[test]
fn what_a_crash_left_of_a_slice_is_gone_before_it_is_measured_how_much_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let left = |repo: &Path| {
        fs::create_dir_all(repo.join("tmp/fullmetal-slice")).unwrap();
        fs::write(repo.join("tmp/fullmetal-slice/torn.file"), "half").unwrap();
    };
    drop(LibostreeStore::open_or_create(&path).unwrap());
    left(&path);
    drop(LibostreeStore::open_or_create(&path).unwrap());
    assert!(path.join("tmp/fullmetal-slice").exists(), "whoever only reads leaves it to who writes");
    drop(LibostreeStore::open_to_write(&path).unwrap());
    assert!(!path.join("tmp/fullmetal-slice").exists());
    if rustix::process::geteuid().is_root() {
        let repo = sysroot(dir.path());
        left(&repo);
        SystemStore::open(&repo).unwrap();
        assert!(!repo.join("tmp/fullmetal-slice").exists());
    }
}

#[test]
fn what_a_crash_left_of_a_slice_is_not_taken_up() {
    let (fixture, dir) = (Fixture::new(1), tempfile::tempdir().unwrap());
    let path = dir.path().join("repo");
    let mut store = LibostreeStore::open_or_create(&path).unwrap();
    let slice = path.join("tmp/fullmetal-slice");
    fs::create_dir_all(&slice).unwrap();
    for (id, bytes) in &fixture.objects {
        fs::write(slice.join(format!("{}.file", id.checksum)), &bytes[..bytes.len() / 2]).unwrap();
    }
    fixture.install(&mut store);
    assert_same(&objects(&path), &by_libostree(&fixture, "bare-user"));
}
