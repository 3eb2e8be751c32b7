//! Commit objects: reading one, comparing it with what would be published, writing a new one.

use super::central::Central;
use super::closure;
use super::error::PublishError;
use super::options::ReleaseInfo;
use super::os_tree::Os;
use super::tree::Pending;
use super::writer;
use ::ostree::glib::{Variant, VariantDict, VariantTy, prelude::*};
use fullmetal_proto::ostree::{self, Asks, OstreeError};
use fullmetal_proto::wire::{ObjectId, ObjectKind, bundle};
use fullmetal_proto::{Digest, RefName, Timestamp};
use std::collections::BTreeMap;
use tracing::warn;

/// Archived and unpacked size of every object, libostree's own format.
const SIZES: &str = "ostree.sizes";
/// Which refs the commit may be found under.
const REF_BINDING: &str = "ostree.ref-binding";
/// Room in the commit object for everything but the sizes.
const OTHER_LEN_MAX: u64 = 64 << 10;

/// The type of a commit object.
const COMMIT: &str = "(a{sv}aya(say)sstayay)";

/// Metadata by key; sorted, so that the same release gives the same bytes.
pub(super) type Metadata = BTreeMap<String, Variant>;

/// A commit object.
pub(super) struct Commit {
    /// As a device reads it.
    pub parsed: ostree::Commit,
    /// All of its metadata.
    metadata: Metadata,
}

impl Commit {
    /// Reads the commit object `commit`.
    pub fn load(central: &Central, commit: Digest) -> Result<Self, PublishError> {
        let id = ObjectId { kind: ObjectKind::Commit, checksum: commit };
        let unfit = |problem| PublishError::Unfit { object: id, problem };
        let bytes = central.metadata(&id)?;
        let (len, max) = (bytes.len(), bundle::COMMIT_LEN_MAX as usize);
        if len > max {
            return Err(unfit(OstreeError::TooLong { len, max }));
        }
        let parsed = ostree::Commit::parse(&bytes).map_err(unfit)?;
        let metadata = Variant::from_data_with_type(bytes, VariantTy::new(COMMIT).unwrap_or(VariantTy::UNIT));
        let metadata = metadata.try_child_value(0).and_then(|m| m.get()).ok_or_else(|| central.corrupt(&id))?;
        Ok(Commit { parsed, metadata })
    }

    /// Whether publishing this tree with this metadata would say nothing new.
    pub fn says(&self, tree: (Digest, Digest), metadata: &Metadata) -> bool {
        let ours = self.metadata.iter().filter(|(key, _)| *key != SIZES);
        (self.parsed.root, self.parsed.root_meta) == tree && ours.eq(metadata.iter())
    }
}

/// The metadata that says `info`, bound to `name`. Numbers are little-endian on every machine. Of an operating system the
/// keys of libostree's own tools (`ostree commit --bootable`), too: they show them.
pub(super) fn metadata(name: &RefName, info: &ReleaseInfo, os: Option<&Os>) -> Metadata {
    let mut out = Metadata::new();
    let mut put = |key: &str, value: Variant| out.insert(key.to_owned(), value);
    put(REF_BINDING, vec![name.as_str()].to_variant());
    let number = |n: u64| n.to_le().to_variant();
    info.release.map(|n| put("fullmetal.release", number(n)));
    info.floor.map(|n| put("fullmetal.floor", number(n)));
    info.probation.map(|s| put("fullmetal.probation", s.to_le().to_variant()));
    let version = if os.is_some() { "version" } else { "fullmetal.version" };
    info.version.as_ref().map(|v| put(version, v.to_variant()));
    if let Some(os) = os {
        put("ostree.bootable", true.to_variant());
        os.kernel.as_ref().map(|version| put("ostree.linux", version.to_variant()));
    }
    info.name.as_ref().map(|n| put("fullmetal.name", n.as_str().to_variant()));
    if !info.health.is_empty() {
        put("fullmetal.health", info.health.to_variant());
    }
    if !info.hardware.is_empty() {
        let ids: Vec<&str> = info.hardware.iter().map(|h| h.as_str()).collect();
        put("fullmetal.hardware", ids.to_variant());
    }
    asked(&info.asks, &mut put);
    out
}

