//! Bulk transfers as flows over links that they share fairly.
//!
//! Rates are max-min fair (Bertsekas and Gallager, Data Networks, section 6.5.2), found by filling the fullest link
//! first. Only links that flows tie to a change are filled again, at most once every [`Flows::pause`]; between two
//! fillings a new flow runs at its even share of its fullest link. All numbers are whole: bytes a second,
//! microseconds, and millionths of bytes.

mod fill;
#[cfg(test)]
mod tests;

use super::engine::Moment;
use fill::Scratch;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The least time between two fillings in microseconds, and what each flow adds to it.
const FILL_US_MIN: u64 = 500;
/// Flows for which one more microsecond passes between two fillings.
const FLOWS_PER_FILL_US: u64 = 2;
/// Links that one flow crosses at most.
const PATH_MAX: usize = 8;
/// Millionths of bytes in one.
const MICRO: u64 = 1_000_000;

/// Names a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// Names a flow that is under way; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    slot: u32,
    life: u32,
}

/// The links that a flow crosses; one that is crossed twice is in it twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    links: [u32; PATH_MAX],
    len: u8,
}

impl Path {
    /// Adds a link. More than [`PATH_MAX`] cannot be built from a site of halls joined in a line of three.
    pub fn push(&mut self, link: LinkId) {
        if usize::from(self.len) < PATH_MAX {
            self.links[usize::from(self.len)] = link.0;
            self.len += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        self.links.into_iter().take(usize::from(self.len))
    }
}

#[derive(Debug)]
struct Link {
    /// Bytes a second.
    capacity: u64,
    /// Slots of the flows that cross it, one that does so twice, twice.
    flows: Vec<u32>,
    /// Bytes that crossed it by flows that have ended.
    carried: u64,
    is_dirty: bool,
}

#[derive(Debug)]
struct Flow {
    life: u32,
    is_live: bool,
    path: Path,
    /// What it is to carry, and what is left in millionths of bytes at `since`.
    bytes: u64,
    left: u64,
    /// Bytes a second.
    rate: u64,
    since: Moment,
    /// Rises with each change of the rate: earlier predictions of its end are void.
    version: u32,
    owner: u64,
}

/// A flow that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub flow: FlowId,
    /// What its owner called it.
    pub owner: u64,
}

/// All links and flows.
#[derive(Debug, Default)]
pub struct Flows {
    links: Vec<Link>,
    flows: Vec<Flow>,
    free: Vec<u32>,
    live: u64,
    ends: BinaryHeap<Reverse<(Moment, u32, u32)>>,
    dirty: Vec<u32>,
    fill_at: Option<Moment>,
    filled_at: Moment,
    scratch: Scratch,
}

impl Flows {
    /// Adds a link that carries `capacity` bytes a second.
    pub fn link(&mut self, capacity: u64) -> LinkId {
        self.links.push(Link { capacity, flows: Vec::new(), carried: 0, is_dirty: false });
        LinkId(self.links.len() as u32 - 1)
    }

    /// Changes what a link carries; 0 stops all that crosses it.
    pub fn set_capacity(&mut self, link: LinkId, capacity: u64, now: Moment) {
        self.links[link.0 as usize].capacity = capacity;
        self.touch(link.0, now);
    }

