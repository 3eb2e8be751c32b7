//! Fixed-size sets of piece indices: have-maps, need-maps and claims.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A set of indices below [`Bitmap::len`]; one bit each, least significant bit first. Zero bytes at the end are not
/// kept. Clones share their bytes until one of them is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Bitmap {
    len: u32,
    bits: Arc<Vec<u8>>,
}

/// The wire shape: length, then the bytes with trailing zero bytes cut off.
#[derive(Serialize, Deserialize)]
struct Raw(u32, #[serde(with = "serde_bytes")] Vec<u8>);

/// The bytes do not fit the stated length, or the length is over [`Bitmap::LEN_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bitmap bytes do not fit its length, or it is over {} bits", Bitmap::LEN_MAX)]
pub struct BitmapError;

impl Bitmap {
    /// The most indices a bitmap can hold: a manifest has fewer frames than this.
    pub const LEN_MAX: u32 = 1 << 20;

    /// An empty set of indices below `len`.
    ///
    /// # Panics
    /// When `len` is over [`Bitmap::LEN_MAX`]; lengths from outside are checked at parsing.
    pub fn new(len: u32) -> Self {
        assert!(len <= Self::LEN_MAX, "bitmap length over the limit");
        Bitmap { len, bits: Arc::default() }
    }

    /// All indices below `len`.
    pub fn full(len: u32) -> Self {
        let mut map = Self::new(len);
        for i in 0..len {
            map.set(i);
        }
        map
    }

    /// One more than the largest index it can hold.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no index is set.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|b| *b == 0)
    }

    /// Whether every index is set.
    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }

    /// How many indices are set.
    pub fn count(&self) -> u32 {
        self.bits.iter().map(|b| b.count_ones()).sum()
    }

    /// Whether `i` is set; indices out of range are not.
    pub fn get(&self, i: u32) -> bool {
        self.bits.get((i / 8) as usize).is_some_and(|byte| byte & (1 << (i % 8)) != 0)
    }

    /// Sets `i`; indices out of range are ignored. Returns whether it was new.
    pub fn set(&mut self, i: u32) -> bool {
        if i >= self.len || self.get(i) {
            return false;
        }
        let at = (i / 8) as usize;
        let bits = Arc::make_mut(&mut self.bits);
        if bits.len() <= at {
            bits.resize(at + 1, 0);
        }
        bits[at] |= 1 << (i % 8);
        true
    }

    /// Clears `i`; indices out of range are ignored. Returns whether it was set.
    pub fn clear(&mut self, i: u32) -> bool {
        if !self.get(i) {
            return false;
        }
        Arc::make_mut(&mut self.bits)[(i / 8) as usize] &= !(1 << (i % 8));
        self.trim();
        true
    }

    /// The set indices in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits.iter().enumerate().flat_map(|(at, byte)| indices(at, *byte))
    }

    /// Adds every index of `other` that fits.
    pub fn union_with(&mut self, other: &Bitmap) {
        if other.bits.is_empty() {
            return;
        }
        let fits = other.bits.len().min(self.len.div_ceil(8) as usize);
        let bits = Arc::make_mut(&mut self.bits);
        if bits.len() < fits {
            bits.resize(fits, 0);
        }
        for (mine, theirs) in bits.iter_mut().zip(other.bits.iter()) {
            *mine |= theirs;
        }
        let spare = fits as u32 * 8;
        if let Some(last) = bits.get_mut(fits.wrapping_sub(1)).filter(|_| spare > self.len) {
            *last &= u8::MAX >> (spare - self.len);
        }
        self.trim();
    }

    /// The indices in `self` that are not in `other`.
    pub fn minus(&self, other: &Bitmap) -> Bitmap {
        let mut out = self.clone();
        for (mine, theirs) in Arc::make_mut(&mut out.bits).iter_mut().zip(other.bits.iter()) {
            *mine &= !theirs;
        }
        out.trim();
        out
    }

    /// The indices in `self` that are not in `other`, in rising order; no map is made of them.
    pub fn iter_minus<'a>(&'a self, other: &'a Bitmap) -> impl Iterator<Item = u32> + 'a {
        let theirs = other.bits.iter().copied().chain(std::iter::repeat(0));
        self.bits.iter().zip(theirs).enumerate().flat_map(|(at, (mine, theirs))| indices(at, mine & !theirs))
    }

    /// Whether every index in `self` is in `other` too.
    pub fn is_subset_of(&self, other: &Bitmap) -> bool {
        let theirs = other.bits.iter().copied().chain(std::iter::repeat(0));
        self.bits.iter().zip(theirs).all(|(mine, theirs)| mine & !theirs == 0)
    }

    fn trim(&mut self) {
        let length = self.bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if length < self.bits.len() {
            Arc::make_mut(&mut self.bits).truncate(length);
        }
    }
}

