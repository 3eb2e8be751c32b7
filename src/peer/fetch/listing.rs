//! What a peer needs of a manifest: its pieces, and where central has them.

use crate::peer::cache::{Cache, CacheError, Key};
use crate::peer::transfer::blob::assemble;
use fullmetal_proto::swarm::PieceSpan;
use fullmetal_proto::wire::{BlobRef, Frame, OpenError, Pieces, PlainManifest};
use fullmetal_proto::{Bitmap, Digest};
use std::io::Read as _;

/// The pieces of one manifest.
#[derive(Debug)]
pub struct Listing {
    /// The manifest, which names it.
    pub blob: BlobRef,
    /// The commit that it describes.
    pub commit: Digest,
    /// What is to be had.
    pub listed: Listed,
}

/// Pieces in the manifest's order.
#[derive(Debug)]
pub enum Listed {
    /// Frames, and SHA-256 of the packs that they lie in.
    Frames(Vec<Frame>, Vec<Digest>),
    /// Batches, and the id of each.
    Batches(PlainManifest, Vec<Digest>),
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
        let pieces = Pieces::open(&bytes)?;
        if pieces.commit() != commit {
            return Err(ListingError::OtherCommit { wanted: commit, found: pieces.commit() });
        }
        let listed = match pieces {
            Pieces::Frames(manifest) => {
                Listed::Frames(manifest.frames, manifest.packs.iter().map(|pack| pack.sha256).collect())
            }
            Pieces::Batches(manifest) => {
                let ids = (0..manifest.ends.len() as u32).map(|batch| manifest.id(batch)).collect();
                Listed::Batches(manifest, ids)
            }
        };
        Ok(Listing { blob, commit, listed })
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        let count = match &self.listed {
            Listed::Frames(frames, _) => frames.len(),
            Listed::Batches(_, ids) => ids.len(),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Where each frame lies; batches as if they lay one after another.
    pub fn spans(&self) -> Vec<PieceSpan> {
        match &self.listed {
            Listed::Frames(frames, _) => {
                frames.iter().map(|f| PieceSpan { pack: f.pack, offset: f.offset, length: f.length }).collect()
            }
            Listed::Batches(manifest, _) => {
                let length = |batch| u32::try_from(manifest.weight(batch)).unwrap_or(u32::MAX);
                PieceSpan::in_a_row((0..self.pieces()).map(length))
            }
        }
    }

    /// What a piece is called in the cache.
    pub fn key(&self, piece: u32) -> Option<Key> {
        match &self.listed {
            Listed::Frames(frames, _) => frames.get(piece as usize).map(|frame| Key::frame(frame.sha256)),
            Listed::Batches(_, ids) => ids.get(piece as usize).copied().map(Key::batch),
        }
    }

    /// How long a piece is, if it lies in `cache`.
    pub fn length_in(&self, cache: &Cache, piece: u32) -> Option<u64> {
        let length = cache.length(self.key(piece)?)?;
        match &self.listed {
            Listed::Frames(frames, _) => {
                frames.get(piece as usize).map(|f| u64::from(f.length)).filter(|l| *l == length)
            }
            Listed::Batches(..) => Some(length),
        }
    }

    /// The pieces that lie in `cache`.
    pub fn cached(&self, cache: &Cache) -> Bitmap {
        let mut have = Bitmap::new(self.pieces());
        for piece in (0..have.len()).filter(|piece| self.length_in(cache, *piece).is_some()) {
            have.set(piece);
        }
        have
    }

    /// Everything of it in the cache: the manifest's chunks and the pieces.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let chunks = self.blob.pieces().into_iter().map(|(sha256, _)| Key::blob(sha256));
        chunks.chain((0..self.pieces()).filter_map(|piece| self.key(piece)))
    }
}
