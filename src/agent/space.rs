//! Whether an update fits on the disk, asked before the first byte is fetched.

use crate::config::Paths;
use crate::repo::{ObjectStore, StoreError};
use fullmetal_proto::wire::{Manifest, ObjectId};
use rustix::fs::StatVfs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// At least this much stays free.
const RESERVE_BYTES_MIN: u64 = 64 << 20;
/// And at least this share of the disk, in percent.
const RESERVE_PERCENT: u64 = 5;
/// Directories and links of a checkout, beside the objects they name.
const INODES_SPARE: u64 = 256;

/// What an update needs on the disk of the object store.
#[derive(Debug, Default, PartialEq, Eq)]
struct Need {
    bytes: u64,
    inodes: u64,
}

/// Checks all parts together; `Err` has the figures for the operator.
pub fn check(paths: &Paths, store: &dyn ObjectStore, manifests: &[&Manifest]) -> Result<(), String> {
    let repo = paths.repo();
    let stat = rustix::fs::statvfs(&repo).map_err(|e| format!("asking for space at {}: {e}", repo.display()))?;
    let with_cache = same_disk(&repo, &paths.cache_dir());
    let mut need = Need::default();
    for manifest in manifests {
        let more = need_of(manifest, store, stat.f_frsize.max(1), with_cache).map_err(|e| e.to_string())?;
        need.bytes += more.bytes;
        need.inodes += more.inodes;
    }
    judge(&need, &stat, &repo)
}

fn need_of(manifest: &Manifest, store: &dyn ObjectStore, block: u64, with_cache: bool) -> Result<Need, StoreError> {
    let ids: Vec<ObjectId> = manifest.objects.iter().map(|o| o.id).collect();
    let mut missing = store.missing(&ids)?;
    missing.sort_unstable();
    let is_missing = |id: &ObjectId| missing.binary_search(id).is_ok();
    let lengths = manifest.objects.iter().filter(|o| is_missing(&o.id)).map(|o| o.length);
    let bytes: u64 = lengths.map(|l| l.div_ceil(block).saturating_mul(block)).sum();
    let frames = manifest.needed(is_missing);
    let cache = if with_cache { manifest.frame_bytes(&frames) } else { 0 };
    Ok(Need { bytes: bytes.saturating_add(cache), inodes: missing.len() as u64 + u64::from(frames.count()) })
}

fn judge(need: &Need, stat: &StatVfs, repo: &Path) -> Result<(), String> {
    if *need == Need::default() {
        return Ok(());
    }
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let reserve = (total / 100 * RESERVE_PERCENT).max(RESERVE_BYTES_MIN);
    if need.bytes.saturating_add(reserve) > free {
        return Err(format!(
            "not enough space on the disk of {}: the update needs {} and {} must stay free, {} is free; free {} more",
            repo.display(),
            mib(need.bytes),
            mib(reserve),
            mib(free),
            mib(need.bytes.saturating_add(reserve) - free),
        ));
    }
    // Some file systems make inodes as they go and say 0.
    if stat.f_files > 0 && need.inodes + INODES_SPARE > stat.f_favail {
        let (needed, free) = (need.inodes + INODES_SPARE, stat.f_favail);
        return Err(format!("not enough inodes on the disk of {}: {needed} needed, {free} free", repo.display()));
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

fn same_disk(a: &Path, b: &Path) -> bool {
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev(),
        _ => true,
    }
}