/// The indices of the bits that are set in the byte at `at`.
fn indices(at: usize, byte: u8) -> impl Iterator<Item = u32> {
    let mut left = byte;
    std::iter::from_fn(move || {
        let bit = left.trailing_zeros();
        (bit < 8).then(|| {
            left &= left - 1;
            at as u32 * 8 + bit
        })
    })
}

impl From<Bitmap> for Raw {
    fn from(map: Bitmap) -> Raw {
        Raw(map.len, Arc::unwrap_or_clone(map.bits))
    }
}

impl TryFrom<Raw> for Bitmap {
    type Error = BitmapError;

    fn try_from(Raw(len, bits): Raw) -> Result<Self, BitmapError> {
        let bytes = len.div_ceil(8) as usize;
        if len > Self::LEN_MAX || bits.len() > bytes {
            return Err(BitmapError);
        }
        let spare = bytes as u32 * 8 - len;
        let is_last = bits.len() == bytes;
        if is_last && spare > 0 && bits.last().is_some_and(|b| b.leading_zeros() < spare) {
            return Err(BitmapError);
        }
        let mut map = Bitmap { len, bits: Arc::new(bits) };
        map.trim();
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bitmap_is_the_set_of_what_was_set(len in 1u32..300, picks in proptest::collection::btree_set(0u32..400, 0..60)) {
            let mut map = Bitmap::new(len);
            for i in &picks {
                map.set(*i);
            }
            let expected: Vec<u32> = picks.iter().copied().filter(|i| *i < len).collect();
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(map.count() as usize, expected.len());
            let back = Bitmap::try_from(Raw::from(map.clone())).unwrap();
            prop_assert_eq!(back, map.clone());
            prop_assert!(map.minus(&map).is_empty());
            let odd: Bitmap = picks.iter().filter(|i| *i % 2 == 1).fold(Bitmap::new(len + 70), |mut odd, i| { odd.set(*i); odd });
            let even: Vec<u32> = expected.iter().copied().filter(|i| i % 2 == 0).collect();
            prop_assert_eq!(map.minus(&odd).iter().collect::<Vec<_>>(), even.clone());
            prop_assert_eq!(map.iter_minus(&odd).collect::<Vec<_>>(), even.clone());
            prop_assert_eq!(map.is_subset_of(&odd), even.is_empty());
            let mut both = map.clone();
            both.union_with(&odd);
            let either: Vec<u32> = (0..len).filter(|i| map.get(*i) || odd.get(*i)).collect();
            prop_assert_eq!(both.iter().collect::<Vec<_>>(), either);
            let mut grown = Bitmap::new(len);
            expected.iter().for_each(|i| { grown.set(*i); });
            picks.iter().rev().for_each(|i| { grown.set(*i); grown.clear(*i); });
            prop_assert_eq!(grown, Bitmap::new(len));
            prop_assert!(Bitmap::full(len).minus(&map).count() == len - map.count());
        }
    }

    #[test]
    fn bits_beyond_the_length_are_refused() {
        assert_eq!(Bitmap::try_from(Raw(4, vec![0x10])), Err(BitmapError));
        assert_eq!(Bitmap::try_from(Raw(4, vec![1, 0])), Err(BitmapError));
        assert_eq!(Bitmap::try_from(Raw(u32::MAX, vec![])), Err(BitmapError));
    }
}
