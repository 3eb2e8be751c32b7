//! A fleet of swarms on a virtual network with virtual time.

mod converge;
mod faults;
mod hostile;
mod large;
mod links;
mod net;
mod origin;
mod random;
mod wants;

use super::PieceSpan;
use crate::{Bitmap, DeviceId, Digest};

/// A manifest of `pieces` frames in one pack.
pub(super) fn frames(pieces: u32, length: u32) -> Vec<PieceSpan> {
    (0..pieces).map(|i| PieceSpan { pack: 0, offset: u64::from(i) * u64::from(length), length }).collect()
}

pub(super) fn manifest() -> Digest {
    Digest::of(b"manifest")
}

pub(super) fn device(i: usize) -> DeviceId {
    format!("device-{i:03}").parse().unwrap()
}

pub(super) fn set(len: u32, pieces: impl IntoIterator<Item = u32>) -> Bitmap {
    let mut map = Bitmap::new(len);
    pieces.into_iter().for_each(|p| _ = map.set(p));
    map
}
