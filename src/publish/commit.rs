//! Commit objects: reading one, comparing it with what would be published, writing a new one.

use super::central::Central;
use super::closure::{Member, digest};
use super::error::{Doing, PublishError};
use super::options::ReleaseInfo;
use super::tree::Pending;
use fullmetal_proto::wire::{ObjectId, ObjectKind, bundle};
use fullmetal_proto::{Digest, RefName, Timestamp};
use ostree::glib::{Variant, VariantDict, VariantTy, prelude::*};
use std::collections::BTreeMap;
use std::io::Read;
use tracing::warn;

/// Archived and unpacked size of every object, libostree's own format.
const SIZES: &str = "ostree.sizes";
/// Which refs the commit may be found under.
const REF_BINDING: &str = "ostree.ref-binding";
/// Room in the commit object for everything but the sizes.
const OTHER_LEN_MAX: u64 = 64 << 10;

/// The longest file header that is looked into.
const HEADER_LEN_MAX: u64 = 1 << 20;

/// Metadata by key; sorted, so that the same release gives the same bytes.
pub(super) type Metadata = BTreeMap<String, Variant>;

/// What we read of a commit object.
pub(super) struct Commit {
    pub parent: Option<Digest>,
    pub metadata: Metadata,
    /// Root dirtree.
    pub contents: Digest,
    /// Root dirmeta.
    pub meta: Digest,
}

impl Commit {
    /// Reads the commit object `commit`.
    pub fn load(central: &Central, commit: Digest) -> Result<Self, PublishError> {
        let id = ObjectId { kind: ObjectKind::Commit, checksum: commit };
        let object = central.metadata(&id)?;
        let corrupt = || PublishError::Corrupt { object: id, repo: central.path().to_owned() };
        let part = |i: usize| object.try_child_value(i).ok_or_else(corrupt);
        let parent = part(1)?;
        let parent = if parent.n_children() == 0 { None } else { Some(digest(&parent).ok_or_else(corrupt)?) };
        let metadata = part(0)?.get().ok_or_else(corrupt)?;
        let (contents, meta) = (digest(&part(6)?).ok_or_else(corrupt)?, digest(&part(7)?).ok_or_else(corrupt)?);
        Ok(Commit { parent, metadata, contents, meta })
    }

    /// Whether publishing this tree with this metadata would say nothing new.
    pub fn says(&self, tree: (Digest, Digest), metadata: &Metadata) -> bool {
        let ours = self.metadata.iter().filter(|(key, _)| *key != SIZES);
        (self.contents, self.meta) == tree && ours.eq(metadata.iter())
    }

    /// Whether devices would take it under `name`: bound to it, or not bound at all.
    pub fn allows_ref(&self, name: &RefName) -> bool {
        let bound: Option<Vec<String>> = self.metadata.get(REF_BINDING).and_then(Variant::get);
        bound.is_none_or(|refs| refs.is_empty() || refs.iter().any(|r| r == name.as_str()))
    }
}

/// The metadata that says `info`, bound to `name`. Numbers are little-endian on every machine.
pub(super) fn metadata(name: &RefName, info: &ReleaseInfo) -> Metadata {
    let mut out = Metadata::new();
    let mut put = |key: &str, value: Variant| out.insert(key.to_owned(), value);
    put(REF_BINDING, vec![name.as_str()].to_variant());
    let number = |n: u64| n.to_le().to_variant();
    info.release.map(|n| put("fullmetal.release", number(n)));
    info.floor.map(|n| put("fullmetal.floor", number(n)));
    info.probation.map(|s| put("fullmetal.probation", s.to_le().to_variant()));
    info.version.as_ref().map(|v| put("fullmetal.version", v.to_variant()));
    info.name.as_ref().map(|n| put("fullmetal.name", n.as_str().to_variant()));
    if !info.health.is_empty() {
        put("fullmetal.health", info.health.to_variant());
    }
    if !info.hardware.is_empty() {
        let ids: Vec<&str> = info.hardware.iter().map(|h| h.as_str()).collect();
        put("fullmetal.hardware", ids.to_variant());
    }
    out
}

/// Writes a commit of the tree whose objects are `members` and returns its checksum.
pub(super) fn write(
    central: &Central,
    parent: Option<Digest>,
    tree: (Digest, Digest),
    mut metadata: Metadata,
    members: &[Member],
    timestamp: Timestamp,
) -> Result<Digest, PublishError> {
    if let Some(sizes) = sizes(central, members)? {
        metadata.insert(SIZES.into(), sizes);
    }
    let parent = parent.map_or_else(Vec::new, |p| p.0.to_vec());
    let related: Vec<(String, Vec<u8>)> = Vec::new();
    let time = timestamp.as_secs().to_be();
    let (contents, meta) = (tree.0.0.to_vec(), tree.1.0.to_vec());
    let object = (metadata, parent, related, "", "", time, contents, meta).to_variant();
    let bytes = object.data().to_vec();
    let id = ObjectId { kind: ObjectKind::Commit, checksum: Digest::of(&bytes) };
    central.write([(&id, &Pending::Metadata(bytes))].into_iter(), |_| {})?;
    Ok(id.checksum)
}

/// `ostree.sizes`: `aay`, each checksum, archived and unpacked size as LEB128, type; sorted by checksum.
/// None when they would make the commit longer than a device accepts.
fn sizes(central: &Central, members: &[Member]) -> Result<Option<Variant>, PublishError> {
    let mut entries = BTreeMap::new();
    for member in members {
        let stored = central.stored_len(&member.id)?;
        let unpacked = if member.id.kind == ObjectKind::File { unpacked_len(central, &member.id)? } else { stored };
        let mut entry = member.id.checksum.0.to_vec();
        leb128(&mut entry, stored);
        leb128(&mut entry, unpacked);
        entry.push(member.id.kind as u8);
        entries.insert(member.id.checksum, entry);
    }
    let total: u64 = entries.values().map(|e| e.len() as u64 + 4).sum();
    if total + OTHER_LEN_MAX > bundle::COMMIT_LEN_MAX {
        warn!(objects = members.len(), "commit written without ostree.sizes: they would make it too long");
        return Ok(None);
    }
    Ok(Some(entries.into_values().collect::<Vec<_>>().to_variant()))
}

/// What a file occupies unpacked: its content, or a symlink's target, as libostree counts them.
fn unpacked_len(central: &Central, id: &ObjectId) -> Result<u64, PublishError> {
    let (mut stream, length) = central.stream(id)?;
    let reading = || format!("reading object {id}");
    let mut prefix = [0u8; 8];
    stream.read_exact(&mut prefix).doing(reading)?;
    let header = u64::from(u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]));
    let content = length.saturating_sub(8 + header);
    if content > 0 || header > HEADER_LEN_MAX {
        return Ok(content);
    }
    let mut bytes = vec![0u8; header as usize];
    stream.read_exact(&mut bytes).doing(reading)?;
    let header = Variant::from_data_with_type(bytes, VariantTy::new("(uuuusa(ayay))").unwrap_or(VariantTy::UNIT));
    let target = header.try_child_value(4);
    Ok(target.and_then(|t| t.str().map(str::len)).unwrap_or_default() as u64)
}

fn leb128(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// `existing` with `value` under `key`; everything else of it kept.
pub(super) fn with_key(existing: Option<&Variant>, key: &str, value: &Variant) -> Variant {
    let dict = VariantDict::new(existing);
    dict.insert_value(key, value);
    dict.end()
}
