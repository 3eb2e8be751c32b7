//! What somebody needs and nobody has comes from central before long.
//!
//! Only calm times are judged: when all who lie are off, and nothing has changed at central or in the network for so long
//! that pauses after failures are over. Then a holder of a lease that gives nothing must be followed by another. Where
//! bytes come, 64 KiB in ten seconds at least, its holder keeps a lease, and nothing is judged.

use super::Checker;
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use crate::sim::scenario::Manner;
use crate::sim::world::{NodeId, World};
use fullmetal_proto::Bitmap;

/// How long central may give nothing, in microseconds: a lease that runs out, takeovers by rank, a request that
/// stalls. When most of a fleet loses power at once, those elected among them, each takeover waits until the silent ones
/// before it in the line are given up.
const WAIT_US_MAX: u64 = 45_000_000;
/// The same after something changed at central or in the network: the longest pause after failures, by chance a quarter
/// longer, and one more run.
const PAUSE_US_MAX: u64 = 420_000_000;

/// What came from central, and when something last came or changed.
#[derive(Debug, Default)]
pub struct Waits {
    /// Pieces that some node has or had.
    given: Option<Bitmap>,
    quiet_since: Moment,
    paused_until: Moment,
}

impl Checker for Waits {
    fn name(&self) -> &'static str {
        "central is asked"
    }

    fn observe(&mut self, now: Moment, world: &World, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Stored { piece, from_central, .. } => {
                let given = self.given.get_or_insert_with(|| first(world));
                if given.set(*piece) && *from_central {
                    self.quiet_since = now;
                }
            }
            Observation::CentralMoves { .. }
            | Observation::Started { .. }
            | Observation::Gone { .. }
            | Observation::Wanted { .. } => {
                self.quiet_since = now;
            }
            Observation::Disturbed | Observation::CentralChanged => self.paused_until = now.after(PAUSE_US_MAX),
            Observation::Second if now.since(self.quiet_since) > WAIT_US_MAX && now > self.paused_until => {
                let given = self.given.get_or_insert_with(|| first(world));
                if let Some((node, piece)) = waits(world, given, now) {
                    let (id, since) = (&world.node(node).id, self.quiet_since);
                    return Err(format!(
                        "{id} needs piece {piece}, which nobody has, and central gave nothing since {since} s"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What nodes have from the start.
fn first(world: &World) -> Bitmap {
    let mut all = Bitmap::new(world.releases().pieces());
    (0..world.len()).for_each(|node| all.union_with(&world.node(node).cache));
    all
}

/// Somebody who waits for a piece that nobody has and that somebody could get.
fn waits(world: &World, given: &Bitmap, now: Moment) -> Option<(NodeId, u32)> {
    let all = || (0..world.len()).map(|node| (node, world.node(node)));
    if !world.is_central_well() || all().any(|(_, node)| node.is_on() && node.manner != Manner::Honest) {
        return None;
    }
    // Who leases over a slow link holds up all others.
    if all().any(|(index, node)| node.is_on() && world.is_slow_by_itself(index)) {
        return None;
    }
    for (index, node) in all() {
        let Some(release) = node.needs else { continue };
        let pieces = world.releases().get(release).pieces();
        let mut numbers = (0..pieces).map(|place| world.releases().number(release, place));
        let Some(piece) = numbers.find(|number| !given.get(*number)) else { continue };
        let could = all().any(|(other, of)| {
            of.origin
                && of.weight > 0
                && !of.is_slow
                && of.serves(release)
                && super::leases::joined(world, index, other, now)
        });
        if could {
            return Some((index, piece));
        }
    }
    None
}
