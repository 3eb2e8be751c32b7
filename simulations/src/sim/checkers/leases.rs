//! One live lease for a piece in each part of the network: nobody asks central for what another is getting from it.
//!
//! A lease lives while bytes move. Views need time to agree after a start, an end or a cut, so that for a while after each
//! of these two may ask; so may two that no open connections of honest devices join, as when all neighbours of one are
//! behind a cut. A liar's lease counts for nothing: who bans it does not know of it any more. An owner that is late and who
//! takes over from it may begin at the same moment, before either has heard of the other; soon one of them must stop.
//!
//! The times here are the rule's own. If they came from the core's limits, a wrong limit would make the rule wrong, too.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use std::collections::{BTreeMap, BTreeSet};

/// How long after a start or a cut views may differ, in microseconds.
const CALM_US: u64 = 8_000_000;
/// The same after an end. Some forget who died without a word sooner than others, and count others as elected meanwhile: two
/// may think of one piece as theirs. Three may not: all know each other, and take over one after the other.
const FORGOTTEN_US: u64 = 20_000_000;
/// How long after trouble at central somebody may still ask without a lease, to see whether it is over: many may at once.
const PROBING_US: u64 = 90_000_000;
/// A lease surely lives if it is so new, or if bytes moved within this time.
const LIVE_US: u64 = 1_000_000;
/// After so long without a byte a lease may have lapsed; when bytes come again, that is news.
const PAUSE_US: u64 = 2_900_000;
/// Two of which both got bytes within this time both go on.
const GOES_ON_US: u64 = 4_000_000;
/// How long the news of a lease may take through the fleet.
const NEWS_US: u64 = 2_000_000;
/// Fewer bytes within [`PAUSE_US`] are none: those far away hear of what trickles in so rarely that they may overtake it.
const JUDGED_BYTES: u64 = 64 << 10;

/// Who is getting what from central.
#[derive(Debug, Default)]
pub struct Leases {
    /// By release and piece: who asked, and when.
    held: BTreeMap<(usize, u32), Vec<(NodeId, Moment)>>,
    moved: BTreeMap<NodeId, Bytes>,
    /// Bytes that came since a node last moved.
    trickles: BTreeMap<NodeId, u64>,
    /// When something last started or the network changed, and when something last ended.
    disturbed_at: Moment,
    ended_at: Moment,
    /// Until when the third that asks may be one that probes central.
    probing_until: Moment,
}

/// How bytes from central come to a node.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    /// When the last came.
    last: Option<Moment>,
    /// Since then none came, or it had asked for none.
    waits_since: Moment,
    /// Since when they come without a pause.
    since: Moment,
}

impl Checker for Leases {
    fn name(&self) -> &'static str {
        "one live lease"
    }

    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Started { .. } => self.disturbed_at = now,
            Observation::Disturbed => (self.disturbed_at, self.probing_until) = (now, now.after(PROBING_US)),
            Observation::CentralChanged => self.probing_until = now.after(PROBING_US),
            Observation::Gone { node } => {
                self.ended_at = now;
                self.held.values_mut().for_each(|holders| holders.retain(|(holder, _)| holder != node));
            }
            Observation::Stored { node, piece, from_central: true } => {
                self.moves(*node, now);
                (0..world.releases().count()).for_each(|release| self.let_go(*node, (release, *piece)));
            }
            Observation::CentralMoves { node, bytes } => {
                let trickle = self.trickles.entry(*node).or_default();
                *trickle += bytes;
                if *trickle >= JUDGED_BYTES {
                    *trickle = 0;
                    self.moves(*node, now);
                }
            }
            Observation::LeftToCentral { node, release, pieces } => {
                pieces.iter().for_each(|piece| self.let_go(*node, (*release, *piece)));
            }
            Observation::AskedCentral { node, release, pieces } => {
                return self.asked(now, world, *node, (*release, pieces));
            }
            Observation::Second => return self.both_go_on(now, world),
            _ => {}
        }
        Ok(())
    }
}

impl Leases {
    fn moves(&mut self, node: NodeId, now: Moment) {
        let bytes = self.moved.entry(node).or_default();
        if now.since(bytes.waits_since) > PAUSE_US {
            bytes.since = now;
        }
        (bytes.last, bytes.waits_since) = (Some(now), now);
    }

    fn let_go(&mut self, node: NodeId, piece: (usize, u32)) {
        if let Some(holders) = self.held.get_mut(&piece) {
            holders.retain(|(holder, _)| *holder != node);
        }
    }

