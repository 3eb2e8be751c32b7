//! Progressive filling of all links that flows tie to a change.

use super::{Flows, Moment};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What one filling works with; kept, so that nothing is allocated each time.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    round: u32,
    /// By link: the round that reached it, what is free, how many flows are not fixed.
    links: Vec<OfLink>,
    /// By flow: the round that reached it and the round that fixed its rate.
    reached: Vec<u32>,
    fixed: Vec<u32>,
    /// Links and flows that this round reached.
    link_list: Vec<u32>,
    flow_list: Vec<u32>,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    touched: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfLink {
    round: u32,
    touched: u32,
    free: u64,
    open: u64,
}

impl OfLink {
    fn share(&self) -> u64 {
        self.free / self.open.max(1)
    }
}

impl Flows {
    /// Shares the links anew.
    pub(super) fn fill(&mut self, now: Moment) {
        (self.fill_at, self.filled_at) = (None, now);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.round += 1;
        scratch.links.resize(self.links.len(), OfLink::default());
        scratch.reached.resize(self.flows.len(), 0);
        scratch.fixed.resize(self.flows.len(), 0);
        self.reach(&mut scratch);
        for link in &scratch.link_list {
            let share = scratch.links[*link as usize].share();
            scratch.heap.push(Reverse((share, *link)));
        }
        while let Some(Reverse((share, link))) = scratch.heap.pop() {
            let of_link = scratch.links[link as usize];
            if of_link.open > 0 && of_link.share() == share {
                self.fix(&mut scratch, link, share, now);
            }
        }
        self.scratch = scratch;
        self.forget_old_ends();
    }

    /// Collects what flows tie to the dirty links.
    fn reach(&mut self, scratch: &mut Scratch) {
        scratch.link_list.clear();
        scratch.flow_list.clear();
        for link in std::mem::take(&mut self.dirty) {
            self.links[link as usize].is_dirty = false;
            scratch.reach_link(link);
        }
        let mut next = 0;
        while next < scratch.link_list.len() {
            let at = scratch.link_list[next] as usize;
            let link = &self.links[at];
            (scratch.links[at].free, scratch.links[at].open) = (link.capacity, link.flows.len() as u64);
            for slot in &link.flows {
                if std::mem::replace(&mut scratch.reached[*slot as usize], scratch.round) != scratch.round {
                    scratch.flow_list.push(*slot);
                    self.flows[*slot as usize].path.iter().for_each(|link| scratch.reach_link(link));
                }
            }
            next += 1;
        }
    }

    /// Gives all open flows of the fullest link their share of it.
    fn fix(&mut self, scratch: &mut Scratch, link: u32, share: u64, now: Moment) {
        scratch.touched.clear();
        for i in 0..self.links[link as usize].flows.len() {
            let slot = self.links[link as usize].flows[i];
            if std::mem::replace(&mut scratch.fixed[slot as usize], scratch.round) == scratch.round {
                continue;
            }
            for at in self.flows[slot as usize].path.iter() {
                scratch.take_from(at, share);
            }
            self.set_rate(slot, share, now);
        }
        for at in &scratch.touched {
            let of_link = scratch.links[*at as usize];
            if of_link.open > 0 {
                scratch.heap.push(Reverse((of_link.share(), *at)));
            }
        }
        let touched = std::mem::take(&mut scratch.touched);
        touched.iter().for_each(|at| scratch.links[*at as usize].touched = 0);
        scratch.touched = touched;
    }

    fn set_rate(&mut self, slot: u32, rate: u64, now: Moment) {
        if self.flows[slot as usize].rate == rate {
            return;
        }
        self.settle(slot, now);
        let flow = &mut self.flows[slot as usize];
        flow.rate = rate;
        flow.version += 1;
        self.predict(slot);
    }

    /// Predictions that later ones replaced are thrown away when there are many.
    fn forget_old_ends(&mut self) {
        if self.ends.len() as u64 > 4 * self.live + 4_096 {
            let flows = &self.flows;
            let holds = |slot: u32, version: u32| {
                let flow = &flows[slot as usize];
                flow.is_live && flow.version == version
            };
            self.ends.retain(|Reverse((_, slot, version))| holds(*slot, *version));
        }
    }
}

impl Scratch {
    fn reach_link(&mut self, link: u32) {
        let of_link = &mut self.links[link as usize];
        if of_link.round != self.round {
            *of_link = OfLink { round: self.round, ..OfLink::default() };
            self.link_list.push(link);
        }
    }

    fn take_from(&mut self, link: u32, rate: u64) {
        let of_link = &mut self.links[link as usize];
        of_link.free = of_link.free.saturating_sub(rate);
        of_link.open = of_link.open.saturating_sub(1);
        if std::mem::replace(&mut of_link.touched, 1) == 0 {
            self.touched.push(link);
        }
    }
}
