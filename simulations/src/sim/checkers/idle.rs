//! No device idles while a neighbour has what it lacks, for longer than a bound.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use std::collections::BTreeMap;

/// A pause after a neighbour failed, and some time for news to travel.
const IDLE_US_MAX: u64 = 90_000_000;

/// Since when each device idles.
#[derive(Debug, Default)]
pub struct Idle {
    since: BTreeMap<NodeId, Moment>,
}

impl Checker for Idle {
    fn name(&self) -> &'static str {
        "nobody idles"
    }

    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            // A request may come and go between two seconds.
            Observation::Stored { node, .. } | Observation::NeighbourFailed { node } => {
                self.since.remove(node);
                return Ok(());
            }
            Observation::Second => {}
            _ => return Ok(()),
        }
        for id in 0..world.len() {
            if let Some(since) = self.too_long(id, idles(world, id), now) {
                let id = &world.node(id).id;
                return Err(format!("{id} has asked nobody since {since} s, and a neighbour has what it lacks"));
            }
        }
        Ok(())
    }
}

impl Idle {
    /// Since when a node idles, if that is too long.
    fn too_long(&mut self, id: NodeId, idles: bool, now: Moment) -> Option<Moment> {
        if !idles {
            self.since.remove(&id);
            return None;
        }
        let since = *self.since.entry(id).or_insert(now);
        (now.since(since) > IDLE_US_MAX).then_some(since)
    }
}

fn idles(world: &World, id: NodeId) -> bool {
    let node = world.node(id);
    let busy = node.load().requests + node.load().runs > 0;
    let Some(release) = node.needs.filter(|_| node.manner == Manner::Honest && !busy) else { return false };
    let has = world.releases().held(release, &node.cache);
    node.neighbours().any(|other| {
        let neighbour = world.node(other);
        let honest = neighbour.manner == Manner::Honest && neighbour.neighbours().any(|back| back == id);
        let offers = || !world.releases().held(release, &neighbour.cache).is_subset_of(&has);
        honest && world.reaches(id, other) && neighbour.serves(release) && offers()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idling_for_long_without_a_break_is_noticed() {
        let (start, mut idle) = (Moment::from_millis(1_000), Idle::default());
        let (bound, beyond) = (start.after(IDLE_US_MAX), start.after(IDLE_US_MAX + 1));
        assert_eq!(idle.too_long(1, true, start), None);
        assert_eq!(idle.too_long(1, true, bound), None);
        assert_eq!(idle.too_long(1, true, beyond), Some(start));
        assert_eq!(idle.too_long(1, false, beyond), None);
        assert_eq!(idle.too_long(1, true, beyond.after(1)), None);
        assert_eq!(idle.too_long(2, true, beyond), None);
    }
}
