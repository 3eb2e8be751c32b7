//! What is to happen when, and to whom: the same draws as a simulation's, so that one seed names the same devices.

use crate::sim::engine::Random;
use crate::sim::scenario::{Action, Happening, Scenario, Targets, When};
use std::collections::BTreeMap;
use std::ops::Range;

/// The index of a host: 0 is the gateway, the devices follow in the order of the scenario.
pub type HostId = usize;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start a host's programs.
    PowerOn(HostId),
    /// Assign the release.
    Decide,
    /// Do something to these hosts.
    Begin(Action, Vec<HostId>),
    /// Undo it.
    Undo(Action, Vec<HostId>),
}

#[derive(Debug)]
enum Planned {
    Step(Step),
    /// An event of the scenario: to all of its targets, or to the next of them.
    Happens(usize, usize),
}

/// What is still to happen.
#[derive(Debug)]
pub struct Timeline {
    queue: BTreeMap<(u64, u64), Planned>,
    serial: u64,
    happenings: Vec<Happening>,
    /// Events that wait for progress.
    waiting: Vec<usize>,
    targets: BTreeMap<usize, Vec<HostId>>,
    groups: Vec<Range<HostId>>,
    draw: Random,
    /// Whom the release is for.
    pub told: Vec<HostId>,
}

