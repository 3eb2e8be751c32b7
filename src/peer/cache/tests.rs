use super::*;
use std::io::Read as _;

fn open(dir: &Path, bytes_max: u64) -> Cache {
    Cache::open(dir, bytes_max).unwrap()
}

fn read(cache: &Cache, key: Key, length: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    cache.open_read(key, length)?.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

fn temporaries(dir: &Path) -> usize {
    fs::read_dir(dir.join(TEMPORARY)).unwrap().count()
}

#[test]
fn content_is_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    let key = cache.put(Shelf::Frames, b"hello").unwrap();
    assert_eq!(read(&cache, key, 5).unwrap(), b"hello");
    assert_eq!(read(&cache, Key::blob(key.sha256), 5), None, "shelves are apart");
    cache.sync().unwrap();
    drop(cache);
    let cache = open(dir.path(), 100);
    assert_eq!(read(&cache, key, 5).unwrap(), b"hello");
    assert_eq!(cache.bytes(), 5);
}

#[test]
fn bytes_that_do_not_match_never_get_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    let key = Key::frame(Digest::of(b"right"));
    for wrong in [&b"wrong"[..], b"righ", b""] {
        let mut draft = cache.create(key, 5).unwrap();
        draft.write(wrong).unwrap();
        assert!(matches!(draft.finish(), Err(CacheError::Corrupt { .. })));
    }
    let mut draft = cache.create(key, 5).unwrap();
    assert!(matches!(draft.write(b"right!"), Err(CacheError::Corrupt { .. })));
    drop(draft);
    assert!(!cache.has(key, 5) && !cache.path(key).exists());
    assert_eq!((temporaries(dir.path()), cache.bytes()), (0, 0));
    cache.create(key, 100).expect("the budget is whole again");
}

#[test]
fn what_a_killed_process_left_is_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1000);
    let mut draft = cache.create(Key::frame(Digest::of(b"whole")), 5).unwrap();
    draft.write(b"who").unwrap();
    let good = cache.put(Shelf::Blobs, b"good").unwrap();
    // A kill runs no destructors: keep the files as they are and let go of the lock only.
    let left = fs::read_dir(dir.path().join(TEMPORARY)).unwrap().next().unwrap().unwrap().path();
    fs::copy(&left, dir.path().join("copy")).unwrap();
    drop((draft, cache));
    fs::rename(dir.path().join("copy"), left).unwrap();
    fs::write(dir.path().join("frames/not-a-digest"), "x").unwrap();
    fs::write(dir.path().join("frames").join(Digest::of(b"cut").to_string()), "").unwrap();
    let cache = open(dir.path(), 1000);
    assert_eq!(temporaries(dir.path()), 0);
    assert_eq!(fs::read_dir(dir.path().join("frames")).unwrap().count(), 0);
    assert!(cache.has(good, 4));
}

#[test]
fn a_file_of_another_length_is_not_used_and_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    let key = cache.put(Shelf::Frames, b"hello").unwrap();
    drop(cache);
    fs::write(dir.path().join("frames").join(key.sha256.to_string()), b"hell").unwrap();
    let cache = open(dir.path(), 100);
    assert!(!cache.has(key, 5) && cache.open_read(key, 5).is_none());
    let key = cache.put(Shelf::Frames, b"hello").unwrap();
    assert_eq!((read(&cache, key, 5).unwrap(), cache.bytes()), (b"hello".to_vec(), 5));
    assert!(!cache.has(key, 4), "a neighbour that names a wrong length");
    assert!(cache.has(key, 5), "removes nothing");
    fs::remove_file(cache.path(key)).unwrap();
    assert!(cache.open_read(key, 5).is_none(), "gone behind our back");
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn eviction_takes_the_least_recently_used_and_never_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 12);
    let [a, b, c] = [b"aaaa", b"bbbb", b"cccc"].map(|bytes| cache.put(Shelf::Frames, bytes).unwrap());
    assert!(matches!(cache.put(Shelf::Frames, b"d"), Err(CacheError::NoRoom { needed: 1, .. })));
    cache.open_read(a, 4).unwrap();
    assert_eq!(cache.victims(1).unwrap(), [b]);
    assert_eq!(cache.victims(6).unwrap(), [b, c]);
    cache.keep([b, a].into());
    assert_eq!(cache.victims(4).unwrap(), [c]);
    assert!(matches!(cache.victims(5), Err(CacheError::NoRoom { needed: 5, kept: 8, max: 12 })));
    cache.remove(c);
    assert_eq!(cache.victims(4).unwrap(), []);
    let draft = cache.create(c, 4).unwrap();
    assert!(matches!(cache.victims(1), Err(CacheError::NoRoom { .. })), "a draft holds its part of the budget");
    drop(draft);
    cache.keep_also([c]);
    assert_eq!(cache.victims(4).unwrap(), []);
}

#[test]
fn two_peers_cannot_share_a_cache() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 12);
    assert!(matches!(Cache::open(dir.path(), 12), Err(CacheError::Locked { .. })));
    drop(cache);
    open(dir.path(), 12);
}

#[test]
fn descriptors_are_read_only_and_survive_eviction() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    let key = cache.put(Shelf::Blobs, b"hello").unwrap();
    let mut file = cache.open_read(key, 5).unwrap();
    assert!(io::Write::write_all(&mut file, b"x").is_err());
    cache.remove(key);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    let (mut writer, mut reader) = cache.scratch().unwrap();
    io::Write::write_all(&mut writer, b"scratch").unwrap();
    assert!(io::Write::write_all(&mut reader, b"x").is_err());
    assert_eq!(temporaries(dir.path()), 0);
}

#[test]
fn notes_are_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    assert_eq!(cache.read_note("newest").unwrap(), None);
    cache.write_note("newest", b"one").unwrap();
    cache.write_note("newest", b"two").unwrap();
    assert_eq!(cache.read_note("newest").unwrap().unwrap(), b"two");
    assert_eq!(temporaries(dir.path()), 0);
}

#[test]
fn a_peer_that_another_user_starts_leaves_nothing_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert!(check_owner(dir.path(), own).is_ok());
    assert!(check_owner(&dir.path().join("absent"), own + 1).is_ok());
    let error = check_owner(dir.path(), own + 1).unwrap_err().to_string();
    assert!(error.contains(&format!("belongs to user {own}, this peer runs as user {}", own + 1)), "{error}");
    assert!(error.contains(&format!("`chown -R {} ", own + 1)), "{error}");
    if own == 0 {
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        assert!(matches!(Cache::open(dir.path(), 1 << 20), Err(CacheError::Owner { owner: 65_534, own: 0, .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
