//! The manifest of a commit in a plain repo: whole objects in batches.
//!
//! A repo that `fullmetal publish` did not frame has no packs. There a piece is a **batch** of whole objects, fetched from
//! central one by one and named by a hash over the objects' names; what says that a batch is right is each object's own
//! checksum. The gateway derives this manifest from the commit and its dirtrees.
//!
//! A batch on its way and in a cache, "as packed": one byte of [`Encoding`], the encoded body, and SHA-256 of encoding byte
//! and body (32 bytes), which tells a rotten file from a good one without unpacking it. The body is, for each object in the
//! manifest's order, a big-endian u64 length and the object's stream. Two peers may pack the same batch differently.

use super::envelope::{Document, DocumentError, Kind};
use super::manifest::{OBJECTS_MAX, ObjectId, ObjectKind, check_ids};
use super::records::{Record, be32, be64, digest, pack_records, unpack_records};
use crate::{Bitmap, Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The most objects in one batch.
pub const BATCH_OBJECTS_MAX: usize = 64;
/// Known bytes at central after which a batch is full.
pub const BATCH_BYTES: u64 = 2 << 20;
/// What an object of unknown length counts for.
pub const UNKNOWN_BYTES: u64 = 64 << 10;
/// The longest stream of an object; a batch has at most twice as much, which bounds what unpacking a lie may cost.
pub const BATCH_RAW_MAX: u64 = 16 << 30;
/// Bytes of the digest at the end of a packed batch.
pub const BATCH_DIGEST_LEN: u64 = 32;

/// How a batch's body is encoded: the first byte of a packed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Encoding {
    /// The encoding with this number.
    pub fn from_byte(b: u8) -> Option<Self> {
        match b {
            0 => Some(Encoding::Raw),
            1 => Some(Encoding::Zstd),
            _ => None,
        }
    }
}

/// An object of a plain repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainObject {
    /// Which object.
    pub id: ObjectId,
    /// Bytes of its file in the archive repo, or 0 when nobody said.
    pub archived: u64,
    /// Bytes of its content, without the stream's head; 0 when nobody said.
    pub unpacked: u64,
    /// It is not part of the commit: it is here because the batch that it is in has others that are.
    pub spare: bool,
}

impl PlainObject {
    /// What it counts for where lengths are weighed.
    pub fn weight(&self) -> u64 {
        if self.archived == 0 { UNKNOWN_BYTES } else { self.archived }
    }
}

/// Batches and objects of a commit's whole closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainManifest {
    /// The commit.
    pub commit: Digest,
    /// Where each batch ends among the objects.
    #[serde(serialize_with = "pack_records", deserialize_with = "unpack_records")]
    pub ends: Vec<u32>,
    /// Objects, each once.
    #[serde(serialize_with = "pack_records", deserialize_with = "unpack_records")]
    pub objects: Vec<PlainObject>,
}

impl PlainManifest {
    /// Cuts `objects` into batches; files and metadata never share one.
    ///
    /// Batches of `earlier` manifests stay whole as long as half of their weight is still wanted, with what is not as
    /// spare: caches have them, so that an update costs its new objects alone, and who comes late gets everything from
    /// neighbours. What is left of other batches is cut anew together with what is new, and so gets into all caches.
    pub fn of(commit: Digest, objects: Vec<PlainObject>, earlier: &[PlainManifest]) -> Self {
        let mut left: BTreeMap<ObjectId, PlainObject> = objects.into_iter().map(|o| (o.id, o)).collect();
        let mut manifest = PlainManifest { commit, ends: Vec::new(), objects: Vec::with_capacity(left.len()) };
        let mut used: BTreeSet<ObjectId> = BTreeSet::new();
        for earlier in earlier {
            for batch in (0..earlier.ends.len() as u32).map(|batch| earlier.batch(batch)) {
                if !batch.iter().any(|o| used.contains(&o.id)) && is_worth_keeping(batch, &left) {
                    used.extend(batch.iter().map(|o| o.id));
                    let kept = batch.iter().map(|o| left.remove(&o.id).unwrap_or(PlainObject { spare: true, ..*o }));
                    manifest.add(kept);
                }
            }
        }
        manifest.cut(left.into_values().filter(|o| !used.contains(&o.id)).collect());
        manifest
    }

    fn add(&mut self, batch: impl Iterator<Item = PlainObject>) {
        self.objects.extend(batch);
        self.ends.push(self.objects.len() as u32);
    }

    fn cut(&mut self, mut objects: Vec<PlainObject>) {
        objects.sort_by_key(|o| (stage(o.id.kind), o.id));
        let (mut batch, mut bytes): (Vec<PlainObject>, u64) = (Vec::new(), 0);
        for object in objects {
            let other_kind = batch.last().is_some_and(|before| stage(before.id.kind) != stage(object.id.kind));
            let full = batch.len() == BATCH_OBJECTS_MAX || object.weight().saturating_add(bytes) > BATCH_BYTES;
            if !batch.is_empty() && (other_kind || full) {
                self.add(std::mem::take(&mut batch).into_iter());
                bytes = 0;
            }
            bytes = bytes.saturating_add(object.weight());
            batch.push(object);
        }
        if !batch.is_empty() {
            self.add(batch.into_iter());
        }
    }

