//! Events in the order of their moments; of one moment in the order in which they were put in.

use super::Moment;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

/// Microseconds of a slice of time.
const SLICE: u64 = 1_000;

/// An ordered queue of events. Those of the present slice of time are kept in order; they are few enough for the
/// processor's caches. Later ones lie in heaps, one for each slice.
#[derive(Debug)]
pub struct Queue<E> {
    /// All up to the end of the present slice; never empty while anything waits.
    present: BinaryHeap<Entry<E>>,
    /// The rest, by slice.
    later: BTreeMap<u64, Vec<Entry<E>>>,
    slice: u64,
    count: u64,
    len: usize,
}

#[derive(Debug)]
struct Entry<E> {
    at: Moment,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    /// An empty queue.
    pub fn new() -> Self {
        Queue { present: BinaryHeap::new(), later: BTreeMap::new(), slice: 0, count: 0, len: 0 }
    }

    /// Adds an event.
    pub fn put(&mut self, at: Moment, event: E) {
        self.count += 1;
        self.len += 1;
        let (slice, entry) = (at.0 / SLICE, Entry { at, number: self.count, event });
        if slice <= self.slice {
            self.present.push(entry);
        } else {
            self.later.entry(slice).or_default().push(entry);
            self.go_on();
        }
    }

    /// When the present slice is over, the next one in which anything waits begins.
    fn go_on(&mut self) {
        if self.present.is_empty()
            && let Some((slice, entries)) = self.later.pop_first()
        {
            (self.slice, self.present) = (slice, entries.into());
        }
    }

    /// When the first event is due.
    pub fn next_at(&self) -> Option<Moment> {
        self.present.peek().map(|entry| entry.at)
    }

    /// Takes the first event.
    pub fn take(&mut self) -> Option<(Moment, E)> {
        let entry = self.present.pop()?;
        self.len -= 1;
        self.go_on();
        Some((entry.at, entry.event))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Moment, u64) {
        (self.at, self.number)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// The heap gives its greatest first: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::engine::Random;

    #[test]
    fn events_come_by_their_moment_and_then_in_the_order_they_were_put_in() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            queue.put(Moment(at), event);
        }
        let order: Vec<char> = std::iter::from_fn(|| queue.take()).map(|(_, event)| event).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
    }

    #[test]
    fn the_order_holds_across_slices_whenever_events_are_put_in() {
        let (mut queue, mut random) = (Queue::new(), Random::new(1, "queue"));
        let (mut now, mut waiting) = (0, Vec::new());
        for number in 0..2_000 {
            let at = now + random.below(5 * SLICE);
            queue.put(Moment(at), (at, number));
            waiting.push((at, number));
            assert_eq!(queue.len(), waiting.len());
            // More are taken than put in from time to time, so that it runs empty.
            let taken = if random.chance(100_000) { 20 } else { usize::from(random.chance(300_000)) };
            for _ in 0..taken {
                let first = waiting.iter().min().copied();
                assert_eq!(queue.next_at(), first.map(|(at, _)| Moment(at)));
                assert_eq!(queue.take().map(|(_, event)| event), first);
                waiting.retain(|event| Some(*event) != first);
                now = first.map_or(now, |(at, _)| at);
            }
        }
        assert_eq!(queue.is_empty(), waiting.is_empty());
    }
}
