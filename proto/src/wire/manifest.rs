//! The manifest of one commit: in which frames of which packs its objects lie.
//!
//! Tables of fixed-width big-endian records inside byte strings keep 8,000 objects under 0.5 MB and let
//! them be read in place.

use super::envelope::{Document, DocumentError, Kind};
use super::records::{Record, be32, be64, digest, pack_records, unpack_records};
use super::starts::FrameStarts;
use crate::{Bitmap, Digest};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most packs that a manifest may name.
pub const PACKS_MAX: usize = 1024;
/// The most objects.
pub const OBJECTS_MAX: usize = 500_000;
/// The longest frame, compressed.
pub const FRAME_LEN_MAX: u32 = 8 << 20;
/// The longest frame, raw: bounds what a decompressor may give.
pub const FRAME_RAW_MAX: u32 = 8 << 20;

/// An OSTree object type, with libostree's numbers (`OstreeObjectType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A regular file or symlink.
    File = 1,
    /// A directory listing.
    DirTree = 2,
    /// Owner, mode and xattrs of a directory.
    DirMeta = 3,
    /// A commit.
    Commit = 4,
}

impl ObjectKind {
    pub(super) fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => ObjectKind::File,
            2 => ObjectKind::DirTree,
            3 => ObjectKind::DirMeta,
            4 => ObjectKind::Commit,
            _ => return None,
        })
    }

    /// The suffix of its file name in an archive repo.
    pub fn archive_suffix(self) -> &'static str {
        match self {
            ObjectKind::File => "filez",
            ObjectKind::DirTree => "dirtree",
            ObjectKind::DirMeta => "dirmeta",
            ObjectKind::Commit => "commit",
        }
    }
}

/// An object's type and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// Type.
    pub kind: ObjectKind,
    /// SHA-256 of its stream.
    pub checksum: Digest,
}

impl ObjectId {
    /// Where its file lies below the root of an archive repo (`ostree_get_relative_object_path` in libostree's
    /// `ostree-core.c`).
    pub fn archive_path(&self) -> String {
        let hex = self.checksum.to_string();
        format!("objects/{}/{}.{}", &hex[..2], &hex[2..], self.kind.archive_suffix())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == ObjectKind::File { "file" } else { self.kind.archive_suffix() };
        write!(f, "{}.{kind}", self.checksum)
    }
}

/// A pack file: `fullmetal/packs/<sha256>.pack` in the central repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// SHA-256 of the file, which is its name.
    pub sha256: Digest,
    /// Bytes.
    pub length: u64,
}

/// One frame: a zstd-compressed run of object streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index into the packs.
    pub pack: u32,
    /// Where it starts in the pack.
    pub offset: u64,
    /// Compressed bytes.
    pub length: u32,
    /// Bytes after decompression.
    pub raw_length: u32,
    /// SHA-256 of the compressed bytes.
    pub sha256: Digest,
}

/// Where an object's stream lies. It may run on into the following frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Which object.
    pub id: ObjectId,
    /// Index of the frame in which it starts.
    pub frame: u32,
    /// Where it starts in that frame's raw bytes.
    pub offset: u32,
    /// Bytes of the stream.
    pub length: u64,
}

/// Frames and objects of a commit's whole closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The commit.
    pub commit: Digest,
    /// Packs in which frames lie; earlier releases' where they hold what is needed.
    pub packs: Vec<Pack>,
    /// Frames, those of an object that spans several one after another.
    #[serde(serialize_with = "pack_records", deserialize_with = "unpack_records")]
    pub frames: Vec<Frame>,
    /// Objects, each once, metadata first.
    #[serde(serialize_with = "pack_records", deserialize_with = "unpack_records")]
    pub objects: Vec<ObjectEntry>,
    /// Files of an operating system that go to `/boot`, by their places in `objects`, ascending; empty where the publisher did not
    /// say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot: Vec<u32>,
}

impl Manifest {
    /// Where frames and objects lie; made anew each time.
    pub fn starts(&self) -> FrameStarts {
        FrameStarts::of(&self.frames)
    }

    /// The frames needed for the objects for which `missing` says true.
    pub fn needed(&self, mut missing: impl FnMut(&ObjectId) -> bool) -> Bitmap {
        let (starts, count) = (self.starts(), self.frames.len());
        // How many more wanted objects begin at a frame than ended before it: many may span the same frames.
        let mut change = vec![0i64; count + 1];
        for entry in self.objects.iter().filter(|e| missing(&e.id)) {
            let (first, last) = starts.frames_of(entry).into_inner();
            change[(first as usize).min(count)] += 1;
            change[(last as usize + 1).min(count)] -= 1;
        }
        let mut need = Bitmap::new(count as u32);
        let mut open = 0;
        for (frame, change) in (0u32..).zip(&change) {
            open += change;
            if open > 0 {
                need.set(frame);
            }
        }
        need
    }

