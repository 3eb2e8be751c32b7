//! A fleet of swarms on a virtual network with virtual time.

mod company;
mod converge;
mod faults;
mod fetchers;
mod hostile;
mod large;
mod links;
mod net;
mod origin;
mod outage;
mod random;
mod wants;

use super::{Input, PieceSpan};
use crate::{Bitmap, DeviceId, Digest};
use std::net::SocketAddr;

const MIB: u32 = 1 << 20;

/// So many nodes that may ask central and want pieces of 1 MiB.
fn fleet(n: usize, pieces: u32, seed: u64) -> net::Net {
    let mut net = net::Net::new(pieces, MIB, seed);
    (0..n).for_each(|_| _ = net.add(true));
    net
}

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

pub(super) fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8], 4000))
}

pub(super) fn connected(i: usize) -> Input {
    Input::Connected { peer: device(i), address: address(i) }
}

pub(super) fn set(len: u32, pieces: impl IntoIterator<Item = u32>) -> Bitmap {
    let mut map = Bitmap::new(len);
    pieces.into_iter().for_each(|p| _ = map.set(p));
    map
}
