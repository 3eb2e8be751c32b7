//! One live lease for a piece in each part of the network: nobody asks central for what another is getting from it.
//!
//! A lease lives while bytes move. Views need time to agree after a start, an end or a cut, so that for a while after each
//! of these two may ask; so may two that no open connections of honest devices join, as when all neighbours of one are
//! behind a cut. A liar's lease counts for nothing: who bans it does not know of it any more.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use fullmetal_proto::swarm::limits::{LEASE, LEASE_RENEW, SETTLE_MAX, TAKEOVER};
use std::collections::{BTreeMap, BTreeSet};

/// How long after a disturbance views may differ: settled, a lease run out, a takeover.
const CALM_US: u64 = (SETTLE_MAX.as_micros() + LEASE.as_micros() + TAKEOVER.as_micros()) as u64;

/// A lease surely lives if bytes moved within this time: what they renew it by at least.
const LIVE_US: u64 = (LEASE.as_micros() - LEASE_RENEW.as_micros()) as u64;

/// Who is getting what from central.
#[derive(Debug, Default)]
pub struct Leases {
    /// By piece: who asked, and when.
    held: BTreeMap<u32, Vec<(NodeId, Moment)>>,
    /// When bytes last arrived, by node.
    moved: BTreeMap<NodeId, Moment>,
    disturbed_at: Moment,
}

impl Checker for Leases {
    fn name(&self) -> &'static str {
        "one live lease"
    }

    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Started { .. } | Observation::Disturbed => self.disturbed_at = now,
            Observation::Gone { node } => {
                self.disturbed_at = now;
                self.held.values_mut().for_each(|holders| holders.retain(|(holder, _)| holder != node));
            }
            Observation::Stored { node, piece, from_central: true } => {
                self.moved.insert(*node, now);
                self.let_go(*node, *piece);
            }
            Observation::CentralMoves { node } => drop(self.moved.insert(*node, now)),
            Observation::LeftToCentral { node, pieces } => {
                pieces.iter().for_each(|piece| self.let_go(*node, *piece));
            }
            Observation::AskedCentral { node, pieces } => return self.asked(now, world, *node, pieces),
            _ => {}
        }
        Ok(())
    }
}

impl Leases {
    fn let_go(&mut self, node: NodeId, piece: u32) {
        if let Some(holders) = self.held.get_mut(&piece) {
            holders.retain(|(holder, _)| *holder != node);
        }
    }

    fn asked(&mut self, now: Moment, world: &World, node: NodeId, pieces: &[u32]) -> Result<(), String> {
        let mut result = Ok(());
        for piece in pieces {
            let holders = self.held.entry(*piece).or_default();
            let moved = &self.moved;
            let lives = |holder| moved.get(&holder).is_some_and(|at: &Moment| now.since(*at) <= LIVE_US);
            let mut others = holders.iter().filter(|(holder, _)| *holder != node && world.reaches(*holder, node));
            let other = others.find(|(holder, _)| lives(*holder)).copied();
            let calm = now.since(self.disturbed_at) > CALM_US && is_honest(world, node);
            if let Some((other, since)) = other.filter(|(other, _)| calm && joined(world, node, *other, now)) {
                let (node, other) = (&world.node(node).id, &world.node(other).id);
                result = Err(format!(
                    "{node} asks central for piece {piece}, which {other} has been getting since {since} s"
                ));
            }
            holders.push((node, now));
        }
        result
    }
}

fn is_honest(world: &World, node: NodeId) -> bool {
    world.node(node).manner == Manner::Honest
}

/// Whether open connections of honest devices lead from one to the other, over which views had time to agree.
fn joined(world: &World, from: NodeId, to: NodeId, now: Moment) -> bool {
    let mut known = BTreeSet::from([from]);
    let mut queue = vec![from];
    while let Some(node) = queue.pop() {
        let neighbours = world.node(node).peer.iter().flat_map(|peer| &peer.neighbours);
        let settled = neighbours.filter(|(other, open)| {
            let both = world.node(**other).neighbours().any(|back| back == node);
            both && now.since(open.since) > CALM_US && world.reaches(node, **other) && is_honest(world, **other)
        });
        queue.extend(settled.map(|(other, _)| *other).filter(|other| known.insert(*other)));
    }
    known.contains(&to)
}
