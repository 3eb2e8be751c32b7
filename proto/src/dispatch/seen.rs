//! Which report counters of a device have arrived.

use serde::{Deserialize, Serialize};

/// The most separate runs that are remembered; beyond it the lowest gap is given up.
const RUNS_MAX: usize = 64;

/// The counters that arrived, as runs, and up to where nothing is waited for any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// First and last of each run, rising, never touching.
    runs: Vec<(u64, u64)>,
    /// All up to this arrived or were given up.
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

    /// Whether a counter above [`Seen::base`] arrived before all those below it.
    pub fn has_gap(&self) -> bool {
        self.runs.last().is_some_and(|(_, last)| *last > self.base)
    }

    /// How many counters are missing before the next that arrived above [`Seen::base`].
    pub fn gap(&self) -> u64 {
        let next = self.runs.iter().map(|(first, _)| *first).find(|first| *first > self.base);
        next.map_or(0, |first| first - self.base - 1)
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
        if self.runs.len() > RUNS_MAX {
            let (_, last) = self.runs.remove(0);
            self.runs[0].0 = 0;
            self.base = self.base.max(last);
            self.advance();
        }
        true
    }

    /// Stops waiting for what lies between [`Seen::base`] and the next counter that arrived.
    pub fn give_up_gap(&mut self) {
        if let Some((first, _)) = self.runs.iter().find(|(first, _)| *first > self.base) {
            self.base = first - 1;
        }
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

    fn advance(&mut self) {
        for (first, last) in &self.runs {
            if *first <= self.base.saturating_add(1) {
                self.base = self.base.max(*last);
            }
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
                prop_assert_eq!(seen.has_gap(), set.iter().any(|c| *c > base));
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
        assert_eq!((seen.base(), seen.has_gap(), seen.gap()), (0, true, 6));
        seen.give_up_gap();
        assert_eq!((seen.base(), seen.has_gap(), seen.gap()), (8, false, 0));
        assert!(seen.insert(3) && !seen.insert(3));
        assert_eq!(seen.base(), 8);
    }

    #[test]
    fn it_stays_small_whatever_arrives() {
        let mut seen = Seen::default();
        for i in 0..1000 {
            seen.insert(10 + 2 * i);
        }
        assert!(seen.runs.len() <= RUNS_MAX);
        assert!(seen.insert(u64::MAX) && seen.has_gap());
        seen.give_up_gap();
        assert!(!seen.insert(u64::MAX));
    }
}