/// What nobody asked for has no key.
fn asked(asks: &Asks, put: &mut impl FnMut(&str, Variant) -> Option<Variant>) {
    fn texts<T: ToString>(list: &[T]) -> Vec<String> {
        list.iter().map(T::to_string).collect()
    }
    let lists = [
        ("fullmetal.after", texts(&asks.after)),
        ("fullmetal.requires", texts(&asks.requires)),
        ("fullmetal.wants", texts(&asks.wants)),
        ("fullmetal.grants", texts(&asks.grants)),
    ];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        put(key, list.to_variant());
    }
    let numbers = [
        ("fullmetal.start-timeout", asks.start_timeout),
        ("fullmetal.cpu", asks.limits.cpu),
        ("fullmetal.pids", asks.limits.pids),
        ("fullmetal.io", asks.limits.io),
    ];
    for (key, number) in numbers {
        number.map(|n| put(key, n.to_le().to_variant()));
    }
    asks.limits.memory.map(|bytes| put("fullmetal.memory", bytes.to_le().to_variant()));
    if asks.notify {
        put("fullmetal.notify", true.to_variant());
    }
}

/// Writes a commit of the tree, whose objects are in the repo already, and returns its checksum.
pub(super) fn write(
    central: &Central,
    parent: Option<Digest>,
    tree: (Digest, Digest),
    mut metadata: Metadata,
    timestamp: Timestamp,
) -> Result<Digest, PublishError> {
    let bare = serialize(parent, tree, &metadata, timestamp);
    let id = ObjectId { kind: ObjectKind::Commit, checksum: Digest::of(&bare) };
    let parsed = ostree::Commit::parse(&bare).map_err(|problem| PublishError::Unfit { object: id, problem })?;
    let members = closure::of_commit(central, &Commit { parsed, metadata: Metadata::new() })?;
    if let Some(sizes) = sizes(central, &members)? {
        metadata.insert(SIZES.into(), sizes);
    }
    let bytes = serialize(parent, tree, &metadata, timestamp);
    let id = ObjectId { kind: ObjectKind::Commit, checksum: Digest::of(&bytes) };
    writer::write(central.path(), &[(&id, &Pending::Metadata(bytes))], |_| {})?;
    Ok(id.checksum)
}

fn serialize(parent: Option<Digest>, tree: (Digest, Digest), metadata: &Metadata, timestamp: Timestamp) -> Vec<u8> {
    let parent = parent.map_or_else(Vec::new, |p| p.0.to_vec());
    let related: Vec<(String, Vec<u8>)> = Vec::new();
    let time = timestamp.as_secs().to_be();
    let (contents, meta) = (tree.0.0.to_vec(), tree.1.0.to_vec());
    (metadata, parent, related, "", "", time, contents, meta).to_variant().data().to_vec()
}

/// `ostree.sizes`: `aay`, each checksum, archived and unpacked size as LEB128, type; sorted by checksum.
/// None when they would make the commit longer than a device accepts.
fn sizes(central: &Central, members: &[ObjectId]) -> Result<Option<Variant>, PublishError> {
    let mut entries = BTreeMap::new();
    for id in members {
        let stored = central.stored_len(id)?;
        let unpacked = if id.kind == ObjectKind::File { unpacked_len(central, id)? } else { stored };
        let mut entry = id.checksum.0.to_vec();
        leb128(&mut entry, stored);
        leb128(&mut entry, unpacked);
        entry.push(id.kind as u8);
        entries.insert(id.checksum, entry);
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
    let (header, end, length) = central.head(id)?;
    Ok(header.target.map_or(length.saturating_sub(end), |target| target.len() as u64))
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
