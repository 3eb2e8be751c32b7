//! A device around the machine: a journal, a spool, a store and apps, all of which survive its crashes.

pub use super::os_world::OsWorld;
use super::os_world::effect_name;
pub use super::script::{Behaviour, Luck, Script, candidate, name};
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::bundle::PartKind;
use crate::wire::report::ReportState;
use crate::{AppName, Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub struct World {
    pub machine: Deploy,
    pub now: Now,
    pub local: Local,
    pub disk: Option<Vec<u8>>,
    /// Records on their way to the disk, which is slower than everything else.
    pub writing: VecDeque<(u64, Box<Record>)>,
    pub spool: BTreeMap<u64, Outgoing>,
    /// While there is one, reports wait here instead of reaching the spool.
    pub stuck: Option<Vec<Outgoing>>,
    /// The disk takes neither records nor reports until something is removed from it.
    pub full: bool,
    /// How often it filled up.
    pub filled: u32,
    /// The machine was told so.
    told: bool,
    unspooled: VecDeque<Outgoing>,
    pub imported: BTreeSet<Digest>,
    pub current: BTreeMap<AppName, Digest>,
    pub scripts: BTreeMap<Digest, Script>,
    pub effects: VecDeque<Effect>,
    pub inbox: VecDeque<Input>,
    pub newest: Option<Input>,
    /// Every effect by name, in order.
    pub trace: Vec<&'static str>,
    pub ignored: Vec<Ignored>,
    /// Actions that a durable record ever named.
    pub noted: BTreeSet<u64>,
    pub crashes: u32,
    /// Where OSTree deployed it.
    pub os: Option<OsWorld>,
    failed_once: BTreeSet<(Digest, &'static str)>,
}

pub const POLICY: Policy = Policy { probation: Duration::from_secs(30) };

impl World {
    pub fn new() -> Self {
        let start = Timestamp::from_secs(1_795_528_440);
        let mut world = World {
            machine: Deploy::new(POLICY),
            now: Now { steady: Timestamp::ZERO, trusted: start },
            local: Local::default(),
            disk: None,
            writing: VecDeque::new(),
            spool: BTreeMap::new(),
            stuck: None,
            full: false,
            filled: 0,
            told: false,
            unspooled: VecDeque::new(),
            imported: BTreeSet::new(),
            current: BTreeMap::new(),
            scripts: BTreeMap::new(),
            effects: VecDeque::new(),
            inbox: VecDeque::new(),
            newest: None,
            trace: Vec::new(),
            ignored: Vec::new(),
            noted: BTreeSet::new(),
            crashes: 0,
            os: None,
            failed_once: BTreeSet::new(),
        };
        world.boot();
        world
    }

    /// Loses everything that is not durable and starts again; the peer then tells the newest announcement.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.machine = Deploy::new(POLICY);
        self.now.steady = Timestamp::ZERO;
        self.effects.clear();
        self.inbox.clear();
        self.writing.clear();
        self.unspooled.clear();
        self.told = false;
        self.boot();
        self.inbox.extend(self.newest.clone());
    }

    fn boot(&mut self) {
        let record = self.disk.as_deref().map(|bytes| Box::new(Record::decode(bytes).unwrap()));
        self.give(Input::Start { record, local: self.local });
    }

    pub fn give(&mut self, input: Input) {
        self.machine.handle(input, self.now).unwrap();
        while let Some(effect) = self.machine.poll() {
            self.effects.push_back(effect);
        }
    }

    pub fn announce(&mut self, rank: (u64, u64), row: Option<Row>) {
        self.announce_until(rank, row, Timestamp::MAX);
    }

    pub fn announce_until(&mut self, rank: (u64, u64), row: Option<Row>, expires: Timestamp) {
        let input = Input::Announced { rank, expires, row };
        let newer = |old: &Input| matches!(old, Input::Announced { rank: r, .. } if *r < rank);
        if self.newest.as_ref().is_none_or(newer) {
            self.newest = Some(input.clone());
        }
        self.give(input);
    }

    /// Makes `script` known under its hash; the row that wishes it.
    pub fn row(&mut self, action: u64, script: &Script, mode: Mode) -> Row {
        let bundle = script.digest();
        self.scripts.insert(bundle, script.clone());
        Row { action, bundle, mode, valid_until: None }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now.steady = self.now.steady.after(time);
        self.now.trusted = self.now.trusted.after(time);
        self.give(Input::Wakeup);
        if self.machine.state() == State::Proving {
            self.check_health();
        }
    }

    /// A health check of every healthy app begins now and ends at once.
    fn check_health(&mut self) {
        let script = &self.scripts[&self.bundle()];
        let event = AppEvent::Healthy { began: self.now.steady };
        let healthy = script.parts.iter().zip(&script.behaviours).filter(|(_, b)| **b == Behaviour::Healthy);
        self.inbox.extend(healthy.map(|(part, _)| told(part, event.clone())));
    }

    pub fn set_local(&mut self, local: Local) {
        self.local = local;
        self.give(Input::Local(local));
    }

    /// One small step: one answer handed in, or one effect (or a part of it) done. False when there is nothing.
    pub fn step(&mut self) -> bool {
        if let Some(input) = self.inbox.pop_front() {
            self.give(input);
            return true;
        }
        if let Some(effect) = self.effects.pop_front() {
            self.act(effect);
            return true;
        }
        if self.full {
            let told = std::mem::replace(&mut self.told, true);
            let something_waits = !self.writing.is_empty() || !self.unspooled.is_empty();
            let tell = !told && something_waits;
            self.told = told || tell;
            self.inbox.extend(tell.then_some(Input::Unwritten));
            return tell;
        }
        self.told = false;
        if let Some(report) = self.unspooled.pop_front() {
            self.spool(report);
            return true;
        }
        let written = self.writing.pop_front();
        if let Some((seq, record)) = &written {
            self.persist(*seq, record);
        }
        written.is_some()
    }

    /// Whether a record has not reached the disk.
    pub fn is_writing(&self) -> bool {
        !self.writing.is_empty() || self.effects.iter().any(|e| matches!(e, Effect::Persist { .. }))
    }

    /// Steps until nothing happens, without letting time pass.
    pub fn run(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 10_000, "no end: {:?}", &self.trace[self.trace.len() - 20..]);
        }
    }

    /// Steps and lets time pass until the machine waits for nothing but new wishes.
    pub fn settle(&mut self) {
        self.run();
        for _ in 0..100 {
            let Some(at) = self.machine.next_wakeup() else { return };
            self.pass(at.since(self.now.steady));
            self.run();
        }
        panic!("still waits in {}", self.machine.state());
    }

    /// Terminal reports in the spool: action and state.
    pub fn ends(&self) -> Vec<(u64, ReportState)> {
        let ends = self.spool.values().filter(|o| o.state.is_terminal());
        ends.map(|o| (o.action, o.state)).collect()
    }

    /// All reports of an action in the spool.
    pub fn states(&self, action: u64) -> Vec<ReportState> {
        self.spool.values().filter(|o| o.action == action).map(|o| o.state).collect()
    }

    pub fn durable(&self) -> Record {
        Record::decode(self.disk.as_ref().expect("nothing durable yet")).unwrap()
    }

    fn act(&mut self, effect: Effect) {
        self.check(&effect);
        let name = effect_name(&effect);
        if !(matches!(name, "switch" | "revert") && self.trace.last() == Some(&name)) {
            self.trace.push(name);
        }
        match effect {
            Effect::Persist { seq, record } => self.writing.push_back((seq, record)),
            Effect::Judge { ticket, bundle, .. } => {
                let Script { parts, removed, .. } = self.scripts[&bundle].clone();
                let os = self.os.as_ref().map(OsWorld::view);
                self.answer(ticket, bundle, "judge", |s| s.judge, Input::Judged { ticket, parts, removed, os });
            }
            Effect::CheckSpace { ticket, bundle, .. } => {
                self.answer(ticket, bundle, "space", |s| s.space, Input::Fits { ticket, bytes: 40 });
            }
            Effect::Fetch { ticket, bundle, moves, .. } => {
                self.imported.extend(moves.iter().filter_map(new));
                self.inbox.push_back(Input::FetchProgress { ticket, bytes_from_peers: 7, bytes_from_central: 5 });
                self.answer(ticket, bundle, "fetch", |s| s.fetch, Input::Imported { ticket });
            }
            Effect::Checkout { ticket, os, .. } => {
                let (bundle, os) = (self.bundle(), os.and_then(|commit| Some(self.os.as_mut()?.stage(commit))));
                let jobs = self.scripts[&bundle].jobs();
                self.answer(ticket, bundle, "checkout", |s| s.checkout, Input::CheckedOut { ticket, jobs, os });
            }
            Effect::Switch { ticket, moves } => self.switch(ticket, moves),
            Effect::Revert { ticket, moves } => self.revert(ticket, moves),
            Effect::Report { report, .. } => self.spool(*report),
            Effect::Prune { ticket, commits, os, .. } => {
                self.os.iter_mut().zip(os).for_each(|(world, keep)| world.keep(&keep));
                let before = self.imported.len();
                self.imported.retain(|c| commits.contains(c));
                self.full &= self.imported.len() == before;
                self.inbox.push_back(Input::Pruned { ticket });
            }
            Effect::Cancel { .. } => {}
            Effect::Os { ticket, step } => self.os_step(ticket, step),
            Effect::Reboot { .. } => self.cut_power(),
            Effect::Ignored { why, .. } => self.ignored.push(why),
        }
    }

    /// What must hold before an effect is done.
    fn check(&self, effect: &Effect) {
        let phase = || self.durable().deployment.map(|d| d.phase);
        match effect {
            Effect::Switch { .. } => {
                assert!(matches!(phase(), Some(Phase::Switching { .. } | Phase::Proving { .. })), "{:?}", phase());
            }
            Effect::Revert { .. } => assert!(matches!(phase(), Some(Phase::RollingBack { .. }))),
            Effect::Judge { .. } | Effect::Fetch { .. } | Effect::Checkout { .. } => {
                assert!(self.durable().deployment.is_some() || self.machine.record().deployment.is_none());
            }
            Effect::Prune { commits, .. } => {
                let durable = self.disk.as_ref().map(|_| self.durable().apps).unwrap_or_default();
                let kept = |app: &App| app.lost || commits.contains(&app.current.commit);
                assert!(durable.values().all(kept), "the record on the disk may need what is pruned");
            }
            Effect::Report { report, .. } => {
                assert!(self.durable().next_counter > report.counter);
                let kept = self.durable().outbox.contains(report);
                assert!(kept || self.spool.contains_key(&report.counter), "lost by a crash: {report:?}");
            }
            _ => {}
        }
    }

    fn bundle(&self) -> Digest {
        self.durable().deployment.map(|d| d.wish.bundle).unwrap_or_default()
    }

    fn persist(&mut self, seq: u64, record: &Record) {
        let noted = record.deployment.iter().map(|d| d.wish.action).chain(record.next.iter().map(|w| w.action));
        self.noted.extend(noted.chain(record.ended.iter().map(|e| e.action)));
        self.disk = Some(record.encode().unwrap());
        self.inbox.push_back(Input::Persisted { seq });
    }

    fn answer(&mut self, ticket: Ticket, bundle: Digest, work: &'static str, luck: fn(&Script) -> Luck, good: Input) {
        let input = match self.scripts.get(&bundle).map_or(Luck::Good, luck) {
            Luck::Full => {
                (self.full, self.filled) = (true, self.filled + 1);
                Input::Failed { ticket, retry: false, reason: "no space left on device".into() }
            }
            Luck::Bad => Input::Failed { ticket, retry: false, reason: format!("{work} failed") },
            Luck::Once if self.failed_once.insert((bundle, work)) => {
                Input::Failed { ticket, retry: true, reason: format!("{work} not yet") }
            }
            _ => good,
        };
        self.inbox.push_back(input);
    }

    /// One part at a time, so that a crash may come between.
    fn switch(&mut self, ticket: Ticket, moves: Vec<Move>) {
        let bundle = self.bundle();
        let open = moves.iter().find(|m| self.current.get(&m.name).copied() != new(m)).cloned();
        if let Some(m) = open {
            match new(&m) {
                Some(commit) => {
                    assert!(self.imported.contains(&commit), "switched to what is not there");
                    self.current.insert(m.name, commit)
                }
                None => self.current.remove(&m.name),
            };
            let luck = self.scripts[&bundle].switch;
            if luck == Luck::Good || luck == Luck::Once && self.failed_once.contains(&(bundle, "switch")) {
                return self.effects.push_front(Effect::Switch { ticket, moves });
            }
        }
        self.answer(ticket, bundle, "switch", |s| s.switch, Input::Switched { ticket });
        let script = &self.scripts[&bundle];
        for (part, behaviour) in script.parts.iter().zip(&script.behaviours) {
            self.inbox.extend(behaviour.events().into_iter().map(|event| told(part, event)));
        }
    }

    fn revert(&mut self, ticket: Ticket, moves: Vec<Move>) {
        let bundle = self.bundle();
        let commit = |m: &Move| m.old.as_ref().map(|o| o.commit);
        let open = moves.iter().find(|m| self.current.get(&m.name).copied() != commit(m)).cloned();
        let Some(m) = open else {
            return self.reverted(ticket, bundle, moves);
        };
        match commit(&m) {
            Some(old) => {
                assert!(self.imported.contains(&old), "back to what is not there");
                self.current.insert(m.name, old)
            }
            None => self.current.remove(&m.name),
        };
        self.effects.push_front(Effect::Revert { ticket, moves });
    }

    /// When it is bad, one of the parts cannot be brought back; nor while there is no space for it.
    fn reverted(&mut self, ticket: Ticket, bundle: Digest, moves: Vec<Move>) {
        let luck = self.scripts.get(&bundle).map_or(Luck::Good, |s| s.revert);
        let first = luck != Luck::Good && self.failed_once.insert((bundle, "revert"));
        if luck == Luck::Full && first {
            (self.full, self.filled) = (true, self.filled + 1);
        }
        let gone = luck == Luck::Bad || luck == Luck::Full && self.full;
        if !gone && !first {
            return self.inbox.push_back(Input::Reverted { ticket });
        }
        let apps: Vec<AppName> = moves.iter().take(1).map(|m| m.name.clone()).collect();
        if gone {
            self.current.retain(|name, _| !apps.contains(name));
        }
        let reason = "revert not yet".to_owned();
        self.inbox.push_back(Input::NotReverted { ticket, apps, reason });
    }

    pub fn spool(&mut self, report: Outgoing) {
        if self.full {
            return self.unspooled.push_back(report);
        }
        if let Some(stuck) = &mut self.stuck {
            return stuck.push(report);
        }
        let counter = report.counter;
        let kept = self.spool.entry(counter).or_insert_with(|| report.clone());
        assert_eq!(*kept, report, "one counter, two contents");
        self.inbox.push_back(Input::Spooled { counter });
    }
}

fn told(part: &Candidate, event: AppEvent) -> Input {
    match part.kind {
        PartKind::Os => Input::Os(event),
        PartKind::App => Input::App { name: part.name.clone(), commit: part.commit, event },
    }
}

fn new(m: &Move) -> Option<Digest> {
    m.new.as_ref().map(|new| new.commit)
}
