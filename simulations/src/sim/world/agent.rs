//! Drives a device's deployment core and stands for its disk and its app.
//!
//! Work takes virtual time. A record or report is on disk only when its sync is over; a power cut before that loses it.

use super::World;
use super::event::{Event, Life, NodeId};
use crate::sim::engine::Moment;
use crate::sim::observe::Observation;
use fullmetal_proto::deploy::{
    AppEvent, Candidate, Deploy, Effect, Input, Local, Now, Outgoing, Policy, Record, Row, Ticket,
};
use fullmetal_proto::wire::{PartKind, PartState, Report, StartOptions};
use fullmetal_proto::{AppName, Digest, Timestamp};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// When the runs begin, by the trusted clock: 2026-11-24.
const EPOCH: Timestamp = Timestamp::from_secs(1_795_528_440);
/// Syncs that a record takes: of the file and of its directory.
const RECORD_SYNCS: u64 = 2;

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    machine: Deploy,
    started: Moment,
    wake: Option<Moment>,
    /// What it waits for, and of which release.
    judging: Option<(Ticket, usize)>,
    fetching: Option<(Ticket, usize)>,
}

/// What an agent has on disk.
#[derive(Debug, Default)]
pub struct Journal {
    /// The record as it was last synced.
    pub record: Option<Vec<u8>>,
    /// Reports that the gateway is not known to have.
    pub spool: BTreeMap<u64, Report>,
    /// Actions of which a record that was synced took note.
    pub noted: BTreeSet<u64>,
    /// The version in force.
    pub current: Option<Digest>,
}

/// Work of an agent that is done.
#[derive(Debug)]
pub enum Done {
    /// A record is synced, which knows of these actions.
    Written(u64, Vec<u8>, Vec<u64>),
    /// A report is in the spool.
    Spooled(Box<Report>),
    /// A release is in the store.
    Imported(usize, Ticket),
    /// Anything else: the answer.
    Work(Input),
    /// The app of that commit is in force, and the answer.
    InForce(Option<Digest>, Input),
}

impl World {
    /// Starts the agent of a device from what its disk has.
    pub(super) fn start_agent(&mut self, node: NodeId) {
        let started = self.now;
        let of = &mut self.nodes[node as usize];
        if of.group.is_none() {
            return;
        }
        let machine = Deploy::new(Policy { probation: self.calibration.probation });
        of.agent = Some(Box::new(Agent { machine, started, wake: None, judging: None, fetching: None }));
        let record = of.journal.record.as_deref().and_then(|bytes| Record::decode(bytes).ok()).map(Box::new);
        self.tell_agent(node, Input::Start { record, local: Local::default() });
        let pending: Vec<Report> = self.node(node).journal.spool.values().cloned().collect();
        pending.into_iter().for_each(|report| self.hand_over_report(node, report));
    }

    fn clocks(&self, node: NodeId) -> Now {
        let of = self.node(node);
        let started = of.agent.as_ref().map_or(self.now, |agent| agent.started);
        let trusted =
            EPOCH.as_millis().saturating_add(self.now.0 / 1_000).saturating_add_signed(self.group_of(node).clock);
        Now {
            steady: Timestamp::from_millis(self.now.since(started) / 1_000),
            trusted: Timestamp::from_millis(trusted),
        }
    }

    /// The trusted time at the gateway.
    pub(super) fn gateway_time(&self) -> Timestamp {
        self.clocks(0).trusted
    }

    /// The moment of a trusted time at the gateway.
    pub(super) fn gateway_moment(&self, at: Timestamp) -> Moment {
        let ms = at.as_millis().saturating_add_signed(-self.gateway.clock).saturating_sub(EPOCH.as_millis());
        Moment::from_millis(ms)
    }

    /// Hands the deployment core an input and does what it wants done.
    pub(super) fn tell_agent(&mut self, node: NodeId, input: Input) {
        let now = self.clocks(node);
        let Some(agent) = &mut self.nodes[node as usize].agent else { return };
        if let Err(error) = agent.machine.handle(input, now) {
            self.observe(Observation::Contract { node, what: error.to_string() });
        }
        let life = self.life(node);
        while let Some(effect) = self.nodes[node as usize].agent.as_mut().and_then(|a| a.machine.poll()) {
            self.carry_out(life, effect);
        }
        self.plan_agent_wake(life);
    }

    fn plan_agent_wake(&mut self, life: Life) {
        let now = self.now;
        let Some(agent) = &mut self.nodes[life.node as usize].agent else { return };
        let Some(at) = agent.machine.next_wakeup() else { return };
        let at = agent.started.after(at.as_millis().saturating_mul(1_000)).max(now.after(1_000));
        if agent.wake.is_none_or(|wake| at < wake) {
            agent.wake = Some(at);
            self.queue.put(at, Event::AgentWake(life));
        }
    }

