//! Runs of neighbouring frames: what one Range request takes, and what has one owner.

use super::limits::{RUN_BYTES_MAX, RUN_FRAMES_MAX};
use std::ops::Range;

/// Where a piece lies: its frame's pack, offset and compressed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceSpan {
    /// Index of the pack in the manifest.
    pub pack: u32,
    /// First byte in the pack.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl PieceSpan {
    /// Pieces of these lengths as if they lay one after another in one pack.
    pub fn in_a_row(lengths: impl IntoIterator<Item = u32>) -> Vec<PieceSpan> {
        let mut offset = 0u64;
        let next = |length| {
            let span = PieceSpan { pack: 0, offset, length };
            offset = offset.saturating_add(u64::from(length));
            span
        };
        lengths.into_iter().map(next).collect()
    }
}

/// Cuts the frames into runs of adjoining frames of one pack. It depends on the manifest alone, so that
/// all peers cut alike.
pub(super) fn cut(frames: &[PieceSpan]) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    let mut bytes = 0;
    for (i, frame) in frames.iter().enumerate() {
        let adjoins = i > 0 && adjoin(&frames[i - 1], frame);
        let length = u64::from(frame.length);
        match runs.last_mut() {
            Some(run) if adjoins && run.len() < RUN_FRAMES_MAX as usize && bytes + length <= RUN_BYTES_MAX => {
                run.end += 1;
                bytes += length;
            }
            _ => {
                runs.push(i as u32..i as u32 + 1);
                bytes = length;
            }
        }
    }
    runs
}

fn adjoin(a: &PieceSpan, b: &PieceSpan) -> bool {
    a.pack == b.pack && a.offset.checked_add(u64::from(a.length)) == Some(b.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(lengths: &[u32]) -> Vec<PieceSpan> {
        PieceSpan::in_a_row(lengths.iter().copied())
    }

    #[test]
    fn a_run_ends_at_eight_frames_at_its_bytes_and_at_a_gap() {
        assert_eq!(cut(&spans(&[10; 20])), [0..8, 8..16, 16..20]);
        assert_eq!(cut(&spans(&[8 << 20; 5])), [0..2, 2..4, 4..5]);
        let mut gap = spans(&[10; 6]);
        gap[3].offset += 1;
        assert_eq!(cut(&gap), [0..3, 3..4, 4..6]);
        gap[5].pack = 1;
        assert_eq!(cut(&gap), [0..3, 3..4, 4..5, 5..6]);
        assert!(cut(&[]).is_empty());
    }
}
