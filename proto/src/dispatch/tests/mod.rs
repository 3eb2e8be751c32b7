//! A fleet in memory for the gateway's core: a disk, a peer, a build server and consumers of what comes out.

mod crash;
mod heard;
mod many;
mod removals;
mod restored;
mod rules;

use super::*;
use crate::wire::{BlobRef, Bundle, Mode, Part, PartKind, Proof, Report, ReportState, StartOptions};
use crate::{DeviceId, Digest, Timestamp};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(crate) fn device(i: usize) -> DeviceId {
    format!("press-{i}").parse().unwrap()
}

pub(crate) fn part_wish(release: u8) -> PartWish {
    let commit = Some(Digest::of(&[release]));
    let ref_name = "apps/web/x86_64".parse().unwrap();
    PartWish {
        kind: PartKind::App,
        ref_name,
        commit,
        name: None,
        version: None,
        start: StartOptions::default(),
        proof: Proof::default(),
    }
}

pub(super) fn wish(devices: &[usize], release: u8) -> Wish {
    let targets = Targets::Named(devices.iter().map(|i| device(*i)).collect());
    Wish { action: None, targets, mode: Mode::Now, valid_until: None, parts: vec![part_wish(release)], removed: vec![] }
}

pub(crate) fn bundle(parts: &[PartWish]) -> Bundle {
    let part = |(i, w): (usize, &PartWish)| {
        let commit = w.commit.unwrap_or_default();
        Part {
            kind: w.kind,
            name: format!("web{i}").parse().unwrap(),
            version: "1".into(),
            ref_name: w.ref_name.clone(),
            commit,
            commit_object: BlobRef { sha256: commit, length: 10, chunks: vec![] },
            commit_meta: None,
            manifest: BlobRef::of(commit.as_bytes()),
            hardware: vec![],
            start: w.start.clone(),
            proof: w.proof.clone(),
        }
    };
    Bundle { parts: parts.iter().enumerate().map(part).collect(), removed: vec![] }
}

/// A report of `device` about `action`, whose bundle is the one that release makes.
pub(crate) fn report(i: usize, counter: u64, action: u64, release: u8, state: ReportState) -> Report {
    let sealed = crate::wire::seal(&bundle(&[part_wish(release)]), &[]).unwrap();
    Report {
        fleet: "plant".parse().unwrap(),
        device: device(i),
        counter,
        oldest: 1,
        action,
        bundle: Some(Digest::of(&sealed)),
        state,
        reason: String::new(),
        exit: None,
        log: vec![],
        parts: vec![],
        bytes_from_peers: 0,
        bytes_from_central: 0,
        bytes_total: 0,
        agent: String::new(),
        bundle_major: 0,
        free_bytes: None,
        elapsed_ms: 0,
        at: Timestamp::ZERO,
        certificate: ByteBuf::new(),
    }
}

/// Which reports are where, and what left the gateway.
pub(super) struct World {
    pub core: Dispatch,
    pub now: Timestamp,
    pub disk: State,
    pub spool: BTreeMap<(DeviceId, u64), Report>,
    in_flight: BTreeMap<(DeviceId, u64), Report>,
    pub ever_spooled: BTreeSet<(DeviceId, u64)>,
    pub feedback: BTreeMap<(DeviceId, u64), u32>,
    pub audit: BTreeMap<u64, Entry>,
    pub announced: Vec<((u64, u64), Digest)>,
    pub newest: Option<crate::wire::Announcement>,
    pub receipts: BTreeMap<DeviceId, u64>,
    pub answers: BTreeMap<u64, (Option<u64>, Outcome)>,
    pub alarms: Vec<Alarm>,
    pub helped: usize,
    pub central: Result<(), (String, bool)>,
    acks: VecDeque<Input>,
    /// Ordinals of effects at which the power fails, and whether the effect still happens.
    pub cuts: BTreeMap<usize, bool>,
    pub effects: usize,
    /// Snapshots of the state.
    pub persisted: usize,
    pub crashes: usize,
}

pub(super) fn config() -> Config {
    Config::new("plant".parse().unwrap(), 1)
}

impl World {
    pub fn new() -> Self {
        let now = Timestamp::from_secs(1_000_000);
        let mut world = World {
            core: Dispatch::new(config(), State::default(), vec![], now),
            now,
            disk: State::default(),
            spool: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            ever_spooled: BTreeSet::new(),
            feedback: BTreeMap::new(),
            audit: BTreeMap::new(),
            announced: vec![],
            newest: None,
            receipts: BTreeMap::new(),
            answers: BTreeMap::new(),
            alarms: vec![],
            helped: 0,
            central: Ok(()),
            acks: VecDeque::new(),
            cuts: BTreeMap::new(),
            effects: 0,
            persisted: 0,
            crashes: 0,
        };
        world.drain();
        world
    }

    /// A world whose gateway is connected and has listened long enough.
    pub fn settled() -> Self {
        let mut world = World::new();
        world.give(Input::Connected);
        world.advance(Duration::from_secs(6));
        assert!(world.core.is_settled());
        world
    }

    /// Hands in one input and everything that follows from it.
    pub fn give(&mut self, input: Input) {
        self.push(input);
        self.acknowledge(usize::MAX);
    }

