//! Nothing that was not verified is served, counted as there, or in force.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use fullmetal_proto::Bitmap;
use std::collections::{BTreeMap, BTreeSet};

/// Keeps its own account of what was verified where.
#[derive(Debug, Default)]
pub struct Verified {
    pieces: BTreeMap<NodeId, Bitmap>,
    whole: BTreeSet<(NodeId, usize)>,
}

impl Checker for Verified {
    fn name(&self) -> &'static str {
        "verified"
    }

    fn observe(&mut self, _: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            // What a power cut left on the disk was verified before, or is not there any more.
            Observation::Started { node } => {
                self.pieces.insert(*node, world.node(*node).cache.clone());
            }
            Observation::Stored { node, piece, .. } => {
                self.pieces.entry(*node).or_default().set(*piece);
            }
            Observation::Served { server, piece } => {
                let has = self.pieces.get(server).is_some_and(|pieces| pieces.get(*piece));
                if !lies(world, *server) && !has {
                    return Err(format!("{} serves piece {piece}, which it never verified", world.node(*server).id));
                }
            }
            Observation::Completed { node, release } => {
                let verified = self.pieces.get(node).map(|pieces| world.releases().held(*release, pieces));
                if !verified.is_some_and(|held| held.is_full()) {
                    return Err(format!("{} is complete without having verified all pieces", world.node(*node).id));
                }
                self.whole.insert((*node, *release));
            }
            Observation::Second => {
                for (node, pieces) in &self.pieces {
                    says_only(world, *node, pieces)?;
                }
            }
            // What a liar runs itself is not looked after: it may have told its own core a lie, too.
            Observation::InForce { node, release }
                if !lies(world, *node) && !self.whole.contains(&(*node, *release)) =>
            {
                return Err(format!("{} runs a release that it never had whole", world.node(*node).id));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a node tells its neighbours only of what it verified.
fn says_only(world: &World, node: NodeId, verified: &Bitmap) -> Result<(), String> {
    let Some(peer) = world.node(node).peer.as_ref().filter(|_| !lies(world, node)) else { return Ok(()) };
    for release in 0..world.releases().count() {
        let said = peer.swarm.have(&world.releases().get(release).manifest);
        if said.is_some_and(|said| !said.is_subset_of(&world.releases().held(release, verified))) {
            return Err(format!("{} says that it has pieces which it never verified", world.node(node).id));
        }
    }
    Ok(())
}

fn lies(world: &World, node: NodeId) -> bool {
    world.node(node).manner != Manner::Honest
}