    /// Compressed bytes of the frames in `set`.
    pub fn frame_bytes(&self, set: &Bitmap) -> u64 {
        set.iter().map(|i| u64::from(self.frames[i as usize].length)).sum()
    }
}

impl Document for Manifest {
    const KIND: Kind = Kind::Manifest;
    const LEN_MAX: usize = (32 << 20) - 4096;

    fn check(&self) -> Result<(), DocumentError> {
        if self.packs.len() > PACKS_MAX || self.objects.len() > OBJECTS_MAX {
            return DocumentError::err("packs", format!("over {PACKS_MAX} packs or {OBJECTS_MAX} objects"));
        }
        if self.frames.len() as u64 > u64::from(Bitmap::LEN_MAX) {
            return DocumentError::err("frames", "too many frames");
        }
        self.frames.iter().try_for_each(|f| self.check_frame(f))?;
        let starts = self.starts();
        self.objects.iter().try_for_each(|o| self.check_object(o, &starts))?;
        self.check_boot()?;
        check_ids(self.objects.iter().map(|o| o.id).collect(), self.commit)
    }
}

/// Each object once, and the commit among them.
pub(super) fn check_ids(mut ids: Vec<ObjectId>, commit: Digest) -> Result<(), DocumentError> {
    ids.sort_unstable();
    if ids.windows(2).any(|w| w[0] == w[1]) {
        return DocumentError::err("objects", "an object twice");
    }
    if ids.binary_search(&ObjectId { kind: ObjectKind::Commit, checksum: commit }).is_err() {
        return DocumentError::err("objects", "the commit itself is missing");
    }
    Ok(())
}

impl Manifest {
    fn check_boot(&self) -> Result<(), DocumentError> {
        let is_file = |at: &u32| self.objects.get(*at as usize).is_some_and(|o| o.id.kind == ObjectKind::File);
        match self.boot.iter().all(is_file) && self.boot.windows(2).all(|pair| pair[0] < pair[1]) {
            true => Ok(()),
            false => DocumentError::err("boot", "not files of the commit, each once"),
        }
    }

    fn check_frame(&self, frame: &Frame) -> Result<(), DocumentError> {
        let Some(pack) = self.packs.get(frame.pack as usize) else {
            return DocumentError::err("frames", "pack index out of range");
        };
        let end = frame.offset.checked_add(u64::from(frame.length));
        if end.is_none_or(|end| end > pack.length) {
            return DocumentError::err("frames", "a frame runs over its pack's end");
        }
        let empty = frame.length == 0 || frame.raw_length == 0;
        if empty || frame.length > FRAME_LEN_MAX || frame.raw_length > FRAME_RAW_MAX {
            return DocumentError::err("frames", format!("a frame is empty or over {FRAME_LEN_MAX} bytes"));
        }
        Ok(())
    }

    fn check_object(&self, entry: &ObjectEntry, starts: &FrameStarts) -> Result<(), DocumentError> {
        let Some(first) = self.frames.get(entry.frame as usize) else {
            return DocumentError::err("objects", "frame index out of range");
        };
        if entry.offset >= first.raw_length || entry.length == 0 {
            return DocumentError::err("objects", "an object is empty or starts past its frame's end");
        }
        if starts.stream(entry).is_none() {
            return DocumentError::err("objects", "an object runs over the last frame");
        }
        Ok(())
    }
}

/// pack u32, offset u64, length u32, raw length u32, sha256.
impl Record for Frame {
    const WIDTH: usize = 52;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.pack.to_be_bytes());
        out.extend(self.offset.to_be_bytes());
        out.extend(self.length.to_be_bytes());
        out.extend(self.raw_length.to_be_bytes());
        out.extend(self.sha256.as_bytes());
    }

    fn read(b: &[u8]) -> Option<Self> {
        let (pack, offset) = (be32(b), be64(&b[4..]));
        let (length, raw_length) = (be32(&b[12..]), be32(&b[16..]));
        Some(Frame { pack, offset, length, raw_length, sha256: digest(&b[20..52])? })
    }
}

/// type u8, checksum, frame u32, offset u32, length u64.
impl Record for ObjectEntry {
    const WIDTH: usize = 49;

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id.kind as u8);
        out.extend(self.id.checksum.as_bytes());
        out.extend(self.frame.to_be_bytes());
        out.extend(self.offset.to_be_bytes());
        out.extend(self.length.to_be_bytes());
    }

    fn read(b: &[u8]) -> Option<Self> {
        let id = ObjectId { kind: ObjectKind::from_byte(b[0])?, checksum: digest(&b[1..33])? };
        Some(ObjectEntry { id, frame: be32(&b[33..]), offset: be32(&b[37..]), length: be64(&b[41..]) })
    }
}
