//! What a disk has after a power cut: all writes and flushes were logged, and what was not flushed may be lost.
//!
//! The log is that of qemu's `blklogwrites`, which is dm-log-writes's (the kernel's
//! `Documentation/admin-guide/device-mapper/log-writes.rst`): a superblock, then entries of one sector, each with its data behind it.

use crate::sim::engine::Random;
use anyhow::Context as _;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const SECTOR: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// More than qemu writes at once.
const WRITE_MAX: u64 = 64 << 20;

/// A write, by where it lies on the disk and in the log, in bytes.
struct Write {
    to: u64,
    from: u64,
    len: u64,
}

/// What was written: all of it, and how many of the writes were surely on the disk.
#[derive(Default)]
struct Log {
    writes: Vec<Write>,
    flushed: usize,
}

/// What a cut has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Writes that were not flushed.
    pub in_doubt: usize,
    /// How many of them the disk does not have, or in part.
    pub lost: usize,
}

/// By the log at `path`, brings `disk`, as it was when the power came, to what it has when the power is gone: all
/// that was flushed, and of the rest what is drawn: all, nothing, or some of the writes, and of some their beginnings.
pub(super) fn replay(disk: &Path, path: &Path, draw: &mut Random) -> anyhow::Result<Lost> {
    let log = read(path).with_context(|| format!("reading {}", path.display()))?;
    let (from, to) = (File::open(path)?, File::options().write(true).open(disk)?);
    let mut lost = Lost { in_doubt: log.writes.len() - log.flushed, lost: 0 };
    let kind = draw.below(4);
    for (at, write) in log.writes.iter().enumerate() {
        let is_sure = at < log.flushed;
        let sectors = write.len / SECTOR;
        let kept = match kind {
            _ if is_sure => sectors,
            0 => sectors,
            1 => 0,
            _ => [0, sectors, draw.below(sectors + 1)][draw.index(3)],
        };
        lost.lost += usize::from(kept < sectors);
        let mut bytes = vec![0; usize::try_from(kept * SECTOR)?];
        from.read_exact_at(&mut bytes, write.from)?;
        to.write_all_at(&bytes, write.to)?;
    }
    Ok(lost)
}

fn read(path: &Path) -> anyhow::Result<Log> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    if end < SECTOR {
        return Ok(Log::default());
    }
    let mut reader = BufReader::new(&file);
    let (mut log, mut at) = (Log::default(), SECTOR);
    // qemu writes it with the first flush.
    let first = sector(&mut reader)?;
    anyhow::ensure!([MAGIC, 0].contains(&number(&first, 0)), "this is no log of writes");
    // An entry that was being written when qemu was killed had not been answered: the machine did not rely on it.
    while at + SECTOR <= end {
        let entry = sector(&mut reader)?;
        let [to, sectors, flags] = [0, 1, 2].map(|field| number(&entry, field));
        let len = sectors.checked_mul(SECTOR).filter(|len| *len <= WRITE_MAX || flags & DISCARD != 0);
        let len = len.context("a write without an end")?;
        at += SECTOR;
        if flags & FLUSH != 0 {
            log.flushed = log.writes.len();
        }
        if flags & DISCARD != 0 || len == 0 {
            continue;
        }
        if at + len > end {
            break;
        }
        log.writes.push(Write { to: to * SECTOR, from: at, len });
        reader.seek_relative(i64::try_from(len)?)?;
        at += len;
    }
    Ok(log)
}

fn sector(reader: &mut BufReader<&File>) -> io::Result<[u8; 512]> {
    let mut sector = [0; 512];
    reader.read_exact(&mut sector).map(|()| sector)
}

/// The little-endian 64-bit field `at` of a sector.
fn number(sector: &[u8; 512], at: usize) -> u64 {
    sector.chunks_exact(8).nth(at).map_or(0, |field| field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(fields: [u64; 3], data: &[u8]) -> Vec<u8> {
        let mut sector: Vec<u8> = fields.iter().chain(&[0]).flat_map(|field| field.to_le_bytes()).collect();
        sector.resize(512, 0);
        [&sector, data].concat()
    }

    /// What a disk of eight sectors of `0` has after a cut: two sectors of `1` were written and flushed, `2` at the same place and
    /// `3` behind it were not, and of `4` only a part reached the log.
    fn after_a_cut(seed: u64) -> (Vec<u8>, Lost) {
        let dir = tempfile::tempdir().expect("a directory");
        let (disk, log) = (dir.path().join("disk"), dir.path().join("log"));
        fs::write(&disk, [0; 8 * 512]).expect("a disk");
        let written = [
            entry([MAGIC, 1, 7], &[]),
            entry([1, 2, 0], &[1; 1024]),
            entry([0, 0, FLUSH], &[]),
            entry([6, 2, DISCARD], &[]),
            entry([1, 2, 0], &[2; 1024]),
            entry([3, 1, 0], &[3; 512]),
            entry([5, 1, 0], &[4; 100]),
        ];
        fs::write(&log, written.concat()).expect("a log");
        let lost = replay(&disk, &log, &mut Random::new(seed, "a cut")).expect("a replay");
        let disk = fs::read(&disk).expect("the disk");
        (disk.iter().step_by(512).copied().collect(), lost)
    }

    #[test]
    fn what_was_flushed_is_kept_and_of_the_rest_all_that_may_happen_does() {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for seed in 0..200 {
            let (disk, lost) = after_a_cut(seed);
            assert_eq!(lost.in_doubt, 2);
            assert_eq!((disk[0], &disk[4..]), (0, &[0; 4][..]));
            let is_whole = disk[1..4] == [2, 2, 3];
            assert_eq!(lost.lost == 0, is_whole, "{disk:?} {lost:?}");
            seen.push(disk[1..4].to_vec());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [[1, 1, 0], [1, 1, 3], [2, 1, 0], [2, 1, 3], [2, 2, 0], [2, 2, 3]]);
    }
}
