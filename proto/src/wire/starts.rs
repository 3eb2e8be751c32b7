//! Where frames and objects lie in the stream that all frames' raw bytes make.

use super::manifest::{Frame, ObjectEntry};
use std::ops::RangeInclusive;

/// The start of each frame, so that an object's frames are found without walking them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameStarts {
    starts: Vec<u64>,
    end: u64,
}

impl FrameStarts {
    /// Of a manifest's frames.
    pub fn of(frames: &[Frame]) -> Self {
        let mut end = 0u64;
        let mut next = |frame: &Frame| {
            let start = end;
            end = end.saturating_add(u64::from(frame.raw_length));
            start
        };
        let starts = frames.iter().map(&mut next).collect();
        FrameStarts { starts, end }
    }

    /// Where a frame starts; `None` when there is no such frame.
    pub fn frame(&self, index: u32) -> Option<u64> {
        self.starts.get(index as usize).copied()
    }

    /// Where an object's stream starts and where it ends; `None` when it lies outside the frames.
    pub fn stream(&self, entry: &ObjectEntry) -> Option<(u64, u64)> {
        let start = self.frame(entry.frame)?.checked_add(u64::from(entry.offset))?;
        let end = start.checked_add(entry.length)?;
        (end <= self.end).then_some((start, end))
    }

    /// The frames that an object's stream touches, first to last inclusive.
    ///
    /// A manifest's check has made sure that they exist; of an object that lies outside it is the first only.
    pub fn frames_of(&self, entry: &ObjectEntry) -> RangeInclusive<u32> {
        let end = self.stream(entry).map_or(0, |(_, end)| end);
        let last = self.starts.partition_point(|start| *start < end).saturating_sub(1);
        entry.frame..=entry.frame.max(last as u32)
    }
}
