//! What every object goes through before it may enter a store.

use super::StoreError;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{self, Commit, ContentHeader, DirMeta, DirTree, OstreeError, WalkError};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;

/// Reads an object of `length` bytes into memory, hashes it and refuses what is hostile.
pub(super) fn read_checked(id: &ObjectId, length: u64, stream: &mut dyn Read) -> Result<Vec<u8>, StoreError> {
    check_length(id, length)?;
    let mut bytes = Vec::with_capacity(length as usize);
    stream.take(length).read_to_end(&mut bytes).map_err(|e| reading(id, e))?;
    if bytes.len() as u64 != length {
        return Err(StoreError::Corrupt { object: *id, why: "its stream ends early" });
    }
    check_bytes(id, &bytes)?;
    Ok(bytes)
}

/// Hashes an object's bytes and refuses what is hostile.
pub(super) fn check(id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
    check_length(id, bytes.len() as u64)?;
    check_bytes(id, bytes)
}

fn check_bytes(id: &ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
    if Digest::of(bytes) != id.checksum {
        return Err(wrong_hash(id));
    }
    parse(id, bytes).map_err(|reason| StoreError::Refused { object: *id, reason })
}

/// The head of a content stream whose bytes are not read at once, as it is and parsed.
///
/// Nothing vouches for it before the whole stream was hashed.
pub(super) fn read_head(
    id: &ObjectId,
    length: u64,
    stream: &mut dyn Read,
) -> Result<(Vec<u8>, ContentHeader), StoreError> {
    let refused = |reason| StoreError::Refused { object: *id, reason };
    let mut head = vec![0; 4];
    stream.read_exact(&mut head).map_err(|e| reading(id, e))?;
    let len = ostree::content_head_len([head[0], head[1], head[2], head[3]]).map_err(refused)?;
    head.resize(len, 0);
    stream.read_exact(&mut head[4..]).map_err(|e| reading(id, e))?;
    let (header, _) = ContentHeader::parse(&head).map_err(refused)?;
    check_tail(&header, length - (len as u64).min(length)).map_err(refused)?;
    Ok((head, header))
}

/// What `commit` reaches; `load` gives the dirtrees.
pub(super) fn closure(
    id: &ObjectId,
    commit: &[u8],
    load: &mut dyn FnMut(&ObjectId) -> Result<Vec<u8>, StoreError>,
) -> Result<BTreeSet<ObjectId>, StoreError> {
    let commit = Commit::parse(commit).map_err(|reason| StoreError::Refused { object: *id, reason })?;
    let mut load = |tree: &Digest| load(&ObjectId { kind: ObjectKind::DirTree, checksum: *tree });
    ostree::closure(&commit, &mut load).map_err(|error| match error {
        WalkError::Load { source, .. } => source,
        WalkError::Object { object, source } => StoreError::Refused { object, reason: source },
    })
}

pub(super) fn wrong_hash(id: &ObjectId) -> StoreError {
    StoreError::Corrupt { object: *id, why: "its bytes do not hash to its name" }
}

pub(super) fn reading(id: &ObjectId, source: io::Error) -> StoreError {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return StoreError::Corrupt { object: *id, why: "its stream ends early" };
    }
    StoreError::Io { what: "reading the stream of object", path: PathBuf::from(id.to_string()), source }
}

fn check_length(id: &ObjectId, length: u64) -> Result<(), StoreError> {
    let max = ostree::metadata_len_max(id.kind).unwrap_or(usize::MAX);
    let len = usize::try_from(length).unwrap_or(usize::MAX);
    if len > max {
        return Err(StoreError::Refused { object: *id, reason: OstreeError::TooLong { len, max } });
    }
    Ok(())
}

fn parse(id: &ObjectId, bytes: &[u8]) -> Result<(), OstreeError> {
    match id.kind {
        ObjectKind::File => {
            let (header, head) = ContentHeader::parse(bytes)?;
            check_tail(&header, (bytes.len() - head) as u64)
        }
        ObjectKind::DirTree => DirTree::parse(bytes).map(drop),
        ObjectKind::DirMeta => DirMeta::parse(bytes).map(drop),
        ObjectKind::Commit => Commit::parse(bytes).map(drop),
    }
}

fn check_tail(header: &ContentHeader, tail: u64) -> Result<(), OstreeError> {
    if header.is_symlink() && tail > 0 { Err(OstreeError::Field("content of a symlink")) } else { Ok(()) }
}
