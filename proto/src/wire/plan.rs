//! What a device fetches of a release, as far as that follows from what it has.

use super::manifest::{Manifest, ObjectId};
use super::pieces::Pieces;
use super::plain::PlainManifest;
use std::iter::zip;

/// What is fetched, and how near it is to the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchPlan {
    /// Objects that are missing.
    pub objects: usize,
    /// Their bytes as they lie on the device; of a plain repo without sizes 0.
    pub object_bytes: u64,
    /// Pieces in which these lie: frames, or batches of a plain repo.
    pub pieces: u32,
    /// Bytes of those pieces, as they come from central.
    pub bytes: u64,
    /// Bytes that the missing objects alone would take, compressed as well as the pieces that they lie in.
    pub fewest: u64,
}

impl Pieces {
    /// The plan of a device that lacks the objects for which `missing` says true.
    pub fn plan(&self, mut missing: impl FnMut(&ObjectId) -> bool) -> FetchPlan {
        let lacking: Vec<(ObjectId, u64)> = self.objects().into_iter().filter(|(id, _)| missing(id)).collect();
        let pieces = self.needed(&mut missing);
        FetchPlan {
            objects: lacking.len(),
            object_bytes: lacking.iter().map(|(_, length)| *length).fold(0, u64::saturating_add),
            pieces: pieces.count(),
            bytes: self.bytes(&pieces),
            fewest: match self {
                Pieces::Frames(manifest) => fewest_in_frames(manifest, missing),
                Pieces::Batches(manifest) => fewest_in_batches(manifest, missing),
            },
        }
    }
}

/// Each frame's share of missing bytes. Of objects that span many frames only the ends are looked at one by one, since a hostile
/// manifest may have many of them.
fn fewest_in_frames(manifest: &Manifest, mut missing: impl FnMut(&ObjectId) -> bool) -> u64 {
    let (starts, count) = (manifest.starts(), manifest.frames.len());
    let (mut parts, mut whole) = (vec![0u64; count], vec![0i64; count + 1]);
    for entry in manifest.objects.iter().filter(|entry| missing(&entry.id)) {
        let Some((start, end)) = starts.stream(entry) else { continue };
        let (first, last) = starts.frames_of(entry).into_inner();
        let start_of = |frame: u32| starts.frame(frame).unwrap_or(end);
        let end_of_first = if first == last { end } else { start_of(first + 1) };
        parts[first as usize] += end_of_first - start;
        if first < last {
            parts[last as usize] += end - start_of(last);
            whole[first as usize + 1] += 1;
            whole[last as usize] -= 1;
        }
    }
    let mut covered = 0;
    let shares = zip(&manifest.frames, zip(parts, whole)).map(|(frame, (part, change))| {
        covered += change;
        let raw = u64::from(frame.raw_length);
        let live = if covered > 0 { raw } else { part.min(raw) };
        (u64::from(frame.length) * live).div_ceil(raw.max(1))
    });
    shares.sum()
}

fn fewest_in_batches(manifest: &PlainManifest, mut missing: impl FnMut(&ObjectId) -> bool) -> u64 {
    let needed = manifest.objects.iter().filter(|object| !object.spare && missing(&object.id));
    needed.map(|object| object.weight()).fold(0, u64::saturating_add)
}
