//! Drives the gateway's core: one decision for all devices, announcements, reports, receipts.
//!
//! Signing is left out; what a disk has to sync takes time. A gateway that dies loses what was not synced.

use super::agent::Journal;
use super::event::{Event, Life};
use super::{Announced, World};
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use fullmetal_proto::announce::carried::{Client, Input as Carried};
use fullmetal_proto::dispatch::{Config, Dispatch, Effect, Input, NOBODY, Newest, PartWish, State, Targets, Wish};
use fullmetal_proto::wire::gossip::Hint;
use fullmetal_proto::wire::{Announcement, BlobRef, Bundle, Mode, Part, PartKind, Report, StartOptions, cbor};
use fullmetal_proto::{DeviceId, Digest, FleetId};
use std::collections::BTreeMap;
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
    /// A bundle that only lacks the manifest, which the gateway reads through its peer.
    resolving: Option<Box<Input>>,
    /// The one decision was taken.
    decided: bool,
    /// For each device and action, how many different terminal reports were handed on.
    pub ends: BTreeMap<(DeviceId, u64), u64>,
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
        if self.dispatch.decided {
            self.decide();
        }
    }

    /// The gateway dies with its peer.
    pub(super) fn stop_gateway(&mut self) {
        (self.dispatch.core, self.dispatch.resolving) = (None, None);
    }

    /// The release is decided on, for all devices.
    pub(super) fn decide(&mut self) {
        self.dispatch.decided = true;
        let (Ok(ref_name), commit) = ("apps/app/x86_64".parse(), Some(self.release.commit())) else { return };
        let part = PartWish { ref_name, commit, name: None, version: None, start: StartOptions::default() };
        let wish =
            Wish { action: Some(1), targets: Targets::All, mode: Mode::Now, valid_until: None, parts: vec![part] };
        self.tell_gateway(Input::Request { ticket: NOBODY, wish });
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
            Effect::Help(parts) if parts.is_empty() => {}
            Effect::Help(_) => self.want_manifest(0),
            Effect::Resolve { action, parts } => {
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
                    let first = *self.dispatch.ends.entry((device.clone(), report.action)).or_insert(counter);
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
            Done::Work(input) if matches!(*input, Input::Resolved { .. }) && self.node(0).origin => {
                self.dispatch.resolving = Some(input);
                self.want_manifest_at_once(0);
            }
            Done::Work(input) => self.tell_gateway(*input),
            Done::Heard => {
                let now = self.now.timestamp();
                let heard = self.node(0).peer.as_ref().map(|p| p.liveness.heard(now)).unwrap_or_default();
                self.tell_gateway(Input::Heard(heard));
                self.gateway_after(HEARD, Done::Heard);
            }
        }
    }

    /// Its peer has the manifest: a bundle that waited for it is whole.
    pub(super) fn gateway_has_manifest(&mut self) {
        if let Some(input) = self.dispatch.resolving.take() {
            self.tell_gateway(*input);
        }
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
        let body = cbor::to_vec(&announcement);
        let (digest, length) = (Digest::of(&body), (body.len() + ENVELOPE_LEN) as u32);
        let hint = Hint { epoch: announcement.epoch, counter: announcement.counter, digest, length };
        self.trace.note(self.now, "announce", &[hint.epoch, hint.counter, announcement.rows.len() as u64]);
        self.announce(0, Announced { hint, announcement: Some(Arc::new(announcement)) });
    }

    fn bundle(&self, parts: &[PartWish]) -> Bundle {
        let manifest = BlobRef { sha256: self.release.manifest, length: self.release.manifest_len, chunks: Vec::new() };
        let part = |wish: &PartWish| {
            let commit = wish.commit.unwrap_or_default();
            Some(Part {
                kind: PartKind::App,
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
            })
        };
        Bundle { parts: parts.iter().filter_map(part).collect() }
    }

    /// Whether each of these devices has its terminal report at the gateway.
    pub fn all_reported<'a>(&self, mut devices: impl Iterator<Item = &'a DeviceId>) -> bool {
        devices.all(|device| self.dispatch.ends.contains_key(&(device.clone(), 1)))
    }

    /// What an agent's disk has.
    pub fn journal(&self, node: super::NodeId) -> &Journal {
        &self.node(node).journal
    }
}