impl Timeline {
    /// The plan of a scenario.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut first = 1;
        let group_range = |devices: usize| {
            first += devices;
            first - devices..first
        };
        let groups: Vec<_> = scenario.groups.iter().map(|group| group.devices).map(group_range).collect();
        let happenings = scenario.happenings.clone();
        let mut draw = Random::new(seed, "targets");
        let all = Targets::All;
        let told = scenario.release.decision.devices.as_ref().unwrap_or(&all).resolve(&groups, &mut draw, || None);
        let (queue, targets, waiting) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut timeline = Timeline { queue, serial: 0, happenings, waiting, targets, groups, draw, told };
        let mut on = Random::new(seed, "on");
        timeline.put(scenario.gateway.on.from, Planned::Step(Step::PowerOn(0)));
        for (index, group) in scenario.groups.iter().enumerate() {
            for host in timeline.groups[index].clone() {
                let at = group.on.from + on.below(group.on.over.max(1));
                timeline.put(at, Planned::Step(Step::PowerOn(host)));
            }
        }
        timeline.put(scenario.release.decision.announced, Planned::Step(Step::Decide));
        for i in 0..timeline.happenings.len() {
            match timeline.happenings[i].when {
                When::At(at) => timeline.put(at.0, Planned::Happens(i, 0)),
                When::Progress(_) => timeline.waiting.push(i),
            }
        }
        timeline
    }

    fn put(&mut self, us: u64, planned: Planned) {
        self.queue.insert((us, self.serial), planned);
        self.serial += 1;
    }

    /// Events of the scenario that wait for progress.
    pub fn not_begun(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().copied()
    }

    /// Whether nothing is to come.
    pub fn is_over(&self) -> bool {
        self.queue.is_empty() && self.waiting.is_empty()
    }

    /// What is due at `now`, with progress `ppm` of a million. `fetcher` names one that is asking central, if it can.
    pub fn due(&mut self, now: u64, ppm: u64, fetcher: &mut dyn FnMut() -> Option<HostId>) -> Vec<Step> {
        let begins = |i: &usize| matches!(self.happenings[*i].when, When::Progress(share) if u64::from(share) <= ppm);
        let (due, waiting): (Vec<usize>, Vec<usize>) = self.waiting.iter().partition(|i| begins(i));
        self.waiting = waiting;
        due.into_iter().for_each(|i| self.put(now, Planned::Happens(i, 0)));
        let mut steps = Vec::new();
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Planned::Step(step) => steps.push(step),
                Planned::Happens(index, step) => steps.extend(self.happens(index, step, now, fetcher)),
            }
        }
        steps
    }

    fn happens(
        &mut self,
        index: usize,
        step: usize,
        now: u64,
        fetcher: &mut dyn FnMut() -> Option<HostId>,
    ) -> Option<Step> {
        let happening = self.happenings[index].clone();
        let mut targets = match happening.action.targets() {
            Some(_) if step > 0 => self.targets.get(&index).cloned().unwrap_or_default(),
            Some(targets) => targets.resolve(&self.groups, &mut self.draw, fetcher),
            None => Vec::new(),
        };
        if happening.each > 0 && !targets.is_empty() {
            if step + 1 < targets.len() {
                self.put(now + happening.each, Planned::Happens(index, step + 1));
            }
            let one = targets.get(step).copied().into_iter().collect();
            self.targets.insert(index, std::mem::replace(&mut targets, one));
        }
        if let Some(us) = happening.lasting {
            self.put(now + us, Planned::Step(Step::Undo(happening.action.clone(), targets.clone())));
        }
        Some(Step::Begin(happening.action, targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const SITE: &str = "name = \"t\"\n[network]\nuplink = \"20 Mbit/s\"\n[[group]]\nname = \"hall\"\ndevices = 4\n\
                        [release]\nsize = \"4 MB\"\nannounced = \"3 s\"\n";

    fn timeline(event: &str) -> Timeline {
        Timeline::new(&Scenario::parse(&format!("{SITE}[[event]]\n{event}\n"), Path::new("t.toml")).unwrap(), 1)
    }

    #[test]
    fn an_event_comes_at_its_progress_to_one_after_the_other_and_is_undone() {
        let mut timeline = timeline("at = \"50 %\"\ncrash = \"hall 1-2\"\neach = \"2 s\"\nfor = \"5 s\"");
        let mut due = |at: u64, ppm: u64| timeline.due(at * 1_000_000, ppm, &mut || None);
        assert_eq!(due(0, 0).len(), 5);
        assert_eq!(due(3, 499_999), [Step::Decide]);
        let crash = |step: &Step| matches!(step, Step::Begin(Action::Crash(_), _));
        let begun = due(4, 500_000);
        assert!(begun.iter().all(crash) && begun.len() == 1);
        let Step::Begin(_, first) = &begun[0] else { panic!() };
        assert_eq!(*first, [2]);
        let Step::Begin(_, second) = &due(6, 600_000)[0] else { panic!() };
        assert_eq!(*second, [3]);
        assert!(matches!(&due(9, 600_000)[0], Step::Undo(_, who) if *who == [2]));
        assert!(matches!(&due(11, 600_000)[0], Step::Undo(_, who) if *who == [3]));
        assert!(timeline.is_over());
    }

    #[test]
    fn an_event_that_waits_for_its_share_has_not_begun() {
        let mut timeline = timeline("at = \"50 %\"\ncrash = \"hall 1-2\"");
        timeline.due(9_000_000, 499_999, &mut || None);
        assert_eq!(timeline.not_begun().collect::<Vec<_>>(), [0]);
        timeline.due(9_000_001, 500_000, &mut || None);
        assert_eq!(timeline.not_begun().count(), 0);
    }

    #[test]
    fn a_release_is_for_all_or_for_those_that_are_named() {
        let named = SITE.replace("announced", "devices = \"hall 1-2\"\nannounced");
        for (text, told) in [(SITE, vec![1, 2, 3, 4]), (&named, vec![2, 3])] {
            assert_eq!(Timeline::new(&Scenario::parse(text, Path::new("t.toml")).unwrap(), 1).told, told);
        }
    }

    #[test]
    fn whoever_asks_central_at_that_moment_is_found_then() {
        let mut timeline = timeline("at = \"1 s\"\nstop = \"fetcher\"");
        timeline.due(0, 0, &mut || panic!("too early"));
        let Step::Begin(_, who) = timeline.due(1_000_000, 0, &mut || Some(3)).remove(0) else { panic!() };
        assert_eq!(who, [3]);
    }
}
