//! What an import needs to know of the pieces.

use fullmetal_proto::wire::{Frame, FrameStarts, Pieces, PlainManifest};

#[derive(Debug)]
pub(super) enum Source {
    Frames(Vec<Frame>, FrameStarts),
    Batches(PlainManifest),
}

impl Source {
    pub(super) fn of(pieces: &Pieces) -> Self {
        match pieces {
            Pieces::Frames(manifest) => Source::Frames(manifest.frames.clone(), manifest.starts()),
            Pieces::Batches(manifest) => Source::Batches(manifest.clone()),
        }
    }

    pub(super) fn count(&self) -> u32 {
        match self {
            Source::Frames(frames, _) => frames.len() as u32,
            Source::Batches(manifest) => manifest.ends.len() as u32,
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Source::Frames(Vec::new(), FrameStarts::default())
    }
}
