//! Tables of fixed-width big-endian records inside byte strings, which are short and can be read in place.

use crate::Digest;
use serde::{Deserialize, Deserializer, Serializer, de};

/// A fixed-width record of a table.
pub(super) trait Record: Sized {
    const WIDTH: usize;
    fn write(&self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Option<Self>;
}

pub(super) fn pack_records<R: Record, S: Serializer>(records: &[R], s: S) -> Result<S::Ok, S::Error> {
    let mut out = Vec::with_capacity(records.len() * R::WIDTH);
    records.iter().for_each(|r| r.write(&mut out));
    s.serialize_bytes(&out)
}

pub(super) fn unpack_records<'de, R: Record, D: Deserializer<'de>>(d: D) -> Result<Vec<R>, D::Error> {
    let bytes: serde_bytes::ByteBuf = Deserialize::deserialize(d)?;
    if !bytes.len().is_multiple_of(R::WIDTH) {
        return Err(de::Error::custom("table length is no multiple of its record width"));
    }
    let bad = || de::Error::custom("unknown object type in table");
    bytes.chunks_exact(R::WIDTH).map(|c| R::read(c).ok_or_else(bad)).collect()
}

pub(super) fn be32(b: &[u8]) -> u32 {
    u32::from_be_bytes([b[0], b[1], b[2], b[3]])
}

pub(super) fn be64(b: &[u8]) -> u64 {
    u64::from(be32(b)) << 32 | u64::from(be32(&b[4..]))
}

pub(super) fn digest(b: &[u8]) -> Option<Digest> {
    b.try_into().ok().map(Digest)
}
