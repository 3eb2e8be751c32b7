//! Puts a manifest together from new and earlier frames, and keeps manifests on disk.

use super::central::Central;
use super::error::{Doing, PublishError, on};
use crate::durable::NewFile;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::envelope::envelope_len_max;
use fullmetal_proto::wire::{self, Frame, Manifest, ObjectEntry, ObjectId, ObjectKind, Opened, Pack};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};

/// Where an object's stream lies: its frames one after another, each with its pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The [`Frame::pack`] in here is meaningless: the pack itself stands beside it.
    pub frames: Vec<(Pack, Frame)>,
    /// Where the stream starts in the first frame's raw bytes.
    pub offset: u32,
    /// Bytes of the stream.
    pub length: u64,
}

/// The file of the manifest of `commit`.
pub(super) fn path(central: &Central, commit: &Digest) -> PathBuf {
    central.manifests().join(commit.to_string())
}

/// Writes the manifest's envelope under its commit, unless there is one.
pub(super) fn write(central: &Central, manifest: &Manifest) -> Result<(), PublishError> {
    let problem = |problem| PublishError::Limits { commit: manifest.commit, problem };
    let bytes = wire::seal(manifest, &[]).map_err(problem)?;
    let path = path(central, &manifest.commit);
    let mut file = NewFile::in_dir(&central.manifests())?;
    file.file().write_all(&bytes).doing(|| on("writing", &path))?;
    central.keep(file, &path)
}

/// The manifest of `commit` and the length of its envelope, if there is one.
pub(super) fn read(central: &Central, commit: &Digest) -> Result<Option<(Opened<Manifest>, u64)>, PublishError> {
    let path = path(central, commit);
    let bad = |problem: String| PublishError::Manifest { path: path.clone(), problem };
    let max = envelope_len_max::<Manifest>() as u64;
    let mut bytes = Vec::new();
    match std::fs::File::open(&path).and_then(|f| f.take(max + 1).read_to_end(&mut bytes)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.doing(|| on("reading", &path))?,
    };
    let opened: Opened<Manifest> = wire::open(&bytes).map_err(|e| bad(e.to_string()))?;
    if opened.document.commit != *commit {
        return Err(bad(format!("it is about commit {}", opened.document.commit)));
    }
    Ok(Some((opened, bytes.len() as u64)))
}

/// The file of a pack.
pub(super) fn pack_path(packs: &Path, pack: &Digest) -> PathBuf {
    packs.join(format!("{pack}.pack"))
}

/// Whether a pack is there in its full length. Its content is hashed by whoever fetches it, frame by frame.
pub(super) fn has_pack(central: &Central, pack: &Pack) -> bool {
    let meta = std::fs::metadata(pack_path(&central.packs(), &pack.sha256));
    meta.is_ok_and(|m| m.is_file() && m.len() == pack.length)
}

/// The manifest of `commit` whose objects lie at `placed`: only packs and frames that hold something of
/// it, packs in the order of first use, frames in pack order (so that spans stay together), metadata first. Of
/// its files those of `boot` go to `/boot`.
pub(super) fn assemble(
    commit: Digest,
    placed: &BTreeMap<ObjectId, Placed>,
    new_pack: Option<&Pack>,
    boot: &BTreeSet<Digest>,
) -> Manifest {
    let mut packs: Vec<Pack> = new_pack.cloned().into_iter().collect();
    let mut frames: BTreeMap<(usize, u64), Frame> = BTreeMap::new();
    for (pack, frame) in placed.values().flat_map(|p| &p.frames) {
        let index = packs.iter().position(|p| p == pack).unwrap_or_else(|| {
            packs.push(pack.clone());
            packs.len() - 1
        });
        frames.insert((index, frame.offset), Frame { pack: index as u32, ..*frame });
    }
    let numbers: BTreeMap<(usize, u64), u32> = frames.keys().copied().zip(0..).collect();
    let entry = |(id, place): (&ObjectId, &Placed)| {
        let (pack, first) = place.frames.first()?;
        let index = packs.iter().position(|p| p == pack)?;
        let frame = *numbers.get(&(index, first.offset))?;
        Some(ObjectEntry { id: *id, frame, offset: place.offset, length: place.length })
    };
    let mut objects: Vec<ObjectEntry> = placed.iter().filter_map(entry).collect();
    objects.sort_by_key(|o| (rank(o.id.kind), o.frame, o.offset));
    let goes_to_boot = |o: &ObjectEntry| o.id.kind == ObjectKind::File && boot.contains(&o.id.checksum);
    let boot = (0..).zip(&objects).filter(|(_, object)| goes_to_boot(object)).map(|(at, _)| at).collect();
    Manifest { commit, packs, frames: frames.into_values().collect(), objects, boot }
}

fn rank(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Commit => 0,
        ObjectKind::DirMeta => 1,
        ObjectKind::DirTree => 2,
        ObjectKind::File => 3,
    }
}
