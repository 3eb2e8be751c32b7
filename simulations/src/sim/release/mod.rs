//! The releases that are to be had: their pieces as the swarm sees them and as central gives them.

mod repo;
mod several;

use super::engine::Random;
use super::scenario::{Kind, ReleaseSpec, Sizes};
use fullmetal_proto::swarm::PieceSpan;
use fullmetal_proto::{Bitmap, Digest};
pub use repo::RepoError;
pub use several::Releases;

/// Bytes that a request to central and the head of its answer take toward the site (measured: nginx, HTTP/1.1).
pub const REQUEST_LEN: u64 = 439;
/// Objects of one plain piece that are asked for at once, over connections that are kept.
pub const PARALLEL_MAX: usize = 8;
/// Bytes of a manifest besides its entries, and of one entry.
const MANIFEST_HEAD_LEN: u64 = 1_024;
const MANIFEST_ENTRY_LEN: u64 = 48;
/// The most small objects in size by which a drawn size may differ: the Pareto tail is cut there.
pub const TAIL: u64 = 4_096;

/// A release. Its pieces are counted from 0 as the swarm does; see [`Releases`] for their numbers among all pieces.
#[derive(Clone, Debug)]
pub struct Release {
    /// The name of its manifest.
    pub manifest: Digest,
    /// The pieces.
    pub spans: Vec<PieceSpan>,
    /// For each piece of a plain release, the bytes of its objects: each is one request. Empty with frames, of which a
    /// run is one request.
    pub objects: Vec<Vec<u64>>,
    /// Bytes of all pieces.
    pub bytes: u64,
    /// Bytes of the manifest.
    pub manifest_len: u64,
    /// Bytes of one copy over the uplink, packets not counted.
    pub one_copy: u64,
}

impl Release {
    /// Builds what `spec` says; what it leaves to chance is drawn from `seed`.
    pub fn new(spec: &ReleaseSpec, seed: u64) -> Result<Self, RepoError> {
        let sizes = sizes(&spec.sizes, seed)?;
        let (lengths, objects) = match spec.kind {
            Kind::Frames => (sizes.clone(), Vec::new()),
            Kind::Plain { batch, batch_objects } => {
                let batches = batches(&sizes, batch, batch_objects as usize);
                (batches.iter().map(|b| b.iter().sum()).collect(), batches)
            }
        };
        let spans: Vec<u32> = lengths.iter().map(|length| span(*length)).collect::<Result<_, _>>()?;
        let spans = PieceSpan::in_a_row(spans);
        let bytes: u64 = sizes.iter().sum();
        let requests = match spec.kind {
            Kind::Frames => sizes.len().div_ceil(fullmetal_proto::swarm::limits::RUN_FRAMES_MAX as usize),
            Kind::Plain { .. } => sizes.len(),
        };
        let one_copy = spec.one_copy.unwrap_or(bytes + REQUEST_LEN * requests as u64);
        let lengths_text: Vec<u8> = lengths.iter().flat_map(|l: &u64| l.to_be_bytes()).collect();
        let manifest = Digest::of_parts(&[b"simulated manifest\0", &lengths_text]);
        let manifest_len = spec.manifest.unwrap_or(MANIFEST_HEAD_LEN + MANIFEST_ENTRY_LEN * sizes.len() as u64);
        Ok(Release { manifest, spans, objects, bytes, manifest_len, one_copy })
    }

    /// The commit that the release is.
    pub fn commit(&self) -> Digest {
        Digest::of_parts(&[b"simulated commit\0", self.manifest.as_bytes()])
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        self.spans.len() as u32
    }

    /// Bytes of a piece.
    pub fn length(&self, piece: u32) -> u64 {
        self.spans.get(piece as usize).map_or(0, |span| u64::from(span.length))
    }