    /// Hands in one input; confirmations wait for [`World::acknowledge`].
    pub fn push(&mut self, input: Input) {
        self.core.handle(input, self.now);
        self.drain();
    }

    pub fn acknowledge(&mut self, most: usize) {
        for _ in 0..most {
            let Some(input) = self.acks.pop_front() else { return };
            self.push(input);
        }
    }

    /// Lets time pass, with a wakeup whenever one is due.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(at) = self.core.next_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.give(Input::Wakeup);
            assert!(self.core.next_wakeup().is_none_or(|next| next > self.now), "a wakeup that changes nothing");
        }
        self.now = end;
        self.give(Input::Wakeup);
    }

    pub fn restart(&mut self) {
        self.acks.clear();
        self.in_flight.clear();
        let state = State::decode(&self.disk.encode()).unwrap();
        assert_eq!(state, self.disk);
        let spool = self.spool.values().cloned().collect();
        self.core = Dispatch::new(config(), state, spool, self.now);
        self.drain();
        self.push(Input::Connected);
    }

    fn drain(&mut self) {
        while let Some(effect) = self.core.poll() {
            self.effects += 1;
            let cut = self.cuts.remove(&self.effects);
            if cut != Some(false) {
                self.carry_out(effect);
            }
            if cut.is_some() {
                self.crashes += 1;
                return self.restart();
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { seq, state } => {
                assert!(state.rank >= self.disk.rank, "the durable counter goes back");
                self.disk = *state;
                self.persisted += 1;
                self.acks.push_back(Input::Persisted(seq));
            }
            Effect::Announce(a) => self.check_announcement(*a),
            Effect::Help(parts) => self.helped = parts.len(),
            Effect::Resolve { action, parts, removed } => self.acks.push_back(match &self.central {
                Ok(()) => Input::Resolved { action, bundle: Box::new(Bundle { removed, ..bundle(&parts) }) },
                Err((reason, retry)) => Input::Unresolved { action, reason: reason.clone(), retry: *retry },
            }),
            Effect::Spool { device, counter, envelope } => {
                let report = self.in_flight.remove(&(device.clone(), counter)).unwrap();
                assert_eq!(envelope, counter.to_be_bytes());
                self.spool.insert((device.clone(), counter), report);
                self.ever_spooled.insert((device.clone(), counter));
                self.acks.push_back(Input::Spooled { device, counter });
            }
            Effect::Feedback(report) => {
                let key = (report.device.clone(), report.counter);
                assert!(self.spool.contains_key(&key), "feedback of a report that is not durable");
                *self.feedback.entry(key.clone()).or_default() += 1;
                self.acks.push_back(Input::Delivered { device: key.0, counter: key.1 });
            }
            Effect::Unspool { device, counter } => {
                let key = (device, counter);
                assert!(self.feedback.contains_key(&key) && !self.disk.undelivered.contains(&key));
                assert!(self.disk.devices[&key.0].seen.contains(counter), "unspooled before it counted for good");
                self.spool.remove(&key);
            }
            Effect::Receipt { device, counter } => {
                self.receipts.entry(device).and_modify(|c| *c = counter.max(*c)).or_insert(counter);
            }
            Effect::Audit(entry) => {
                let id = entry.id;
                let before = self.audit.insert(id, entry.clone());
                assert!(before.is_none_or(|b| b == entry), "two different audit lines {id}");
                self.acks.push_back(Input::Audited { id });
            }
            Effect::Answer { ticket, action, outcome } => {
                self.answers.insert(ticket, (action, outcome));
            }
            Effect::Alarm(alarm) => self.alarms.push(alarm),
        }
    }

    fn check_announcement(&mut self, a: crate::wire::Announcement) {
        let content = Digest::of(&crate::wire::cbor::to_vec(&a));
        crate::wire::Document::check(&a).unwrap();
        assert!(self.disk.rank >= a.rank(), "announced before its counter was durable");
        if let Some((rank, old)) = self.announced.last() {
            assert!(a.rank() >= *rank, "the counter goes back: {:?} after {rank:?}", a.rank());
            assert!(a.rank() > *rank || content == *old, "one counter, two contents");
        }
        self.announced.push((a.rank(), content));
        self.newest = Some(a);
    }

    pub fn send(&mut self, report: Report) {
        self.send_later(report);
        self.acknowledge(usize::MAX);
    }

    pub fn send_later(&mut self, report: Report) {
        let key = (report.device.clone(), report.counter);
        let envelope = report.counter.to_be_bytes().to_vec();
        self.in_flight.insert(key, report.clone());
        self.push(Input::Report { report: Box::new(report), envelope });
    }

    /// Asks, waits, and returns the action's number.
    pub fn ask(&mut self, ticket: u64, wish: Wish) -> u64 {
        self.give(Input::Request { ticket, wish });
        self.advance(Duration::from_secs(1));
        self.answers[&ticket].0.unwrap()
    }

    pub fn row(&self, i: usize) -> Option<(u64, Mode)> {
        self.newest.as_ref()?.row(&device(i)).map(|r| (r.2, r.3))
    }
}
