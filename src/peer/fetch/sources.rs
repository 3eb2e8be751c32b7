//! Whose bytes they were: for the person who asks why a device is slow.

use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::local::SOURCES_MAX;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Neighbours come and go for as long as a peer runs: of more, who gave least is forgotten for a new one.
const KEPT_MAX: usize = 4 * SOURCES_MAX;

/// Bytes of pieces that each neighbour has sent since the start.
#[derive(Debug, Default)]
pub struct Sources(BTreeMap<DeviceId, u64>);

impl Sources {
    /// Counts bytes that came.
    pub fn add(&mut self, device: DeviceId, bytes: u64) {
        if self.0.len() >= KEPT_MAX && !self.0.contains_key(&device) {
            let least = self.0.iter().min_by_key(|(_, bytes)| **bytes).map(|(device, _)| device.clone());
            least.map(|device| self.0.remove(&device));
        }
        let sum = self.0.entry(device).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// Those that gave most, the most first.
    pub fn most(&self) -> Vec<(DeviceId, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(device, bytes)| (device.clone(), *bytes)).collect();
        all.sort_by_key(|(_, bytes)| Reverse(*bytes));
        all.truncate(SOURCES_MAX);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: usize) -> DeviceId {
        format!("press-{n}").parse().unwrap()
    }

    #[test]
    fn who_gave_most_is_told_first() {
        let mut sources = Sources::default();
        for (n, bytes) in [(1, 5), (2, 7), (1, 3)] {
            sources.add(device(n), bytes);
        }
        assert_eq!(sources.most(), [(device(1), 8), (device(2), 7)]);
    }

    #[test]
    fn any_number_of_neighbours_takes_bounded_room() {
        let mut sources = Sources::default();
        sources.add(device(0), 100);
        (1..1000).for_each(|n| sources.add(device(n), 1));
        assert_eq!(sources.0.len(), KEPT_MAX);
        let most = sources.most();
        assert_eq!((most.len(), &most[0]), (SOURCES_MAX, &(device(0), 100)));
    }
}