    /// So many millionths of the pieces, drawn.
    pub fn share(&self, ppm: u32, random: &mut Random) -> Bitmap {
        match ppm {
            0 => Bitmap::new(self.pieces()),
            1_000_000.. => Bitmap::full(self.pieces()),
            _ => {
                let mut map = Bitmap::new(self.pieces());
                (0..self.pieces()).filter(|_| random.chance(ppm)).for_each(|piece| {
                    map.set(piece);
                });
                map
            }
        }
    }
}

/// The length of a piece as the swarm has it.
fn span(length: u64) -> Result<u32, RepoError> {
    u32::try_from(length).map_err(|_| RepoError::Piece { length })
}

fn sizes(sizes: &Sizes, seed: u64) -> Result<Vec<u64>, RepoError> {
    Ok(match sizes {
        Sizes::Given(sizes) => sizes.clone(),
        Sizes::Even { total, each } => {
            let mut all = vec![*each; (total / each) as usize];
            all.extend((total % each > 0).then_some(total % each));
            all
        }
        Sizes::Drawn { total, count } => drawn(*total, *count, &mut Random::new(seed, "sizes")),
        Sizes::FromRepo { path, rev, .. } => repo::sizes(path, rev)?,
    })
}

/// Sizes that are Pareto with exponent 1, scaled so that they make up `total`.
fn drawn(total: u64, count: u64, random: &mut Random) -> Vec<u64> {
    let weights: Vec<u64> = (0..count).map(|_| (TAIL << 20) / (1 + random.below(TAIL << 10) / 1024)).collect();
    let sum: u128 = weights.iter().map(|w| u128::from(*w)).sum();
    let size = |w: &u64| (u128::from(total) * u128::from(*w) / sum.max(1)) as u64;
    weights.iter().map(|w| size(w).max(1)).collect()
}

/// Neighbouring objects up to the limits; a longer one is a batch of its own.
fn batches(sizes: &[u64], bytes_max: u64, objects_max: usize) -> Vec<Vec<u64>> {
    let mut batches: Vec<Vec<u64>> = Vec::new();
    let mut bytes = 0;
    for size in sizes {
        match batches.last_mut() {
            Some(batch) if bytes + size <= bytes_max && batch.len() < objects_max => {
                batch.push(*size);
                bytes += size;
            }
            _ => {
                batches.push(vec![*size]);
                bytes = *size;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::Decision;

    #[test]
    fn frames_are_alike_but_for_the_last() {
        let spec = ReleaseSpec {
            kind: Kind::Frames,
            sizes: Sizes::Even { total: 25, each: 10 },
            manifest: None,
            decision: Decision::default(),
            one_copy: None,
        };
        let release = Release::new(&spec, 1).unwrap();
        assert_eq!(release.spans.iter().map(|s| s.length).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!((release.bytes, release.one_copy), (25, 25 + REQUEST_LEN));
    }

    #[test]
    fn a_piece_that_is_too_long_is_refused_and_not_cut() {
        let spec = ReleaseSpec {
            kind: Kind::Plain { batch: 1 << 20, batch_objects: 64 },
            sizes: Sizes::Given(vec![7, 1 << 32]),
            manifest: None,
            decision: Decision::default(),
            one_copy: None,
        };
        let error = Release::new(&spec, 1).unwrap_err().to_string();
        assert_eq!(error, "a piece of 4294967296 bytes; 4294967295 are the most");
    }

    #[test]
    fn drawn_objects_make_up_the_total_and_most_of_them_are_small() {
        let sizes = drawn(175_000_000, 8_000, &mut Random::new(3, "sizes"));
        let total: u64 = sizes.iter().sum();
        assert!((174_900_000..=175_000_000).contains(&total), "{total}");
        let small = sizes.iter().filter(|s| **s < total / 8_000).count();
        assert!(small > 6_000, "{small} below the mean");
    }

    #[test]
    fn batches_end_at_their_bytes_and_objects_and_a_large_object_is_alone() {
        assert_eq!(batches(&[4, 4, 4, 20, 1, 1, 1], 10, 2), [vec![4, 4], vec![4], vec![20], vec![1, 1], vec![1]]);
    }
}