    /// A wakeup of the deployment core.
    pub(super) fn agent_wake(&mut self, life: Life) {
        let now = self.now;
        let agent = self.agent_of(life).filter(|agent| agent.wake == Some(now));
        let Some(agent) = agent else { return };
        agent.wake = None;
        self.tell_agent(life.node, Input::Wakeup);
    }

    fn agent_of(&mut self, life: Life) -> Option<&mut Agent> {
        let node = &mut self.nodes[life.node as usize];
        node.agent.as_deref_mut().filter(|_| node.life == life.life)
    }

    fn after(&mut self, life: Life, us: u64, done: Done) {
        self.queue.put(self.now.after(us), Event::AgentDone(life, Box::new(done)));
    }

    fn carry_out(&mut self, life: Life, effect: Effect) {
        let node = life.node;
        let (sync, machine) = (self.node(node).sync, self.calibration);
        match effect {
            Effect::Persist { seq, record } => match record.encode() {
                Ok(bytes) => self.after(life, RECORD_SYNCS * sync, Done::Written(seq, bytes, actions(&record))),
                Err(error) => self.observe(Observation::Contract { node, what: error.to_string() }),
            },
            Effect::Judge { ticket, bundle, .. } => {
                let Some(release) = self.release_of_bundle(&bundle) else { return };
                if let Some(agent) = self.agent_of(life) {
                    agent.judging = Some((ticket, release));
                }
                self.want_manifest(node, release);
            }
            Effect::CheckSpace { ticket, bundle, .. } => {
                let Some(release) = self.release_of_bundle(&bundle) else { return };
                let bytes = self.releases.get(release).bytes;
                self.after(life, 0, Done::Work(Input::Fits { ticket, bytes }));
            }
            Effect::Fetch { ticket, bundle, .. } => {
                let Some(release) = self.release_of_bundle(&bundle) else { return };
                if let Some(agent) = self.agent_of(life) {
                    agent.fetching = Some((ticket, release));
                }
                self.want(node, release);
            }
            Effect::Checkout { ticket, .. } => {
                self.after(life, machine.checkout, Done::Work(Input::CheckedOut { ticket, jobs: Vec::new(), os: None }))
            }
            Effect::Switch { ticket, moves } => {
                let commit = moves.first().and_then(|m| m.new.as_ref()).map(|new| new.commit);
                self.after(life, machine.switch, Done::InForce(commit, Input::Switched { ticket }));
            }
            Effect::Revert { ticket, moves } => {
                let commit = moves.first().and_then(|m| m.old.as_ref()).map(|old| old.commit);
                self.after(life, machine.switch, Done::InForce(commit, Input::Reverted { ticket }));
            }
            Effect::Cancel { ticket } => self.cancel_work(life, ticket),
            Effect::Report { report, parts } => {
                let report = self.report(node, *report, parts);
                self.after(life, 2 * sync, Done::Spooled(Box::new(report)));
            }
            Effect::Prune { ticket, manifests, .. } => {
                let kept = manifests.iter().filter_map(|manifest| self.releases.with_manifest(manifest));
                let kept = kept.chain(self.node(node).agent.as_ref().and_then(|agent| agent.waits_for())).collect();
                self.retain(node, &kept);
                self.after(life, machine.prune, Done::Work(Input::Pruned { ticket }));
            }
            // Nothing simulated has an operating system to update.
            Effect::Ignored { .. } | Effect::Os { .. } | Effect::Reboot { .. } => {}
        }
    }

    /// Work of an agent is done.
    pub(super) fn agent_done(&mut self, life: Life, done: Done) {
        let node = life.node;
        if self.agent_of(life).is_none() {
            return;
        }
        match done {
            Done::Written(seq, bytes, actions) => {
                let journal = &mut self.nodes[node as usize].journal;
                journal.record = Some(bytes);
                journal.noted.extend(actions);
                self.tell_agent(node, Input::Persisted { seq });
            }
            Done::Spooled(report) => {
                let counter = report.counter;
                let kept = self.nodes[node as usize].journal.spool.entry(counter).or_insert(*report).clone();
                self.trace.note(self.now, "report", &[u64::from(node), counter, kept.state as u64]);
                self.observe(Observation::Reported { node, counter, action: kept.action, state: kept.state });
                self.hand_over_report(node, kept);
                self.tell_agent(node, Input::Spooled { counter });
            }
            Done::Imported(release, ticket) => {
                self.nodes[node as usize].held_mut(release).imported = true;
                self.tell_agent(node, Input::Imported { ticket });
            }
            Done::Work(input) => self.tell_agent(node, input),
            Done::InForce(commit, input) => {
                self.nodes[node as usize].journal.current = commit;
                let release = commit.and_then(|commit| self.releases.with_commit(&commit));
                if let Some(release) = release {
                    self.observe(Observation::InForce { node, release });
                }
                self.trace.note(self.now, "in force", &[u64::from(node), u64::from(commit.is_some())]);
                self.tell_agent(node, input);
                if let (Some(commit), Some(release)) = (commit, release) {
                    self.app_starts(node, commit, release);
                }
            }
        }
    }

