//! What we want of one manifest, and how the others stand to it piece by piece.

use super::backoff::Backoff;
use super::runs::{self, PieceSpan};
use super::table::Known;
use crate::{Bitmap, Timestamp};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// What we want of a manifest.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) frames: Vec<PieceSpan>,
    pub(super) runs: Vec<Range<u32>>,
    /// For each run, since when a piece of it is needed, nowhere to be had and not being fetched.
    pub(super) open_since: Vec<Option<Timestamp>>,
    /// Runs that central did not have or had wrong.
    pub(super) missing: BTreeMap<u32, Backoff>,
    pub(super) in_flight: Bitmap,
    /// For each piece, how many peers need and lack it, have it nearby, have it far away.
    pub(super) counts: Vec<Count>,
    /// Pieces to pass on for peers that are stuck.
    pub(super) relay: Bitmap,
    /// Pieces whose far copies are in doubt.
    pub(super) doubtful: Bitmap,
    /// For each piece, since when there are far copies.
    far_since: Vec<Option<Timestamp>>,
    pub(super) have_changed: bool,
    pub(super) completed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) need: u32,
    pub(super) near: u32,
    pub(super) far: u32,
}

impl Local {
    pub(super) fn new(frames: Vec<PieceSpan>) -> Self {
        let pieces = frames.len() as u32;
        let runs = runs::cut(&frames);
        Local {
            open_since: vec![None; runs.len()],
            far_since: vec![None; frames.len()],
            runs,
            missing: BTreeMap::new(),
            in_flight: Bitmap::new(pieces),
            counts: vec![Count::default(); frames.len()],
            relay: Bitmap::new(pieces),
            doubtful: Bitmap::new(pieces),
            have_changed: false,
            completed: false,
            frames,
        }
    }

    /// The index of the run in which `piece` lies.
    pub(super) fn run_of(&self, piece: u32) -> u32 {
        self.runs.partition_point(|run| run.end <= piece) as u32
    }

    /// Notes of which pieces there are far copies.
    pub(super) fn look_for_far_copies(&mut self, now: Timestamp) {
        for (since, count) in self.far_since.iter_mut().zip(&self.counts) {
            *since = since.or(Some(now)).filter(|_| count.far > 0);
        }
    }

    /// For how long far copies of a piece have been known.
    pub(super) fn is_far_for(&self, piece: u32, now: Timestamp) -> Duration {
        let since = self.far_since.get(piece as usize).copied().flatten();
        since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Compressed bytes of a piece.
    pub(super) fn length(&self, piece: u32) -> u64 {
        self.frames.get(piece as usize).map_or(0, |f| u64::from(f.length))
    }

    /// Counts what `new` has and lacks in place of what `old` had and lacked.
    pub(super) fn recount(&mut self, old: Option<&Known>, new: Option<&Known>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.differs_in_pieces_only(new)
        {
            return self.recount_pieces(old, new);
        }
        let none = Bitmap::default();
        let lacked = old.map_or_else(Bitmap::default, |k| k.status.need.minus(&k.status.have));
        let lacking = new.map_or_else(Bitmap::default, |k| k.status.need.minus(&k.status.have));
        lacked.iter_minus(&lacking).for_each(|piece| self.count_need(piece, -1));
        lacking.iter_minus(&lacked).for_each(|piece| self.count_need(piece, 1));
        if let (Some(old), Some(new)) = (old, new)
            && old.near == new.near
        {
            let (before, after) = (old.offered(), new.offered());
            before.iter_minus(&after).for_each(|piece| self.count_copy(piece, old.near, -1));
            return after.iter_minus(&before).for_each(|piece| self.count_copy(piece, new.near, 1));
        }
        for (known, by) in [(old, -1), (new, 1)] {
            let near = known.is_some_and(|k| k.near);
            let offered = known.map_or_else(|| none.clone(), Known::offered);
            offered.iter().for_each(|piece| self.count_copy(piece, near, by));
        }
    }

    /// The same for what nearly every status says: a peer has some more pieces.
    fn recount_pieces(&mut self, old: &Known, new: &Known) {
        let (before, after) = (&old.status.have, &new.status.have);
        for (gone, come, by) in [(before, after, -1), (after, before, 1)] {
            for piece in gone.iter_minus(come) {
                self.count_copy(piece, new.near, by);
                if new.status.need.get(piece) {
                    self.count_need(piece, -by);
                }
            }
        }
    }

    fn count_need(&mut self, piece: u32, by: i32) {
        if let Some(count) = self.counts.get_mut(piece as usize) {
            count.need = count.need.saturating_add_signed(by);
        }
    }

    pub(super) fn count_copy(&mut self, piece: u32, near: bool, by: i32) {
        if let Some(count) = self.counts.get_mut(piece as usize) {
            let copies = if near { &mut count.near } else { &mut count.far };
            *copies = copies.saturating_add_signed(by);
        }
    }
}
