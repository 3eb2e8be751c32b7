//! Drives the gateway's core: decisions, cancels, announcements, reports, receipts.
//!
//! Signing is left out; what a disk has to sync takes time. A gateway that dies loses what was not synced.

use super::event::{Event, Life, NodeId};
use super::{Announced, World};
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use fullmetal_proto::announce::carried::{Client, Input as Carried};
use fullmetal_proto::dispatch::{Config, Dispatch, Effect, Input, NOBODY, Newest, PartWish, State, Targets, Wish};
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::wire::{
    Announcement, BlobRef, Bundle, Mode, Part, PartKind, Proof, Report, ReportState, StartOptions, cbor, open,
};
use fullmetal_proto::{DeviceId, Digest, FleetId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Microseconds between two tellings of who was heard (`clients::HEARD_MS`).
const HEARD: u64 = 30_000_000;
/// Round trips to central that a bundle takes besides those for the manifest: ref, commit, signatures.
const RESOLVE_TRIPS: u64 = 3;
/// Bytes of an announcement's envelope besides its body.
const ENVELOPE_LEN: usize = 200;

/// The gateway's disk, and its core while it runs.
#[derive(Debug, Default)]
pub struct Gateway {
    core: Option<Dispatch>,
    wake: Option<Moment>,
    state: State,
    spool: BTreeMap<(DeviceId, u64), Report>,
    /// The releases of bundles that were announced.
    bundles: BTreeMap<Digest, usize>,
    /// Bundles that only lack the manifest, which the gateway reads through its peer, by release.
    resolving: BTreeMap<usize, Vec<Input>>,
    /// For each device and action, the first terminal report that was handed on: its counter, and how it ended.
    ends: BTreeMap<(DeviceId, u64), (u64, ReportState)>,
}

/// Work of the gateway that is done.
#[derive(Debug)]
pub enum Done {
    /// A state is synced.
    Written(u64, Box<State>),
    /// A report is in the spool.
    Spooled(Box<Report>),
    /// Anything else: the answer.
    Work(Box<Input>),
    /// Devices that its peer heard are told.
    Heard,
}

/// The fleet's name.
pub(super) fn fleet() -> FleetId {
    // A constant that is a valid name; the alternative cannot occur.
    "simulated".parse().unwrap_or_else(|_| unreachable!("the fleet's name is valid"))
}

impl World {
    /// Starts the gateway's core from what its disk has.
    pub(super) fn start_gateway(&mut self) {
        let devices = self.devices().map(|node| node.id.clone()).collect();
        let config = Config { devices, ..Config::new(fleet(), 1) };
        let spool = self.dispatch.spool.values().cloned().collect();
        let core = Dispatch::new(config, self.dispatch.state.clone(), spool, self.gateway_time());
        (self.dispatch.core, self.dispatch.wake) = (Some(core), None);
        self.tell_carried(0, Carried::Attached(Client::Gateway));
        self.tell_gateway(Input::Connected);
        self.gateway_hears_announcement();
        self.gateway_after(1_000_000, Done::Heard);
        self.repeat_decisions();
    }

    /// The gateway dies with its peer.
    pub(super) fn stop_gateway(&mut self) {
        self.dispatch.core = None;
        self.dispatch.resolving.clear();
    }

    /// The deployment server is asked again: what it wants and the gateway does not know of, as after a crash.
    fn repeat_decisions(&mut self) {
        let taken: Vec<usize> = self.decisions.taken.iter().copied().collect();
        taken.into_iter().for_each(|release| self.decide(release));
        let cancelled: Vec<(usize, NodeId)> = self.decisions.cancelled.iter().copied().collect();
        cancelled.into_iter().for_each(|(release, node)| self.withdraw(release, node));
    }

    /// A release is decided on. Where single devices are cancelled, each has an action of its own, as Hawkbit's have.
    pub(super) fn decide(&mut self, release: usize) {
        self.decisions.taken.insert(release);
        // A server has one action for a device: the newest takes the place of those before.
        let cancelled = &self.decisions.cancelled;
        let newest = |node: &NodeId| self.newest_for(*node) == Some(release);
        let whom = (1..self.len()).filter(|node| newest(node) && !cancelled.contains(&(release, *node)));
        let named = |node: NodeId| self.node(node).id.clone();
        let wishes: Vec<(u64, Targets)> = if self.is_single() {
            whom.map(|node| (self.action(release, node), Targets::Named([named(node)].into()))).collect()
        } else {
            let whom: BTreeSet<DeviceId> = whom.map(named).collect();
            let all = whom.len() == self.nodes.len() - 1;
            let targets = if all { Targets::All } else { Targets::Named(whom) };
            vec![(self.action(release, 0), targets)]
        };
        let (Ok(ref_name), commit) = ("apps/app/x86_64".parse(), Some(self.releases.get(release).commit())) else {
            return;
        };
        let part = PartWish {
            kind: PartKind::App,
            ref_name,
            commit,
            name: None,
            version: None,
            start: StartOptions::default(),
            proof: Proof::default(),
        };
        let known = |action: &u64| self.dispatch.core.as_ref().is_some_and(|c| c.state().actions.contains_key(action));
        let new: Vec<(u64, Targets)> = wishes.into_iter().filter(|(action, _)| !known(action)).collect();
        for (action, targets) in new {
            let parts = vec![part.clone()];
            let wish =
                Wish { action: Some(action), targets, mode: Mode::Now, valid_until: None, parts, removed: Vec::new() };
            self.tell_gateway(Input::Request { ticket: NOBODY, wish });
        }
    }

    /// The deployment server takes back what was last decided for these. A gateway that is away hears of it later.
    pub(super) fn cancel(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            let newest = self.newest_for(*node);
            if let Some(release) = newest.filter(|release| self.decisions.cancelled.insert((*release, *node))) {
                self.withdraw(release, *node);
            }
        }
    }

    /// What the gateway was not told of it need not take back (`steering::cancel`).
    fn withdraw(&mut self, release: usize, node: NodeId) {
        let action = self.action(release, node);
        let known = self.dispatch.core.as_ref().and_then(|core| core.state().actions.get(&action));
        if known.is_some_and(|action| !action.phase.is_over()) {
            self.tell_gateway(Input::Withdraw { ticket: NOBODY, action });
        }
    }

    /// The release of a bundle that was announced.
    pub(super) fn release_of_bundle(&self, bundle: &Digest) -> Option<usize> {
        self.dispatch.bundles.get(bundle).copied()
    }

    /// Hands the core an input and does what it wants done.
    pub(super) fn tell_gateway(&mut self, input: Input) {
        let now = self.gateway_time();
        let Some(core) = &mut self.dispatch.core else { return };
        core.handle(input, now);
        while let Some(effect) = self.dispatch.core.as_mut().and_then(Dispatch::poll) {
            self.carry_out_at_gateway(effect);
        }
        let Some(at) = self.dispatch.core.as_ref().and_then(Dispatch::next_wakeup) else { return };
        let at = self.gateway_moment(at).max(self.now.after(1_000));
        if self.dispatch.wake.is_none_or(|wake| at < wake) {
            self.dispatch.wake = Some(at);
            self.queue.put(at, Event::GatewayWake(self.life(0)));
        }
    }

    /// A wakeup of the gateway's core.
    pub(super) fn gateway_wake(&mut self, life: Life) {
        if life == self.life(0) && self.dispatch.wake == Some(self.now) {
            self.dispatch.wake = None;
            self.tell_gateway(Input::Wakeup);
        }
    }

    fn gateway_after(&mut self, us: u64, done: Done) {
        self.queue.put(self.now.after(us), Event::GatewayDone(self.life(0), Box::new(done)));
    }

    fn carry_out_at_gateway(&mut self, effect: Effect) {
        let sync = self.node(0).sync;
        match effect {
            Effect::Persist { seq, state } => self.gateway_after(2 * sync, Done::Written(seq, state)),
            Effect::Announce(announcement) => self.announce_at_gateway(*announcement),
            Effect::Help(parts) => self.help_at_gateway(&parts),
            Effect::Resolve { action, parts, .. } => {
                let us = RESOLVE_TRIPS * self.central_round_trip();
                let bundle = Box::new(self.bundle(&parts));
                self.gateway_after(us, Done::Work(Box::new(Input::Resolved { action, bundle })));
            }
            Effect::Spool { envelope, .. } => {
                if let Ok(report) = cbor::from_slice::<Report>(&envelope, envelope.len()) {
                    self.gateway_after(2 * sync, Done::Spooled(Box::new(report)));
                }
            }
            Effect::Feedback(report) => {
                let (device, counter) = (report.device.clone(), report.counter);
                if report.state.is_terminal() {
                    let end = self.dispatch.ends.entry((device.clone(), report.action));
                    let (first, _) = *end.or_insert((counter, report.state));
                    let action = report.action;
                    self.observe(Observation::Delivered { device: device.clone(), action, counter, first });
                }
                self.gateway_after(sync, Done::Work(Box::new(Input::Delivered { device, counter })));
            }
            Effect::Unspool { device, counter } => drop(self.dispatch.spool.remove(&(device, counter))),
            Effect::Receipt { device, counter } => self.hand_over_receipt(device, counter),
            Effect::Audit(entry) => {
                self.gateway_after(sync, Done::Work(Box::new(Input::Audited { id: entry.id })));
            }
            Effect::Answer { .. } => {}
            Effect::Alarm(_) => self.observe(Observation::Alarm { node: 0 }),
        }
    }

    /// Work of the gateway is done.
    pub(super) fn gateway_done(&mut self, life: Life, done: Done) {
        if life != self.life(0) || self.dispatch.core.is_none() {
            return;
        }
        match done {
            Done::Written(seq, state) => {
                self.observe(Observation::Counted { rank: state.rank });
                self.dispatch.state = *state;
                self.tell_gateway(Input::Persisted(seq));
            }
            Done::Spooled(report) => {
                let (device, counter) = (report.device.clone(), report.counter);
                self.dispatch.spool.insert((device.clone(), counter), *report);
                self.tell_gateway(Input::Spooled { device, counter });
            }
            Done::Work(input) => self.work_is_done(*input),
            Done::Heard => {
                let now = self.now.timestamp();
                let heard = self.node(0).peer.as_ref().map(|p| p.liveness.heard(now)).unwrap_or_default();
                self.tell_gateway(Input::Heard(heard));
                self.repeat_decisions();
                self.gateway_after(HEARD, Done::Heard);
            }
        }
    }

    /// A bundle is whole when its manifest was read.
    fn work_is_done(&mut self, input: Input) {
        let commit = match &input {
            Input::Resolved { bundle, .. } => bundle.parts.first().map(|part| part.commit),
            _ => None,
        };
        match commit.and_then(|commit| self.releases.with_commit(&commit)).filter(|_| self.node(0).origin) {
            Some(release) => {
                self.dispatch.resolving.entry(release).or_default().push(input);
                self.want_manifest_at_once(0, release);
            }
            None => self.tell_gateway(input),
        }
    }

    /// Its peer has the manifest: bundles that waited for it are whole.
    pub(super) fn gateway_has_manifest(&mut self, release: usize) {
        let inputs = self.dispatch.resolving.remove(&release);
        inputs.into_iter().flatten().for_each(|input| self.tell_gateway(input));
    }

    /// A report reaches the gateway.
    pub(super) fn gateway_reads(&mut self, report: Arc<Report>) {
        let envelope = cbor::to_vec(report.as_ref());
        self.tell_gateway(Input::Report { report: Box::new(report.as_ref().clone()), envelope });
    }

    /// The newest announcement that its peer has reaches the gateway.
    pub(super) fn gateway_hears_announcement(&mut self) {
        let announced = self.node(0).announcement.and_then(|digest| self.announcements.get(&digest));
        if let Some(announcement) = announced.and_then(|a| a.announcement.clone()) {
            let content = Digest::of(&cbor::to_vec(announcement.as_ref()));
            let announcement = Box::new(announcement.as_ref().clone());
            self.tell_gateway(Input::Highest(Newest { content, announcement }));
        }
    }

    fn announce_at_gateway(&mut self, announcement: Announcement) {
        for bytes in &announcement.bundles {
            let bundle = open::<Bundle>(bytes).ok();
            let commit = bundle.and_then(|bundle| bundle.document.parts.first().map(|part| part.commit));
            if let Some(release) = commit.and_then(|commit| self.releases.with_commit(&commit)) {
                self.dispatch.bundles.insert(Digest::of(bytes), release);
            }
        }
        let body = cbor::to_vec(&announcement);
        let (digest, length) = (Digest::of(&body), (body.len() + ENVELOPE_LEN) as u32);
        let hint = Hint { epoch: announcement.epoch, counter: announcement.counter, digest, length };
        self.trace.note(self.now, "announce", &[hint.epoch, hint.counter, announcement.rows.len() as u64]);
        self.announce(0, Announced { hint, announcement: Some(Arc::new(announcement)) });
    }

    /// The peer of the gateway helps with these and no others.
    fn help_at_gateway(&mut self, parts: &[Part]) {
        let wanted: BTreeSet<usize> = parts.iter().filter_map(|part| self.releases.with_commit(&part.commit)).collect();
        self.retain(0, &wanted.iter().chain(self.dispatch.resolving.keys()).copied().collect());
        wanted.into_iter().for_each(|release| self.want_manifest(0, release));
    }

    fn bundle(&self, parts: &[PartWish]) -> Bundle {
        let part = |wish: &PartWish| {
            let commit = wish.commit.unwrap_or_default();
            let release = self.releases.get(self.releases.with_commit(&commit)?);
            let manifest = BlobRef { sha256: release.manifest, length: release.manifest_len, chunks: Vec::new() };
            Some(Part {
                kind: wish.kind,
                name: "app".parse().ok()?,
                version: "1".to_owned(),
                ref_name: wish.ref_name.clone(),
                commit,
                commit_object: BlobRef { sha256: commit, length: 200, chunks: Vec::new() },
                commit_meta: None,
                manifest: BlobRef {
                    length: manifest.length.min(fullmetal_proto::wire::bundle::CHUNK_LEN),
                    ..manifest.clone()
                },
                hardware: Vec::new(),
                start: wish.start.clone(),
                proof: wish.proof.clone(),
            })
        };
        Bundle { parts: parts.iter().filter_map(part).collect(), removed: Vec::new() }
    }

    /// How many actions of devices ended so, as the gateway was told.
    pub fn ends(&self, state: ReportState) -> usize {
        self.dispatch.ends.values().filter(|(_, end)| *end == state).count()
    }

    /// Whether the gateway has handed on the terminal report of a device about an action.
    pub fn has_end(&self, device: &DeviceId, action: u64) -> bool {
        self.dispatch.ends.contains_key(&(device.clone(), action))
    }
}