    fn asked(
        &mut self,
        now: Moment,
        world: &World,
        node: NodeId,
        (release, pieces): (usize, &[u32]),
    ) -> Result<(), String> {
        if !self.held.values().flatten().any(|(holder, _)| *holder == node) {
            // Before it asked, nothing had to come.
            self.moved.insert(node, Bytes { waits_since: now, ..Bytes::default() });
            self.trickles.remove(&node);
        }
        let mut result = Ok(());
        let settled = now.since(self.disturbed_at) > CALM_US && is_judged(world, node);
        let calm = now.since(self.ended_at) > FORGOTTEN_US;
        for piece in pieces {
            let lives = |holder, since| now.since(since) <= LIVE_US || self.is_known_to_move(holder, now);
            let others = if settled { self.others((now, world), node, (release, *piece), lives) } else { Vec::new() };
            let third = others.get(1).filter(|_| now > self.probing_until && world.is_central_well());
            let known = others.iter().find(|(_, since)| calm && now.since(*since) > NEWS_US);
            if let Some((other, since)) = known.or(third) {
                let (node, other) = (&world.node(node).id, &world.node(*other).id);
                result = Err(format!(
                    "{node} asks central for piece {piece}, which {other} has been getting since {since} s"
                ));
            }
            self.held.entry((release, *piece)).or_default().push((node, now));
        }
        result
    }

    /// Who else has a lease of which a node knows, or will, and is `live`.
    fn others(
        &self,
        (now, world): (Moment, &World),
        node: NodeId,
        piece: (usize, u32),
        live: impl Fn(NodeId, Moment) -> bool,
    ) -> Vec<(NodeId, Moment)> {
        let holders = self.held.get(&piece).into_iter().flatten().copied();
        let others =
            holders.filter(|(holder, since)| *holder != node && live(*holder, *since) && world.reaches(*holder, node));
        others.filter(|(holder, _)| joined(world, node, *holder, now)).collect()
    }

    /// Two that began at once must not both go on.
    fn both_go_on(&self, now: Moment, world: &World) -> Result<(), String> {
        if now.since(self.disturbed_at) <= CALM_US || now.since(self.ended_at) <= FORGOTTEN_US {
            return Ok(());
        }
        let goes_on = |holder: NodeId, since: Moment| {
            let old = now.since(since) > NEWS_US && is_judged(world, holder);
            old && self.has_gone_on(holder, now)
        };
        for (piece, holders) in self.held.iter().filter(|(_, holders)| holders.len() > 1) {
            for (node, _) in holders.iter().filter(|(holder, since)| goes_on(*holder, *since)) {
                if let Some((other, _)) = self.others((now, world), *node, *piece, goes_on).first() {
                    let (node, other, piece) = (&world.node(*node).id, &world.node(*other).id, piece.1);
                    return Err(format!("{node} and {other} both go on getting piece {piece} from central"));
                }
            }
        }
        Ok(())
    }

    /// Whether bytes come to it, and did so for long enough that the other has heard of it. After a stall of central that ends
    /// for both at once it takes as long again until one of them gives way.
    fn has_gone_on(&self, node: NodeId, now: Moment) -> bool {
        let goes_on = |bytes: &Bytes| bytes.last.is_some_and(|last| now.since(last) <= GOES_ON_US);
        self.moved.get(&node).is_some_and(|bytes| goes_on(bytes) && now.since(bytes.since) > NEWS_US)
    }

    /// Whether it gets bytes and did so all the while in which others may have heard of it.
    fn is_known_to_move(&self, node: NodeId, now: Moment) -> bool {
        let come = |bytes: &Bytes| bytes.last.is_some_and(|last| now.since(last) <= LIVE_US);
        self.moved.get(&node).is_some_and(|bytes| come(bytes) && now.since(bytes.since) > NEWS_US)
    }
}

/// Nobody can know in time what moves over links that are slow by themselves.
fn is_judged(world: &World, node: NodeId) -> bool {
    world.node(node).manner == Manner::Honest && !world.is_slow_by_itself(node)
}

/// Whether open connections of honest devices lead from one to the other, over which views had time to agree.
pub(super) fn joined(world: &World, from: NodeId, to: NodeId, now: Moment) -> bool {
    let mut known = BTreeSet::from([from]);
    let mut queue = vec![from];
    while let Some(node) = queue.pop() {
        let neighbours = world.node(node).peer.iter().flat_map(|peer| &peer.neighbours);
        let settled = neighbours.filter(|(other, open)| {
            let both = world.node(**other).neighbours().any(|back| back == node);
            both && now.since(open.since) > CALM_US && world.reaches(node, **other) && is_judged(world, **other)
        });
        queue.extend(settled.map(|(other, _)| *other).filter(|other| known.insert(*other)));
    }
    known.contains(&to)
}
