//! From the verdict to the checkout: nothing that runs is touched.

use super::input::Candidate;
use super::os::{NewOs, OsView, StagedOs};
use super::outbox::Cause;
use super::outbox::OUTBOX_MAX;
use super::record::{App, Installed, NewPart, RECORD_LEN_MAX, Record};
use super::{
    Deploy, DeployError, Event, Move, Now, PROBATION_MAX, PROGRESS_INTERVAL, RETRY_MAX, RETRY_MIN, Retry, State,
};
use crate::AppName;
use crate::wire::bundle::{PartKind, StartOptions};
use crate::wire::cbor;
use crate::wire::report::ReportState;
use std::time::Duration;

/// How many removed apps' floors are remembered, the newest.
const FLOORS_MAX: usize = 32;
/// How long the paths are that one remark names.
const PATHS_LEN_MAX: usize = 130;
/// The name of what was staged, and the boots in which it was put on trial and which it is left in.
const OS_GROWTH: usize = 256;
/// What the record may grow by after the verdict: the cause of a failure, small reports, another wish.
pub(super) const RECORD_GROWTH: usize = 6 * 1024 + OS_GROWTH + OUTBOX_MAX * 384;

impl Deploy {
    /// Takes the verdict on a bundle whose signatures hold.
    pub(super) fn judged(
        &mut self,
        candidates: Vec<Candidate>,
        removed: Vec<AppName>,
        view: Option<OsView>,
        now: Now,
    ) -> Result<(), DeployError> {
        self.state.on(Event::Accepted)?;
        self.seen.clone_from(&view);
        if let Some(reason) = self.unknown_os().or_else(|| self.objection(&candidates, view.as_ref())) {
            return self.end(Event::Refused, ReportState::Failed, Cause::new(&reason), now);
        }
        let probation = candidates.iter().map(|c| c.probation.unwrap_or(self.policy.probation)).max();
        let probation = probation.unwrap_or_default().min(PROBATION_MAX);
        let (os, apps): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| c.kind == PartKind::Os);
        let os_floor = os.first().and_then(|os| os.floor);
        let os = os.into_iter().next().zip(view).and_then(|(os, view)| self.new_os_of(NewPart::from(os), &view));
        if let Some(deployment) = &mut self.record.deployment {
            deployment.parts = apps.into_iter().map(NewPart::from).collect();
            deployment.removed = removed;
            deployment.os = os;
            deployment.probation_ms = millis(probation);
        }
        if self.record.moves().is_empty() && self.new_os().is_none() {
            if let Some((system, floor)) = self.record.os.as_mut().zip(os_floor) {
                system.app.floor = system.app.floor.max(floor);
            }
            self.record.keep();
            return self.end(Event::InForce, ReportState::Succeeded, Cause::default(), now);
        }
        if let Some(reason) = self.overflow() {
            return self.end(Event::Refused, ReportState::Failed, Cause::new(&reason), now);
        }
        self.progress_from = now.steady.after(PROGRESS_INTERVAL);
        self.queue.change();
        self.milestone(ReportState::Accepted, now);
        self.go(Event::Accepted)
    }

    /// Why a well-signed bundle must not be installed here.
    fn objection(&self, candidates: &[Candidate], view: Option<&OsView>) -> Option<String> {
        candidates.iter().find_map(|c| {
            let floor = match c.kind {
                PartKind::App => self.record.floor(&c.name),
                PartKind::Os => {
                    if let Some(why) = self.os_objection(view, &format!("{} {}", c.name, c.version)) {
                        return Some(why);
                    }
                    self.record.os.as_ref().map_or(0, |os| os.app.floor)
                }
            };
            let release = c.release.filter(|r| *r < floor)?;
            Some(format!(
                "{} {} is release {release}, below {floor}, the lowest that may follow what was proven here: \
                 publish it again with a higher release",
                c.name, c.version
            ))
        })
    }

    /// Nothing, when it is what runs.
    fn new_os_of(&mut self, mut part: NewPart, view: &OsView) -> Option<NewOs> {
        self.adopt_os(view, &part);
        // It is proven by the device's own checks, whatever else the bundle says.
        (part.health, part.notify) = (true, false);
        part.installed.start = StartOptions::default();
        let runs = part.installed.commit == view.booted.commit;
        (!runs).then_some(NewOs { part, old: view.booted, new: None, boot: None })
    }

    /// Why the journal could not hold this deployment up to its end.
    pub(super) fn overflow(&self) -> Option<String> {
        let mut kept = self.record.clone();
        kept.keep();
        let len = cbor::to_vec(&self.record).len().max(cbor::to_vec(&kept).len()) + RECORD_GROWTH;
        let apps = kept.apps.len();
        (len > RECORD_LEN_MAX).then(|| {
            format!(
                "the journal cannot hold {apps} apps of such names and versions ({len} bytes, {RECORD_LEN_MAX} are \
                 allowed): use smaller bundles"
            )
        })
    }

    /// Piece bytes of the deployment under way.
    pub(super) fn fetched(&self) -> (u64, u64) {
        self.record.deployment.as_ref().map_or((0, 0), |d| (d.bytes_from_peers, d.bytes_from_central))
    }

    /// There is space, and it is known how much will come besides what came before.
    pub(super) fn fits(&mut self, bytes: u64) -> Result<(), DeployError> {
        let (peers, central) = self.fetched();
        self.total = if bytes == 0 { 0 } else { peers.saturating_add(central).saturating_add(bytes) };
        self.quarters = self.quarters_of(peers.saturating_add(central));
        self.go(Event::Fits)
    }

    fn quarters_of(&self, bytes: u64) -> u64 {
        u64::try_from(u128::from(bytes) * 4 / u128::from(self.total.max(1))).unwrap_or(u64::MAX)
    }

    /// Counts what a fetch brought, and reports each further quarter.
    pub(super) fn progress(&mut self, from_peers: u64, from_central: u64, now: Now) {
        let (peers, central) = self.fetched_before;
        if let Some(deployment) = &mut self.record.deployment {
            deployment.bytes_from_peers = peers.saturating_add(from_peers);
            deployment.bytes_from_central = central.saturating_add(from_central);
        }
        let (peers, central) = self.fetched();
        let quarters = self.quarters_of(peers.saturating_add(central));
        if self.total > 0 && (self.quarters + 1..4).contains(&quarters) {
            self.report_progress("", now);
        }
    }

    fn report_progress(&mut self, reason: &str, now: Now) {
        if self.progress_from <= now.steady && self.record.outbox.is_empty() {
            self.progress_from = now.steady.after(PROGRESS_INTERVAL);
            let (peers, central) = self.fetched();
            self.quarters = self.quarters_of(peers.saturating_add(central));
            self.remark(ReportState::Fetching, reason, now);
        }
    }

    /// All parts lie beside what runs.
    pub(super) fn checked_out(&mut self, jobs: &[AppName], os: Option<StagedOs>, now: Now) -> Result<(), DeployError> {
        if let Some(new) = self.record.deployment.as_mut().and_then(|d| d.os.as_mut()) {
            new.new = os.as_ref().map(|os| os.id);
            if os.is_none() {
                let reason = "the operating system was not staged".to_owned();
                return self.failed(false, reason, now);
            }
        }
        for part in self.record.deployment.iter_mut().flat_map(|d| &mut d.parts).filter(|p| jobs.contains(&p.name)) {
            part.installed.start.job = true;
            part.may_stay = true;
        }
        self.go(Event::CheckedOut)?;
        let kept = os.map(|os| told_of_kept(&os.etc_kept)).unwrap_or_default();
        self.milestone_with(ReportState::Staged, &kept, now);
        Ok(())
    }

    /// Work did not succeed: again later, or the end, or the way back.
    pub(super) fn failed(&mut self, retry: bool, reason: String, now: Now) -> Result<(), DeployError> {
        match self.state {
            State::Switching => self.roll_back(Cause::new(&reason)),
            state if state.is_of_trial() => self.os_failed(retry, &reason, now),
            State::Pruning => self.go(Event::Pruned),
            State::RollingBack => {
                let all = self.record.moves().into_iter().map(|m| m.name).collect();
                self.not_reverted(all, &reason, now)
            }
            _ if retry && !self.record.deployment.as_ref().is_some_and(|d| d.by_hand) => {
                self.state.on(Event::Refused)?;
                let _ = self.try_again_later(now);
                self.report_progress(&reason, now);
                Ok(())
            }
            _ => self.end(Event::Refused, ReportState::Failed, Cause::new(&reason), now),
        }
    }

    /// Gives how often it has failed by now.
    pub(super) fn try_again_later(&mut self, now: Now) -> u32 {
        self.ticket.0 += 1;
        let failures = self.retry.map_or(0, |r| r.failures);
        let wait = RETRY_MIN.saturating_mul(1 << failures.min(10)).min(RETRY_MAX);
        self.retry = Some(Retry { at: Some(now.steady.after(wait)), failures: failures + 1 });
        failures + 1
    }
}

