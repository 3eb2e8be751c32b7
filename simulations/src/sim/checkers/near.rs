//! Nobody asks central for what a neighbour has.
//!
//! A neighbour counts when the connection and what it tells are older than news takes. What failed lately may be had from
//! central instead: nothing is judged for a while after cuts, nor where ports are slow or somebody lies.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use fullmetal_proto::Bitmap;
use std::collections::{BTreeMap, VecDeque};

/// How long news takes from one neighbour to the other, in microseconds.
const NEWS_US: u64 = 2_000_000;
/// How long a neighbour that failed may be passed over.
const PAUSE_US_MAX: u64 = 90_000_000;

/// What nodes have had for long enough.
#[derive(Debug, Default)]
pub struct Near {
    known: BTreeMap<NodeId, Bitmap>,
    /// What came later.
    recent: VecDeque<(Moment, NodeId, u32)>,
    /// When each node last told its neighbours of all that it has.
    told_at: BTreeMap<NodeId, Moment>,
    /// When each last heard no from a neighbour, or nothing.
    failed_at: BTreeMap<NodeId, Moment>,
    paused_until: Moment,
}

impl Checker for Near {
    fn name(&self) -> &'static str {
        "near before far"
    }

    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Started { node } => {
                self.recent.retain(|(_, of, _)| of != node);
                self.known.insert(*node, world.node(*node).cache.clone());
                self.told_at.insert(*node, now);
            }
            Observation::Wanted { node } => drop(self.told_at.insert(*node, now)),
            Observation::Stored { node, piece, .. } => self.recent.push_back((now, *node, *piece)),
            Observation::NeighbourFailed { node } => drop(self.failed_at.insert(*node, now)),
            Observation::Disturbed => self.paused_until = now.after(PAUSE_US_MAX),
            Observation::AskedCentral { node, release, pieces } => {
                return self.asked(now, world, *node, *release, pieces);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Near {
    fn asked(
        &mut self,
        now: Moment,
        world: &World,
        node: NodeId,
        release: usize,
        pieces: &[u32],
    ) -> Result<(), String> {
        while let Some((_, of, piece)) = self.recent.pop_front_if(|(at, ..)| now.since(*at) > NEWS_US) {
            self.known.entry(of).or_insert_with(|| Bitmap::new(world.releases().pieces())).set(piece);
        }
        let failed = self.failed_at.get(&node).is_some_and(|at| now.since(*at) <= PAUSE_US_MAX);
        if failed || now <= self.paused_until || !is_fit(world, node) {
            return Ok(());
        }
        let neighbours = world.node(node).peer.iter().flat_map(|peer| &peer.neighbours);
        let told = |other: &NodeId| self.told_at.get(other).is_some_and(|at| now.since(*at) > NEWS_US);
        let settled = neighbours.filter(|(other, open)| {
            let both = world.node(**other).neighbours().any(|back| back == node);
            let both = both && world.reaches(node, **other) && now.since(open.since) > NEWS_US;
            both && told(other) && is_fit(world, **other) && world.node(**other).serves(release)
        });
        for other in settled.map(|(other, _)| other) {
            let has = |piece: &&u32| world.node(*other).cache.get(**piece) && self.has_had(*other, **piece);
            if let Some(piece) = pieces.iter().find(has) {
                let (node, other) = (&world.node(node).id, &world.node(*other).id);
                return Err(format!("{node} asks central for piece {piece}, which its neighbour {other} has"));
            }
        }
        Ok(())
    }

    fn has_had(&self, node: NodeId, piece: u32) -> bool {
        self.known.get(&node).is_some_and(|known| known.get(piece))
    }
}

fn is_fit(world: &World, node: NodeId) -> bool {
    world.node(node).manner == Manner::Honest && !world.node(node).is_slow
}
