//! What a peer needs of a manifest: its frames and the packs they lie in.

use crate::peer::cache::{Cache, CacheError, Key};
use crate::peer::transfer::blob::assemble;
use fullmetal_proto::swarm::PieceSpan;
use fullmetal_proto::wire::{BlobRef, Frame, Manifest, OpenError, open};
use fullmetal_proto::{Bitmap, Digest};
use std::io::Read as _;

/// The frames of one manifest.
#[derive(Debug)]
pub struct Listing {
    /// The manifest, which names it.
    pub blob: BlobRef,
    /// The commit that it describes.
    pub commit: Digest,
    /// SHA-256 of the packs, in the manifest's order.
    pub packs: Vec<Digest>,
    /// The frames, in the manifest's order.
    pub frames: Vec<Frame>,
}

/// Why a manifest in the cache is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// Not all of it is there.
    #[error("parts of the manifest are gone from the cache")]
    Gone,
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// It does not decode.
    #[error("the manifest: {0}")]
    Document(#[from] OpenError),
    /// It describes something else.
    #[error("the manifest describes commit {found}, not {wanted}")]
    OtherCommit {
        /// The commit that was to be described.
        wanted: Digest,
        /// The one that is.
        found: Digest,
    },
}

impl Listing {
    /// Reads the manifest of `commit` from the cache. Blocks.
    pub fn read(cache: &Cache, blob: BlobRef, commit: Digest) -> Result<Self, ListingError> {
        let mut file = assemble(cache, &blob)?.ok_or(ListingError::Gone)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| cache.scratch_error(source))?;
        if Digest::of(&bytes) != blob.sha256 {
            return Err(CacheError::Corrupt { sha256: blob.sha256 }.into());
        }
        let manifest = open::<Manifest>(&bytes)?.document;
        if manifest.commit != commit {
            return Err(ListingError::OtherCommit { wanted: commit, found: manifest.commit });
        }
        let packs = manifest.packs.iter().map(|pack| pack.sha256).collect();
        Ok(Listing { blob, commit, packs, frames: manifest.frames })
    }

    /// How many frames there are.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap_or(u32::MAX)
    }

    /// Where each frame lies.
    pub fn spans(&self) -> Vec<PieceSpan> {
        let span = |f: &Frame| PieceSpan { pack: f.pack, offset: f.offset, length: f.length };
        self.frames.iter().map(span).collect()
    }

    /// The frames that lie in `cache`.
    pub fn cached(&self, cache: &Cache) -> Bitmap {
        let mut have = Bitmap::new(self.pieces());
        for (i, frame) in (0u32..).zip(&self.frames) {
            if cache.has(Key::frame(frame.sha256), u64::from(frame.length)) {
                have.set(i);
            }
        }
        have
    }

    /// Everything of it in the cache: the manifest's chunks and the frames.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let chunks = self.blob.pieces().into_iter().map(|(sha256, _)| Key::blob(sha256));
        chunks.chain(self.frames.iter().map(|frame| Key::frame(frame.sha256)))
    }
}