impl From<Candidate> for NewPart {
    fn from(c: Candidate) -> Self {
        let Candidate { name, version, commit, manifest, start, health, notify, unsigned, .. } = c;
        let installed = Installed { commit, version, manifest, start, unsigned };
        NewPart { name, installed, floor: c.floor.unwrap_or(0), health, notify, may_stay: false }
    }
}

impl NewPart {
    /// Whether it is what `app` is, but for its labels.
    fn is_in_force(&self, app: &App) -> bool {
        let Installed { commit, start, .. } = &app.current;
        !app.lost && *commit == self.installed.commit && *start == self.installed.start
    }
}

impl Record {
    /// The parts of the deployment under way that are not in force, with what they replace, then the apps that leave and
    /// are there.
    pub fn moves(&self) -> Vec<Move> {
        let moved = |part: &NewPart| {
            let app = self.apps.get(&part.name);
            let old = app.map(|a| a.current.clone());
            let new = Move { name: part.name.clone(), old, new: Some(part.installed.clone()) };
            if app.is_some_and(|a| part.is_in_force(a)) { None } else { Some(new) }
        };
        let removed = |name: &AppName| {
            let old = self.apps.get(name)?.current.clone();
            Some(Move { name: name.clone(), old: Some(old), new: None })
        };
        let parts = self.deployment.iter().flat_map(|d| d.parts.iter().filter_map(moved));
        parts.chain(self.deployment.iter().flat_map(|d| d.removed.iter().filter_map(removed))).collect()
    }

