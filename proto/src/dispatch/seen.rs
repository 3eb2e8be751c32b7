//! Which report counters of a device have arrived.

use serde::{Deserialize, Serialize};

/// The most separate runs that are remembered. What would make one more is not taken before the gaps below are
/// filled: the device sends it again.
const RUNS_MAX: usize = 64;

/// The counters that arrived, as runs, and up to where nothing is waited for any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// First and last of each run, rising, never touching.
    runs: Vec<(u64, u64)>,
    /// All up to this arrived or will never come.
    base: u64,
}

impl Seen {
    /// Whether the counter arrived.
    pub fn contains(&self, counter: u64) -> bool {
        self.runs.iter().any(|(first, last)| (*first..=*last).contains(&counter))
    }

    /// Up to which counter a receipt may be given.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Whether there is room to remember the counter, with `more` others on their way to the disk. There always
    /// is for the lowest one that is missing, so that no gap keeps itself open.
    pub fn has_room(&self, counter: u64, more: usize) -> bool {
        let above = self.runs.iter().filter(|(_, last)| *last > self.base).count();
        counter <= self.base.saturating_add(1) || above + more < RUNS_MAX
    }

    /// Adds a counter; false when it was there.
    pub fn insert(&mut self, counter: u64) -> bool {
        if self.contains(counter) {
            return false;
        }
        let at = self.runs.partition_point(|(first, _)| *first < counter);
        self.runs.insert(at, (counter, counter));
        self.join();
        self.advance();
        true
    }

    /// Whether something below `oldest` is still waited for.
    pub fn waits_below(&self, oldest: u64) -> bool {
        self.base.saturating_add(1) < oldest
    }

    /// Stops waiting for everything below `oldest`; it still counts if it comes.
    pub fn give_up_below(&mut self, oldest: u64) {
        self.base = self.base.max(oldest.saturating_sub(1));
        self.advance();
    }

    fn join(&mut self) {
        self.runs.dedup_by(|next, run| {
            let touches = run.1.checked_add(1) == Some(next.0);
            if touches {
                run.1 = next.1;
            }
            touches
        });
    }

    /// Raises the base over what arrived, and forgets the lowest gaps below it when there are many.
    fn advance(&mut self) {
        for (first, last) in &self.runs {
            if *first <= self.base.saturating_add(1) {
                self.base = self.base.max(*last);
            }
        }
        while self.runs.len() > RUNS_MAX && self.runs[1].1 <= self.base {
            self.runs[1].0 = self.runs[0].0;
            self.runs.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_arrived_and_its_base_has_no_gap(counters in proptest::collection::vec(1u64..80, 0..60)) {
            let (mut seen, mut set) = (Seen::default(), BTreeSet::new());
            for c in counters {
                prop_assert_eq!(seen.insert(c), set.insert(c));
                let base = (1..).take_while(|c| set.contains(c)).last().unwrap_or(0);
                prop_assert_eq!(seen.base(), base);
                prop_assert_eq!(seen.waits_below(base + 2), true);
            }
            for c in 0..90 {
                prop_assert_eq!(seen.contains(c), set.contains(&c));
            }
        }
    }

    #[test]
    fn a_gap_that_was_given_up_still_takes_late_counters() {
        let mut seen = Seen::default();
        seen.insert(7);
        seen.insert(8);
        assert_eq!((seen.base(), seen.waits_below(5)), (0, true));
        seen.give_up_below(5);
        assert_eq!((seen.base(), seen.waits_below(5), seen.waits_below(6)), (4, false, true));
        seen.give_up_below(7);
        assert_eq!(seen.base(), 8);
        assert!(seen.insert(3) && !seen.insert(3));
        assert_eq!(seen.base(), 8);
    }

    #[test]
    fn it_stays_small_and_gives_up_nothing_whatever_arrives() {
        let mut seen = Seen::default();
        let mut refused = 0;
        for counter in (0..1000).map(|i| 10 + 2 * i).chain([u64::MAX]) {
            if seen.has_room(counter, 0) {
                seen.insert(counter);
            } else {
                refused += 1;
            }
        }
        assert_eq!((seen.runs.len(), seen.base(), refused), (RUNS_MAX, 0, 1001 - RUNS_MAX));
        assert!(!seen.has_room(9, 0) && seen.has_room(1, 0), "the lowest that is missing always has room");
        assert!((1..=9).all(|counter| seen.insert(counter)));
        assert_eq!(seen.base(), 10);
        assert!(seen.has_room(11, RUNS_MAX) && !seen.has_room(13, 1));
        for at in 0..1000 {
            seen.give_up_below(1_000 * at + 1);
            seen.insert(1_000 * at + 500);
        }
        assert!(seen.runs.len() <= RUNS_MAX + 1);
        assert!(seen.insert(u64::MAX) && !seen.insert(u64::MAX));
    }
}
