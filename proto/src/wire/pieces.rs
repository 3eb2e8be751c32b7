//! What a manifest describes, of whichever kind it is: frames or batches.

use super::envelope::{Document, Envelope, Kind, OpenError, envelope_len_max, read};
use super::manifest::{Manifest, ObjectId};
use super::plain::PlainManifest;
use crate::{Bitmap, Digest};

/// The pieces of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// Frames of packs, from `fullmetal publish`.
    Frames(Manifest),
    /// Batches of whole objects, of a plain repo.
    Batches(PlainManifest),
}

impl Pieces {
    /// Decodes a manifest of either kind.
    pub fn open(bytes: &[u8]) -> Result<Self, OpenError> {
        let envelope = Envelope::decode(bytes, envelope_len_max::<Manifest>())?;
        match envelope.kind {
            Kind::PlainManifest => Ok(Pieces::Batches(read::<PlainManifest>(envelope, bytes)?.document)),
            // Whatever else it is, this says so.
            _ => Ok(Pieces::Frames(read::<Manifest>(envelope, bytes)?.document)),
        }
    }

    /// The commit that is described.
    pub fn commit(&self) -> Digest {
        match self {
            Pieces::Frames(manifest) => manifest.commit,
            Pieces::Batches(manifest) => manifest.commit,
        }
    }

    /// How many pieces there are.
    pub fn count(&self) -> u32 {
        match self {
            Pieces::Frames(manifest) => manifest.frames.len() as u32,
            Pieces::Batches(manifest) => manifest.ends.len() as u32,
        }
    }

    /// All objects of the commit, each with its bytes where they are known, else 0.
    pub fn objects(&self) -> Vec<(ObjectId, u64)> {
        match self {
            Pieces::Frames(manifest) => manifest.objects.iter().map(|o| (o.id, o.length)).collect(),
            Pieces::Batches(manifest) => {
                manifest.objects.iter().filter(|o| !o.spare).map(|o| (o.id, o.unpacked)).collect()
            }
        }
    }

    /// Files that go to `/boot`, as [`objects`](Self::objects) has them; none where nobody says which these are.
    pub fn boot_files(&self) -> Vec<(ObjectId, u64)> {
        let Pieces::Frames(Manifest { boot, objects, .. }) = self else { return Vec::new() };
        boot.iter().filter_map(|at| objects.get(*at as usize)).map(|object| (object.id, object.length)).collect()
    }

    /// The pieces needed for the objects for which `missing` says true.
    pub fn needed(&self, missing: impl FnMut(&ObjectId) -> bool) -> Bitmap {
        match self {
            Pieces::Frames(manifest) => manifest.needed(missing),
            Pieces::Batches(manifest) => manifest.needed(missing),
        }
    }

    /// Bytes of the pieces in `set` as they come from central; of a plain repo without sizes an estimate.
    pub fn bytes(&self, set: &Bitmap) -> u64 {
        match self {
            Pieces::Frames(manifest) => manifest.frame_bytes(set),
            Pieces::Batches(manifest) => set.iter().map(|i| manifest.weight(i)).fold(0, u64::saturating_add),
        }
    }
}

const _: () = assert!(Manifest::LEN_MAX == PlainManifest::LEN_MAX);