    /// The lowest release of an app that may be installed, also after it was removed.
    pub(super) fn floor(&self, name: &AppName) -> u64 {
        let gone = || self.floors.iter().find(|(of, _)| of == name).map(|(_, floor)| *floor);
        self.apps.get(name).map(|app| app.floor).or_else(gone).unwrap_or_default()
    }

    /// The parts of the deployment under way that are not in force.
    pub(super) fn watched(&self) -> impl Iterator<Item = &NewPart> {
        let in_force = |p: &NewPart| self.apps.get(&p.name).is_some_and(|a| p.is_in_force(a));
        self.deployment.iter().flat_map(|d| &d.parts).filter(move |p| !in_force(p))
    }

    /// The deployment under way is proven: its parts are in force, floors rise, what it removes is no more.
    pub(super) fn keep(&mut self) {
        let Some(deployment) = self.deployment.clone() else { return };
        for part in deployment.parts {
            let new = part.installed;
            let floor = self.floor(&part.name).max(part.floor);
            match self.apps.get_mut(&part.name) {
                Some(app) => app.replace(new, floor),
                None => {
                    self.floors.retain(|(name, _)| *name != part.name);
                    self.apps.insert(part.name, App { current: new, previous: None, floor, lost: false });
                }
            }
        }
        for name in deployment.removed {
            if let Some(App { floor: 1.., .. }) = self.apps.get(&name) {
                self.floors.push((name.clone(), self.floor(&name)));
            }
            self.apps.remove(&name);
        }
        if let Some((os, system)) = deployment.os.zip(self.os.as_mut()) {
            let floor = system.app.floor.max(os.part.floor);
            system.app.replace(os.part.installed, floor);
            system.name = os.part.name;
        }
        let surplus = self.floors.len().saturating_sub(FLOORS_MAX);
        self.floors.drain(..surplus);
    }
}

impl App {
    fn replace(&mut self, new: Installed, floor: u64) {
        self.floor = floor;
        let old = std::mem::replace(&mut self.current, new);
        let lost = std::mem::take(&mut self.lost);
        if old.commit != self.current.commit && !lost {
            self.previous = Some(old);
        }
    }
}

/// A time span as records and reports have it.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The watch time of the deployment under way.
pub(super) fn probation(record: &Record) -> Duration {
    Duration::from_millis(record.deployment.as_ref().map_or(0, |d| d.probation_ms))
}

/// A release's settings that will not come into force are told, and are no reason to refuse it: the device's are wanted.
fn told_of_kept(paths: &[String]) -> String {
    let mut len = 0;
    let told = paths.iter().map(String::as_str).take_while(|path| {
        len += path.len() + 1;
        len <= PATHS_LEN_MAX.max(path.len() + 1)
    });
    let told = told.collect::<Vec<_>>();
    let left = paths.len() - told.len();
    let more = if left > 0 { format!(" and {left} more") } else { String::new() };
    if told.is_empty() {
        return String::new();
    }
    format!("changed here and by the release, stays as here: {}{more}", told.join(" "))
}
