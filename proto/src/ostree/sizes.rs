//! `ostree.sizes`: how long a commit's objects are, as its builder said (`ostree commit --generate-sizes`).

use super::OstreeError;
use super::commit::{KEYS_MAX, SHAPE};
use super::gvariant::{array, dictionary, tuple};
use crate::Digest;
use crate::wire::manifest::OBJECTS_MAX;
use std::collections::BTreeMap;

/// The key of the sizes in a commit's metadata, type `aay`.
const KEY: &str = "ostree.sizes";

/// How long an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of its file in an archive repository.
    pub archived: u64,
    /// Bytes of its content.
    pub unpacked: u64,
}

/// The sizes that a commit object tells, by checksum; empty when it tells none.
///
/// Each entry is a 32-byte checksum, two varints (archived, unpacked) and, in newer commits, a byte for the type. They help
/// to cut and to plan and nothing is believed because of them, so what cannot be read is left out.
pub fn sizes(commit: &[u8]) -> BTreeMap<Digest, Size> {
    let entries = find(commit).unwrap_or_default();
    entries.into_iter().filter_map(entry).collect()
}

fn find(commit: &[u8]) -> Result<Vec<&[u8]>, OstreeError> {
    let [metadata, ..] = tuple(commit, SHAPE)?;
    let found = dictionary(metadata, KEYS_MAX)?.into_iter().find(|(key, kind, _)| *key == KEY && *kind == "aay");
    found.map_or(Ok(Vec::new()), |(_, _, value)| array(value, 1, OBJECTS_MAX))
}

fn entry(bytes: &[u8]) -> Option<(Digest, Size)> {
    let (checksum, rest) = bytes.split_first_chunk::<32>()?;
    let (archived, rest) = varint(rest)?;
    let (unpacked, _) = varint(rest)?;
    Some((Digest(*checksum), Size { archived, unpacked }))
}

/// Seven bits a byte, the lowest first, the eighth bit set while more follow (libostree's `ostree-varint.c`).
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        let low = u64::from(byte & 0x7f);
        value |= low.checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}
