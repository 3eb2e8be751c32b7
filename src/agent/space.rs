//! Whether an update fits on the disk, asked before the first byte is fetched.

use crate::config::Paths;
use crate::free_space;
use crate::repo::{Objects, StoreError};
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::{ObjectId, ObjectKind, Pieces};
use rustix::fs::StatVfs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Directories and links of a checkout, beside the objects they name.
const INODES_SPARE: u64 = 256;

/// What an update needs on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    bytes: u64,
    inodes: u64,
}

impl Need {
    fn add(&mut self, more: Need) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.inodes = self.inodes.saturating_add(more.inodes);
    }
}

/// What is to be fetched of one manifest, and those of its pieces that are in the peer's cache already.
pub type Part<'a> = (&'a Pieces, Option<&'a Bitmap>);

/// What comes into one store.
pub struct Coming<'a> {
    /// Where its objects lie.
    pub repo: &'a Path,
    /// The store.
    pub store: &'a dyn Objects,
    /// What is to be fetched.
    pub parts: Vec<Part<'a>>,
    /// Operating systems: a deployment has many directories, and each for itself.
    pub is_os: bool,
}

/// Checks all stores together, on however many disks they are; gives the bytes of the pieces that will come to `cache`.
/// `Err` has the figures for the operator.
///
/// Copies of files that are not root's come on top, but owners are not known before the objects are there: see `repo::owners`.
/// Of a plain repo without `ostree.sizes` nobody knows before what files will take: there only the reserve is looked at.
pub fn check(cache: &Path, coming: &[Coming<'_>]) -> Result<u64, String> {
    let (disks, pieces) = needs(cache, coming)?;
    disks.iter().try_for_each(|(at, need)| judge(need, &disk(at)?, at))?;
    Ok(pieces)
}

/// Free bytes of the store's disk, rounded down to a twentieth of it, so that reports say the same until it matters.
pub fn free(paths: &Paths) -> Option<u64> {
    let stat = rustix::fs::statvfs(paths.repo()).ok()?;
    let step = (stat.f_blocks.saturating_mul(stat.f_frsize) / 20).max(1);
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) / step * step)
}

/// Whether both are on one disk, as when nobody knows.
pub fn same_disk(a: &Path, b: &Path) -> bool {
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev(),
        _ => true,
    }
}

fn disk(at: &Path) -> Result<StatVfs, String> {
    rustix::fs::statvfs(at).map_err(|e| format!("asking for space at {}: {e}", at.display()))
}

/// A place on a disk, and what the disk must take.
type DiskNeed<'a> = (&'a Path, Need);

/// What each disk must take, and the bytes of the pieces. These count where a store shares its disk with the cache.
fn needs<'a>(cache: &Path, coming: &'a [Coming<'_>]) -> Result<(Vec<DiskNeed<'a>>, u64), String> {
    let mut disks: Vec<DiskNeed<'_>> = Vec::new();
    let mut all_pieces = Need::default();
    for store in coming {
        let block = disk(store.repo)?.f_frsize.max(1);
        let mut need = Need::default();
        for part in &store.parts {
            let (objects, pieces) = need_of(store, part, block).map_err(|e| e.to_string())?;
            need.add(objects);
            all_pieces.add(pieces);
        }
        match disks.iter_mut().find(|(at, _)| same_disk(at, store.repo)) {
            Some((_, all)) => all.add(need),
            None => disks.push((store.repo, need)),
        }
    }
    if let Some((_, need)) = disks.iter_mut().find(|(at, _)| same_disk(at, cache)) {
        need.add(all_pieces);
    }
    Ok((disks, all_pieces.bytes))
}

/// What one part takes in its store, and its pieces.
fn need_of(coming: &Coming<'_>, (release, cached): &Part<'_>, block: u64) -> Result<(Need, Need), StoreError> {
    let objects = release.objects();
    let ids: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
    let mut missing = coming.store.missing(&ids)?;
    missing.sort_unstable();
    let is_missing = |id: &ObjectId| missing.binary_search(id).is_ok();
    let lengths = objects.iter().filter(|(id, _)| is_missing(id)).map(|(_, length)| *length);
    let bytes = lengths.map(|l| l.div_ceil(block).saturating_mul(block)).fold(0, u64::saturating_add);
    let mut need = Need { bytes, inodes: missing.len() as u64 };
    if coming.is_os {
        let directories = ids.iter().filter(|id| id.kind == ObjectKind::DirTree).count() as u64;
        need.add(Need { bytes: directories.saturating_mul(block), inodes: directories });
    }
    let mut pieces = release.needed(is_missing);
    if let Some(cached) = cached {
        pieces = pieces.minus(cached);
    }
    Ok((need, Need { bytes: release.bytes(&pieces), inodes: pieces.count().into() }))
}