    /// Which objects are in a batch; an empty range when there is no such batch.
    pub fn range(&self, batch: u32) -> Range<usize> {
        let Some(end) = self.ends.get(batch as usize) else { return 0..0 };
        let start = (batch as usize).checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        start as usize..*end as usize
    }

    /// The objects of a batch.
    pub fn batch(&self, batch: u32) -> &[PlainObject] {
        self.objects.get(self.range(batch)).unwrap_or_default()
    }

    /// What names a batch: SHA-256 of `fullmetal/batch\0` and, for each object, its type and checksum.
    pub fn id(&self, batch: u32) -> Digest {
        let mut bytes = b"fullmetal/batch\0".to_vec();
        for object in self.batch(batch) {
            bytes.push(object.id.kind as u8);
            bytes.extend_from_slice(object.id.checksum.as_bytes());
        }
        Digest::of(&bytes)
    }

    /// What a batch weighs at central, about.
    pub fn weight(&self, batch: u32) -> u64 {
        self.batch(batch).iter().map(PlainObject::weight).fold(0, u64::saturating_add)
    }

    /// The batches needed for the objects for which `missing` says true.
    pub fn needed(&self, mut missing: impl FnMut(&ObjectId) -> bool) -> Bitmap {
        let mut need = Bitmap::new(self.ends.len() as u32);
        for batch in 0..need.len() {
            if self.batch(batch).iter().any(|o| !o.spare && missing(&o.id)) {
                need.set(batch);
            }
        }
        need
    }
}

/// Whether at least half of the batch's weight is among `wanted`.
fn is_worth_keeping(batch: &[PlainObject], wanted: &BTreeMap<ObjectId, PlainObject>) -> bool {
    let weigh =
        |objects: &mut dyn Iterator<Item = &PlainObject>| objects.map(PlainObject::weight).fold(0, u64::saturating_add);
    let alive = weigh(&mut batch.iter().filter(|o| wanted.contains_key(&o.id)));
    alive > 0 && alive >= weigh(&mut batch.iter()) / 2
}

fn stage(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::File => 0,
        ObjectKind::DirTree | ObjectKind::DirMeta => 1,
        ObjectKind::Commit => 2,
    }
}

impl Document for PlainManifest {
    const KIND: Kind = Kind::PlainManifest;
    const LEN_MAX: usize = (32 << 20) - 4096;

    fn check(&self) -> Result<(), DocumentError> {
        if self.objects.len() > OBJECTS_MAX {
            return DocumentError::err("objects", format!("over {OBJECTS_MAX} objects"));
        }
        if self.objects.iter().any(|o| o.archived.max(o.unpacked) > BATCH_RAW_MAX) {
            return DocumentError::err("objects", format!("an object over {BATCH_RAW_MAX} bytes"));
        }
        let mut before = 0;
        for end in &self.ends {
            if !(1..=BATCH_OBJECTS_MAX).contains(&(*end as usize).saturating_sub(before)) {
                return DocumentError::err("ends", format!("a batch is empty or over {BATCH_OBJECTS_MAX} objects"));
            }
            before = *end as usize;
        }
        if before != self.objects.len() {
            return DocumentError::err("ends", "the last batch does not end with the last object");
        }
        if self.objects.iter().any(|o| o.spare && o.id.checksum == self.commit) {
            return DocumentError::err("objects", "the commit itself is spare");
        }
        check_ids(self.objects.iter().map(|o| o.id).collect(), self.commit)
    }
}

impl Record for u32 {
    const WIDTH: usize = 4;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }

    fn read(b: &[u8]) -> Option<Self> {
        Some(be32(b))
    }
}

/// In the byte of the type: the object is spare.
const SPARE: u8 = 0x80;

/// type u8 (with [`SPARE`]), checksum, archived u64, unpacked u64.
impl Record for PlainObject {
    const WIDTH: usize = 49;

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id.kind as u8 | if self.spare { SPARE } else { 0 });
        out.extend(self.id.checksum.as_bytes());
        out.extend(self.archived.to_be_bytes());
        out.extend(self.unpacked.to_be_bytes());
    }

    fn read(b: &[u8]) -> Option<Self> {
        let id = ObjectId { kind: ObjectKind::from_byte(b[0] & !SPARE)?, checksum: digest(&b[1..33])? };
        let (archived, unpacked) = (be64(&b[33..]), be64(&b[41..]));
        Some(PlainObject { id, archived, unpacked, spare: b[0] & SPARE != 0 })
    }
}