    /// Starts to move `bytes` along `path`; `owner` comes back when it is done.
    pub fn start(&mut self, path: Path, bytes: u64, owner: u64, now: Moment) -> FlowId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flows.push(Flow::vacant());
            self.flows.len() as u32 - 1
        });
        let mut rate = u64::MAX;
        for link in path.iter() {
            let (at, link) = (link, &mut self.links[link as usize]);
            link.flows.push(slot);
            rate = rate.min(link.capacity / link.flows.len() as u64);
            self.touch(at, now);
        }
        let flow = &mut self.flows[slot as usize];
        let life = flow.life + 1;
        let (left, version) = (bytes.saturating_mul(MICRO), flow.version + 1);
        *flow = Flow { life, is_live: true, path, bytes, left, rate, since: now, version, owner };
        self.live += 1;
        self.predict(slot);
        FlowId { slot, life }
    }

    /// Ends a flow before its time. Nothing happens when it has ended.
    pub fn stop(&mut self, id: FlowId, now: Moment) {
        if self.flow(id).is_some() {
            self.settle(id.slot, now);
            self.remove(id.slot, now);
        }
    }

    /// Bytes that a flow has moved so far; none when it has ended.
    pub fn moved(&self, id: FlowId, now: Moment) -> Option<u64> {
        let flow = self.flow(id)?;
        Some(flow.bytes - flow.left_at(now).div_ceil(MICRO))
    }

    /// Bytes that have crossed a link, those of flows under way included.
    pub fn carried(&self, link: LinkId, now: Moment) -> u64 {
        let link = &self.links[link.0 as usize];
        let moved = |slot: &u32| {
            let flow = &self.flows[*slot as usize];
            flow.bytes - flow.left_at(now).div_ceil(MICRO)
        };
        link.carried + link.flows.iter().map(moved).sum::<u64>()
    }

    /// How many flows are under way.
    pub fn len(&self) -> u64 {
        self.live
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// When [`Flows::step`] is due.
    pub fn next_at(&mut self) -> Option<Moment> {
        while let Some(Reverse((at, slot, version))) = self.ends.peek() {
            let flow = &self.flows[*slot as usize];
            if flow.is_live && flow.version == *version {
                return Some(self.fill_at.map_or(*at, |fill| fill.min(*at)));
            }
            self.ends.pop();
        }
        self.fill_at
    }

    /// Ends what is done by `now` and shares the links anew if that is due.
    pub fn step(&mut self, now: Moment) -> Vec<Finished> {
        let mut finished = Vec::new();
        while let Some(Reverse((at, slot, version))) = self.ends.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            self.ends.pop();
            let flow = &self.flows[slot as usize];
            if flow.is_live && flow.version == version {
                finished.push(Finished { flow: FlowId { slot, life: flow.life }, owner: flow.owner });
                self.settle(slot, at);
                self.remove(slot, now);
            }
        }
        if self.fill_at.is_some_and(|at| at <= now) {
            self.fill(now);
        }
        finished
    }

    /// The time between two fillings in microseconds: longer with many flows, so that the work stays bounded.
    fn pause(&self) -> u64 {
        FILL_US_MIN + self.live / FLOWS_PER_FILL_US
    }

    fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(id.slot as usize).filter(|flow| flow.is_live && flow.life == id.life)
    }

    fn touch(&mut self, link: u32, now: Moment) {
        if !std::mem::replace(&mut self.links[link as usize].is_dirty, true) {
            self.dirty.push(link);
        }
        let at = self.filled_at.after(self.pause()).max(now);
        self.fill_at.get_or_insert(at);
    }

    /// Brings what is left up to date.
    fn settle(&mut self, slot: u32, now: Moment) {
        let flow = &mut self.flows[slot as usize];
        flow.left = flow.left_at(now);
        flow.since = now;
    }

    fn remove(&mut self, slot: u32, now: Moment) {
        let flow = &mut self.flows[slot as usize];
        flow.is_live = false;
        let (path, moved) = (flow.path, flow.bytes - flow.left.div_ceil(MICRO));
        for at in path.iter() {
            let link = &mut self.links[at as usize];
            link.carried += moved;
            if let Some(place) = link.flows.iter().position(|s| *s == slot) {
                link.flows.swap_remove(place);
            }
            if !link.flows.is_empty() {
                self.touch(at, now);
            }
        }
        self.live -= 1;
        self.free.push(slot);
    }

    /// Notes when a flow will end at its rate.
    fn predict(&mut self, slot: u32) {
        let flow = &self.flows[slot as usize];
        if flow.left == 0 || flow.rate > 0 {
            let us = if flow.left == 0 { 0 } else { flow.left.div_ceil(flow.rate) };
            self.ends.push(Reverse((flow.since.after(us), slot, flow.version)));
        }
    }
}

impl Flow {
    fn vacant() -> Self {
        let (path, since) = (Path::default(), Moment::START);
        Flow { life: 0, is_live: false, path, bytes: 0, left: 0, rate: 0, since, version: 0, owner: 0 }
    }

    fn left_at(&self, now: Moment) -> u64 {
        self.left.saturating_sub(self.rate.saturating_mul(now.since(self.since)))
    }
}
