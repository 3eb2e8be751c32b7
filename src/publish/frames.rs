//! Cuts object streams into frames. Pure: lengths in, places out.

/// Where streams lie in frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Raw bytes of every frame.
    pub frames: Vec<u32>,
    /// For every stream in order: the frame in which it starts, and where.
    pub starts: Vec<(u32, u32)>,
}

impl Plan {
    /// Raw bytes altogether.
    pub fn raw_len(&self) -> u64 {
        self.frames.iter().map(|f| u64::from(*f)).sum()
    }
}

/// Cuts groups of streams, given by their lengths in order, into frames of at most `frame_len` raw bytes.
///
/// No frame holds streams of two groups. A stream that fits into a frame lies in one frame; a longer one
/// begins a frame and runs on through the next, the last of which takes further streams.
pub(super) fn cut(groups: &[&[u64]], frame_len: u32) -> Plan {
    let mut plan = Plan::default();
    for group in groups {
        let mut open = 0;
        for length in *group {
            open = place(&mut plan, *length, open, frame_len);
        }
        close(&mut plan, open);
    }
    plan
}

/// Places one stream and returns how full the open frame is afterwards.
fn place(plan: &mut Plan, length: u64, mut open: u32, frame_len: u32) -> u32 {
    if u64::from(open) + length > u64::from(frame_len) {
        close(plan, open);
        open = 0;
    }
    plan.starts.push((plan.frames.len() as u32, open));
    let mut left = length;
    while left > u64::from(frame_len - open) {
        left -= u64::from(frame_len - open);
        close(plan, frame_len);
        open = 0;
    }
    open + left as u32
}

fn close(plan: &mut Plan, open: u32) {
    if open > 0 {
        plan.frames.push(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_longer_than_a_frame_spans_and_its_tail_takes_others() {
        let plan = cut(&[&[3], &[4, 25, 5, 6]], 10);
        assert_eq!(plan.frames, [3, 4, 10, 10, 10, 6]);
        assert_eq!(plan.starts, [(0, 0), (1, 0), (2, 0), (4, 5), (5, 0)]);
        assert_eq!(cut(&[&[], &[]], 10), Plan::default());
    }

    proptest! {
        #[test]
        fn every_byte_has_its_place(
            groups in proptest::collection::vec(proptest::collection::vec(1u64..300, 0..40), 0..4),
            frame_len in 1u32..100,
        ) {
            let slices: Vec<&[u64]> = groups.iter().map(Vec::as_slice).collect();
            let plan = cut(&slices, frame_len);
            let bases: Vec<u64> = plan.frames.iter().scan(0, |at, f| { let b = *at; *at += u64::from(*f); Some(b) }).collect();
            prop_assert!(plan.frames.iter().all(|f| (1..=frame_len).contains(f)));
            let (mut at, mut starts) = (0, plan.starts.iter());
            for group in &groups {
                // A group begins a frame.
                prop_assert!(group.is_empty() || bases.contains(&at));
                for length in group {
                    let (frame, offset) = *starts.next().unwrap();
                    prop_assert_eq!(bases[frame as usize] + u64::from(offset), at);
                    prop_assert!(offset < plan.frames[frame as usize]);
                    let fits = *length <= u64::from(frame_len);
                    prop_assert!(!fits || u64::from(offset) + length <= u64::from(plan.frames[frame as usize]));
                    prop_assert!(fits || offset == 0);
                    at += length;
                }
            }
            prop_assert_eq!(at, plan.raw_len());
            prop_assert!(starts.next().is_none());
        }
    }
}
