//! What is counted while a lab runs, and what came out.

use super::stage::{Host, Stage};
use super::timeline::HostId;
use super::watch::{Watched, pieces};
use crate::lab::Tally;
use crate::lab::net::Carried;
use crate::sim::engine::Moment;
use crate::sim::outcome::{Frames, LACKING_MAX, LabDevice, LabFigures, Outcome, Times, copies};
use crate::sim::scenario::Scenario;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Counted {
    /// Whether the release is for it.
    told: bool,
    watched: Watched,
    before: Carried,
    cpu_before: u64,
    memory: u64,
    reported: Option<(u64, String)>,
}

/// What is counted. Times in microseconds since the start, sizes in bytes.
#[derive(Debug)]
pub struct Measured {
    /// The action of each device, once it was decided.
    pub actions: BTreeMap<String, u64>,
    hosts: Vec<Counted>,
    needed: u64,
    one_copy: u64,
    from_central_before: u64,
    trunks_before: u64,
    requests_before: u64,
}

impl Measured {
    /// Nothing is on yet; the release is for those that will be `told`, and each needs `needed` bytes of it.
    pub fn new(stage: &Stage, told: &[HostId], needed: u64, one_copy: u64) -> anyhow::Result<Self> {
        let count = |(index, host): (usize, &Host)| {
            let (before, cpu_before) = (stage.net.carried_by(&host.at)?, host.node.cpu_us());
            anyhow::Ok(Counted { told: told.contains(&index), before, cpu_before, ..Counted::default() })
        };
        Ok(Measured {
            actions: BTreeMap::new(),
            hosts: stage.hosts.iter().enumerate().map(count).collect::<Result<_, _>>()?,
            needed,
            one_copy,
            from_central_before: stage.sent_by_central()?,
            trunks_before: stage.net.carried_between(stage.trunks)?,
            requests_before: stage.central.requests(),
        })
    }

    /// Looks how far all are.
    pub fn look(&mut self, stage: &Stage, now: u64) {
        for (counted, host) in self.hosts.iter_mut().zip(&stage.hosts) {
            counted.watched.look(host.node.root(), now);
            counted.memory = counted.memory.max(host.node.anonymous());
        }
    }

    /// Asks the operator's server who has ended.
    pub fn ask(&mut self, stage: &Stage, now: u64) -> anyhow::Result<()> {
        for (counted, host) in self.hosts.iter_mut().zip(&stage.hosts).skip(1) {
            let Some(action) = self.actions.get(&host.id).filter(|_| counted.reported.is_none()) else { continue };
            let history = stage.operator.history(&host.id, *action)?;
            let end =
                history.into_iter().find(|entry| matches!(entry.kind.as_str(), "finished" | "error" | "canceled"));
            counted.reported = end.map(|entry| (now, entry.kind));
        }
        Ok(())
    }

    /// Of what all that are told need together, in millionths.
    pub fn ppm(&self) -> u64 {
        let told = || self.hosts.iter().filter(|counted| counted.told);
        let bytes: u64 = told().map(|d| d.watched.bytes().min(self.needed)).sum();
        bytes * 1_000_000 / (self.needed * told().count() as u64).max(1)
    }

    /// Whether it was decided and each device that was told and is on has ended.
    pub fn is_over(&self, stage: &Stage) -> bool {
        let mut devices = stage.hosts.iter().zip(&self.hosts).filter(|(_, counted)| counted.told);
        !self.actions.is_empty() && devices.all(|(host, counted)| !host.node.is_on() || counted.reported.is_some())
    }

    fn pieces(&self) -> u64 {
        pieces(self.hosts.iter().map(|counted| &counted.watched))
    }

    fn device(&self, stage: &Stage, host: &Host, counted: &Counted) -> anyhow::Result<LabDevice> {
        let carried = stage.net.carried_by(&host.at)?;
        Ok(LabDevice {
            id: host.id.clone(),
            told: counted.told,
            on: host.node.is_on(),
            pieces_at: counted.watched.complete_at(self.pieces()),
            in_force_at: counted.watched.in_force_at,
            reported_at: counted.reported.as_ref().map(|(at, _)| *at),
            end: counted.reported.as_ref().map(|(_, end)| end.clone()),
            cpu_us: host.node.cpu_us() - counted.cpu_before,
            memory: counted.memory,
            received: carried.received - counted.before.received,
            sent: carried.sent - counted.before.sent,
        })
    }

    /// What came out.
    pub fn outcome(&self, run: (&Scenario, u64), stage: &Stage, now: u64) -> anyhow::Result<Outcome> {
        let (scenario, seed) = run;
        let hosts = stage.hosts.iter().zip(&self.hosts).map(|(host, counted)| self.device(stage, host, counted));
        let hosts: Vec<LabDevice> = hosts.collect::<Result<_, _>>()?;
        let counted: Vec<&LabDevice> = hosts.iter().filter(|device| device.told && device.on).collect();
        let times = Times::of(counted.iter().map(|device| device.pieces_at));
        let uplink = stage.sent_by_central()? - self.from_central_before;
        let trunks = stage.net.carried_between(stage.trunks)? - self.trunks_before;
        let ports = hosts.iter().map(|device| device.received).sum();
        let lacking = counted.iter().filter(|device| device.pieces_at.is_none()).map(|device| device.id.clone());
        let unreported = counted.iter().filter(|device| device.reported_at.is_none()).map(|device| device.id.clone());
        let ended = |end| counted.iter().filter(|device| device.end.as_deref() == Some(end)).count();
        let mut outcome = Outcome {
            name: scenario.name.clone(),
            seed,
            hash: None,
            ended_at: Moment(now),
            devices: scenario.devices(),
            counted: times.counted,
            converged: times.had,
            times: times.at,
            releases: Vec::new(),
            copies: copies(uplink, self.one_copy),
            bytes: [uplink, trunks, ports, 0, 0],
            wasted: 0,
            requests: [stage.central.requests() - self.requests_before, 0, 0],
            messages: 0,
            bans: 0,
            fetchers_max: 0,
            events: 0,
            lacking: lacking.take(LACKING_MAX).collect(),
            expectations: Vec::new(),
            unreported: unreported.take(LACKING_MAX).collect(),
            ends: ["finished", "error", "canceled"].map(ended),
            not_begun: Vec::new(),
            not_over: Vec::new(),
            violation: None,
            lab: None,
        };
        let frames = frames(stage.net.tally());
        outcome.lab = Some(LabFigures { notes: Vec::new(), one_copy: self.one_copy, frames, hosts });
        outcome.judge(scenario);
        Ok(outcome)
    }
}

fn frames(tally: Tally) -> Frames {
    let Tally { delayed, lost, dropped, late } = tally;
    Frames { delayed, lost, dropped, late: late / delayed.max(1) }
}
