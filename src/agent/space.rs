//! Whether an update fits on the disk, asked before the first byte is fetched.

use crate::config::Paths;
use crate::free_space;
use crate::repo::{ObjectStore, StoreError};
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::{ObjectId, Pieces};
use rustix::fs::StatVfs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Directories and links of a checkout, beside the objects they name.
const INODES_SPARE: u64 = 256;

/// What an update needs on the disk of the object store.
#[derive(Debug, Default, PartialEq, Eq)]
struct Need {
    bytes: u64,
    inodes: u64,
    /// Of the pieces that have to come, wherever they are kept.
    pieces: u64,
}

/// What is to be fetched of one manifest, and those of its pieces that are in the peer's cache already.
pub type Part<'a> = (&'a Pieces, Option<&'a Bitmap>);

/// Checks all parts together; gives the bytes of the pieces that will come. `Err` has the figures for the operator.
///
/// Copies of files that are not root's come on top, but owners are not known before the objects are there: see `repo::owners`.
/// Of a plain repo without `ostree.sizes` nobody knows before what files will take: there only the reserve is looked at.
pub fn check(paths: &Paths, store: &dyn ObjectStore, parts: &[Part<'_>]) -> Result<u64, String> {
    let repo = paths.repo();
    let stat = rustix::fs::statvfs(&repo).map_err(|e| format!("asking for space at {}: {e}", repo.display()))?;
    let need = need(parts, store, stat.f_frsize.max(1), shares_disk(paths))?;
    judge(&need, &stat, &repo).map(|()| need.pieces)
}

/// Free bytes of the store's disk, rounded down to a twentieth of it, so that reports say the same until it matters.
pub fn free(paths: &Paths) -> Option<u64> {
    let stat = rustix::fs::statvfs(paths.repo()).ok()?;
    let step = (stat.f_blocks.saturating_mul(stat.f_frsize) / 20).max(1);
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) / step * step)
}

/// Whether the peer's cache and the store share a disk, so that pieces count.
pub fn shares_disk(paths: &Paths) -> bool {
    same_disk(&paths.repo(), &paths.cache_dir())
}

fn need(parts: &[Part<'_>], store: &dyn ObjectStore, block: u64, with_cache: bool) -> Result<Need, String> {
    let mut need = Need::default();
    for part in parts {
        let more = need_of(part, store, block, with_cache).map_err(|e| e.to_string())?;
        need.bytes += more.bytes;
        need.inodes += more.inodes;
        need.pieces += more.pieces;
    }
    Ok(need)
}

fn need_of(part: &Part<'_>, store: &dyn ObjectStore, block: u64, with_cache: bool) -> Result<Need, StoreError> {
    let (release, cached) = part;
    let objects = release.objects();
    let ids: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
    let mut missing = store.missing(&ids)?;
    missing.sort_unstable();
    let is_missing = |id: &ObjectId| missing.binary_search(id).is_ok();
    let lengths = objects.iter().filter(|(id, _)| is_missing(id)).map(|(_, length)| *length);
    let bytes = lengths.map(|l| l.div_ceil(block).saturating_mul(block)).fold(0, u64::saturating_add);
    let mut pieces = release.needed(is_missing);
    if let Some(cached) = cached {
        pieces = pieces.minus(cached);
    }
    let piece_bytes = release.bytes(&pieces);
    let cache = if with_cache { piece_bytes } else { 0 };
    let inodes = missing.len() as u64 + u64::from(pieces.count());
    Ok(Need { bytes: bytes.saturating_add(cache), inodes, pieces: piece_bytes })
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

fn same_disk(a: &Path, b: &Path) -> bool {
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::MemoryStore;
    use fullmetal_proto::Digest;
    use fullmetal_proto::wire::{Frame, Manifest, ObjectEntry, ObjectKind};

    /// Three objects of 100 bytes, each in a frame of 1000.
    fn release() -> Pieces {
        let digest = |i: u32| Digest::of(&i.to_le_bytes());
        let frame = |i| Frame { pack: 0, offset: 0, length: 1000, raw_length: 100, sha256: digest(i) };
        let object = |i| {
            let id = ObjectId { kind: ObjectKind::File, checksum: digest(i) };
            ObjectEntry { id, frame: i, offset: 0, length: 100 }
        };
        let (frames, objects) = ((0..3).map(frame).collect(), (0..3).map(object).collect());
        Pieces::Frames(Manifest { commit: digest(9), packs: Vec::new(), frames, objects })
    }

    #[test]
    fn frames_that_lie_in_the_cache_already_need_no_space() {
        let (store, release) = (MemoryStore::new(), release());
        let mut cached = Bitmap::new(3);
        cached.set(0);
        cached.set(2);
        let need = |have, with_cache| need(&[(&release, have)], &store, 4096, with_cache).unwrap();
        let objects = 3 * 4096;
        assert_eq!(need(None, true), Need { bytes: objects + 3000, inodes: 6, pieces: 3000 });
        assert_eq!(need(Some(&cached), true), Need { bytes: objects + 1000, inodes: 4, pieces: 1000 });
        assert_eq!(need(Some(&cached), false).bytes, objects);
    }
}
