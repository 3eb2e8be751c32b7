//! What of a disk must stay free, whatever is deployed.

use rustix::fs::StatVfs;

/// At least this much stays free.
const RESERVE_BYTES_MIN: u64 = 64 << 20;
/// And at least this share of the disk, in percent.
const RESERVE_PERCENT: u64 = 5;

/// How many bytes of the disk must stay free.
pub fn reserve(disk: &StatVfs) -> u64 {
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    (total / 100 * RESERVE_PERCENT).max(RESERVE_BYTES_MIN)
}

/// How many bytes of the disk are free.
pub fn free(disk: &StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

/// What `needed` bytes lack where `reserve` bytes must stay free, with all figures; nothing when they fit.
pub fn lack(needed: u64, reserve: u64, disk: &StatVfs) -> Option<String> {
    let free = free(disk);
    let lacking = needed.saturating_add(reserve).checked_sub(free).filter(|&lacking| lacking > 0)?;
    let [needed, reserve, free, lacking] = [needed, reserve, free, lacking].map(mib);
    Some(format!("needs {needed} and {reserve} must stay free, {free} is free; free {lacking} more"))
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}