fn judge(need: &Need, stat: &StatVfs, repo: &Path) -> Result<(), String> {
    if *need == Need::default() {
        return Ok(());
    }
    if let Some(lack) = free_space::lack(need.bytes, free_space::reserve(stat), stat) {
        return Err(format!("not enough space on the disk of {}: the update {lack}", repo.display()));
    }
    // Some file systems make inodes as they go and say 0.
    if stat.f_files > 0 && need.inodes + INODES_SPARE > stat.f_favail {
        let (needed, free) = (need.inodes + INODES_SPARE, stat.f_favail);
        return Err(format!("not enough inodes on the disk of {}: {needed} needed, {free} free", repo.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::MemoryStore;
    use fullmetal_proto::Digest;
    use fullmetal_proto::wire::{Frame, Manifest, ObjectEntry};

    /// Three objects of 100 bytes, each in a frame of 1000.
    fn release(kind: ObjectKind) -> Pieces {
        let digest = |i: u32| Digest::of(&i.to_le_bytes());
        let frame = |i| Frame { pack: 0, offset: 0, length: 1000, raw_length: 100, sha256: digest(i) };
        let object = |i| ObjectEntry { id: ObjectId { kind, checksum: digest(i) }, frame: i, offset: 0, length: 100 };
        let (frames, objects) = ((0..3).map(frame).collect(), (0..3).map(object).collect());
        Pieces::Frames(Manifest { commit: digest(9), packs: Vec::new(), frames, objects, boot: Vec::new() })
    }

    #[test]
    fn frames_that_lie_in_the_cache_already_need_no_space() {
        let (store, release) = (MemoryStore::new(), release(ObjectKind::File));
        let (dir, other) = (tempfile::tempdir().unwrap(), Path::new("/proc"));
        let block = disk(dir.path()).unwrap().f_frsize;
        let mut cached = Bitmap::new(3);
        cached.set(0);
        cached.set(2);
        let need = |have, cache| {
            let coming = Coming { repo: dir.path(), store: &store, parts: vec![(&release, have)], is_os: false };
            let coming = [coming];
            let (disks, pieces) = needs(cache, &coming).unwrap();
            assert_eq!(disks.len(), 1);
            (disks[0].1, pieces)
        };
        let objects = 3 * block;
        assert_eq!(need(None, dir.path()), (Need { bytes: objects + 3000, inodes: 6 }, 3000));
        assert_eq!(need(Some(&cached), dir.path()), (Need { bytes: objects + 1000, inodes: 4 }, 1000));
        assert_eq!(need(Some(&cached), other), (Need { bytes: objects, inodes: 3 }, 1000));
    }

    #[test]
    fn stores_on_one_disk_need_their_sum_and_a_system_its_directories() {
        let (store, apps, system) = (MemoryStore::new(), release(ObjectKind::File), release(ObjectKind::DirTree));
        let (dir, other) = (tempfile::tempdir().unwrap(), Path::new("/proc"));
        let [block, others] = [dir.path(), other].map(|at| disk(at).unwrap().f_frsize);
        let of = |repo| {
            let coming = |repo, release, is_os| Coming { repo, store: &store, parts: vec![(release, None)], is_os };
            let coming = [coming(dir.path(), &apps, false), coming(repo, &system, true)];
            let (disks, pieces) = needs(dir.path(), &coming).unwrap();
            assert_eq!(pieces, 6000);
            disks.into_iter().map(|(_, need)| need).collect::<Vec<_>>()
        };
        assert_eq!(of(dir.path()), [Need { bytes: 9 * block + 6000, inodes: 15 }]);
        let apps = Need { bytes: 3 * block + 6000, inodes: 9 };
        assert_eq!(of(other), [apps, Need { bytes: 6 * others, inodes: 6 }]);
    }
}