    /// The newest announcement reaches the agent.
    pub(super) fn agent_hears(&mut self, node: NodeId) {
        let Some(announced) = self.node(node).announcement.and_then(|digest| self.announcements.get(&digest)) else {
            return;
        };
        let Some(announcement) = announced.announcement.clone() else { return };
        let id = &self.node(node).id;
        let row = announcement.rows.binary_search_by(|row| row.0.cmp(id)).ok().map(|i| &announcement.rows[i]);
        let row = row.and_then(|row| {
            let bundle = announcement.bundles.get(usize::from(row.1))?;
            Some(Row { action: row.2, bundle: Digest::of(bundle), mode: row.3, valid_until: row.4 })
        });
        let rank = announced.hint.rank();
        self.tell_agent(node, Input::Announced { rank, expires: announcement.expires, row });
    }

    /// The manifest is in the peer's cache: what a judgement waits for.
    pub(super) fn agent_has_manifest(&mut self, node: NodeId, release: usize) {
        let life = self.life(node);
        let ticket = self.agent_of(life).and_then(|agent| take_of(&mut agent.judging, release));
        let (is_of, number) = (self.releases.get(release), release as u64 + 1);
        if let (Some(ticket), Some(name)) = (ticket, app()) {
            let part = Candidate {
                kind: PartKind::App,
                name,
                version: number.to_string(),
                commit: is_of.commit(),
                manifest: is_of.manifest,
                start: StartOptions::default(),
                release: Some(number),
                floor: None,
                probation: None,
                notify: false,
                unsigned: false,
                health: self.decisions.fails[release],
            };
            self.after(
                life,
                self.calibration.judge,
                Done::Work(Input::Judged { ticket, parts: vec![part], removed: Vec::new(), os: None }),
            );
        }
    }

    /// All pieces are in the peer's cache: they are imported.
    pub(super) fn agent_has_pieces(&mut self, node: NodeId, release: usize) {
        let life = self.life(node);
        let us = self.node(node).storing(self.releases.get(release).bytes);
        if let Some(ticket) = self.agent_of(life).and_then(|agent| take_of(&mut agent.fetching, release)) {
            self.after(life, us, Done::Imported(release, ticket));
        }
    }

    /// The app of a release runs; one that fails is never healthy.
    fn app_starts(&mut self, node: NodeId, commit: Digest, release: usize) {
        let Some(name) = app() else { return };
        self.tell_agent(node, Input::App { name: name.clone(), commit, event: AppEvent::Running });
        if self.decisions.fails[release] {
            let event = AppEvent::Unhealthy { reason: "simulated".to_owned() };
            self.tell_agent(node, Input::App { name, commit, event });
        }
    }

    /// Nobody waits for that work any more; a peer that was to fetch for it only serves what it has.
    fn cancel_work(&mut self, life: Life, ticket: Ticket) {
        let Some(agent) = self.agent_of(life) else { return };
        agent.judging = agent.judging.filter(|(judging, _)| *judging != ticket);
        if let Some((_, release)) = agent.fetching.take_if(|(fetching, _)| *fetching == ticket) {
            self.want_no_more(life.node, release);
        }
    }

    fn report(&self, node: NodeId, report: Outgoing, parts: Vec<PartState>) -> Report {
        let of = self.node(node);
        let oldest = of.journal.spool.keys().next().map_or(report.counter, |first| report.counter.min(*first));
        Report {
            fleet: super::gateway::fleet(),
            device: of.id.clone(),
            counter: report.counter,
            oldest,
            action: report.action,
            bundle: report.bundle,
            state: report.state,
            reason: report.cause.reason,
            exit: report.cause.exit,
            log: report.cause.log,
            parts,
            bytes_from_peers: report.bytes_from_peers,
            bytes_from_central: report.bytes_from_central,
            bytes_total: report.bytes_total,
            agent: String::new(),
            bundle_major: 0,
            free_bytes: None,
            elapsed_ms: report.elapsed_ms,
            at: report.at,
            certificate: ByteBuf::new(),
        }
    }
}

impl Agent {
    /// The release that it judges or fetches.
    fn waits_for(&self) -> Option<usize> {
        self.judging.or(self.fetching).map(|(_, release)| release)
    }
}

/// The ticket of work that waits for this release.
fn take_of(waiting: &mut Option<(Ticket, usize)>, release: usize) -> Option<Ticket> {
    waiting.take_if(|(_, of)| *of == release).map(|(ticket, _)| ticket)
}

/// The actions that a record knows of.
fn actions(record: &Record) -> Vec<u64> {
    let open = record.deployment.iter().map(|d| &d.wish).chain(&record.next).map(|wish| wish.action);
    open.chain(record.ended.iter().map(|ended| ended.action)).collect()
}

/// The one app of a simulated device.
fn app() -> Option<AppName> {
    "app".parse().ok()
}
