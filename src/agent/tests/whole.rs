//! A whole agent with its journal and spool on a disk that refuses, and with a trust file that changes.

use crate::agent::notify::tests::deployment;
use crate::agent::pace::Pace;
use crate::agent::shutdown::Shutdown;
use crate::agent::{Agent, Event, LOOK_AFTER, apps};
use crate::config::{Paths, Settings};
use crate::host::Hosts;
use crate::identity::tests::trust_of;
use crate::identity::{Usage, issue_ca, issue_member, new_key, save_certificate, save_key};
use crate::journal::{Journal, NEXT_NAME, peek};
use crate::local::Listener;
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::{Cause, Deployment, Input, Local, Outgoing, Phase, Record, State};
use fullmetal_proto::wire::local::{FromPeer, ToPeer, VERSION};
use fullmetal_proto::wire::{PublicKey, ReportState, SigningKey, Trust, seal};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub struct Bench {
    pub agent: Agent,
    events: Receiver<Event>,
    pub root_key: SigningKey,
    trust: Trust,
    pub paths: Paths,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        fs::create_dir_all(paths.identity_dir()).unwrap();
        fs::write(paths.config_file(), "[device]\nid = \"press-1\"\nfleet = \"plant-7\"\n").unwrap();
        let root_key = new_key();
        let trust = enroll(&paths, &root_key);
        let settings = Settings::load(paths.clone()).unwrap();
        let host = Hosts::of(&settings).unwrap();
        let journal = Journal::open(&paths.journal_dir()).unwrap();
        let (sender, events) = channel();
        let of = (apps(&settings, &host), host);
        let agent = Agent::new(settings, journal, of, sender).unwrap();
        Bench { agent, events, root_key, trust, paths, _dir: dir }
    }

    /// Takes events and does what is due, as the agent's loop does, until `done`.
    pub fn run_until(&mut self, what: &str, done: impl Fn(&Agent) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !done(&self.agent) {
            assert!(Instant::now() < end, "not in time: {what}");
            if let Ok(event) = self.events.recv_timeout(Duration::from_millis(20)) {
                self.agent.event(event);
            }
            if self.agent.due() <= self.agent.now().steady {
                self.agent.wakeup();
            }
        }
    }

    fn trouble(&self) -> String {
        fs::read_to_string(self.paths.agent_trouble()).unwrap()
    }
}

/// Keys, certificates and trust file of a device whose fleet has one key for everything.
fn enroll(paths: &Paths, key: &SigningKey) -> Trust {
    let (fleet, device) = ("plant-7".parse().unwrap(), "press-1".parse().unwrap());
    let ca = issue_ca(&fleet, key).unwrap();
    let now = Timestamp::from_secs(1_795_528_440);
    let own = new_key();
    let ids = (&fleet, &device);
    let certificate = issue_member((&ca, key), ids, &PublicKey::of(&own), Usage::Agent, now).unwrap();
    save_key(&paths.identity_dir().join("agent.key"), &own).unwrap();
    save_certificate(&paths.identity_dir().join("agent.crt"), &certificate).unwrap();
    let trust = trust_of(fleet.as_str(), PublicKey::of(key), now, ca);
    fs::write(paths.trust_file(), seal(&trust, &[key]).unwrap()).unwrap();
    trust
}

#[test]
fn a_disk_that_takes_no_record_or_report_ends_nothing_and_both_follow_when_it_does() {
    let mut bench = Bench::new();
    // No file can be written under the name of a directory, nor into one that is a file.
    let next = bench.paths.journal_dir().join(NEXT_NAME);
    fs::create_dir(&next).unwrap();
    bench.agent.input(Input::Start { record: None, local: Local::default() });
    bench.run_until("the prune, which waits for no record", |agent| agent.machine.state() == State::Idle);
    assert!(peek(&bench.paths.journal_dir()).unwrap().is_none(), "the fault does not bite");
    let told = bench.trouble();
    assert!(told.contains("record.new") && told.contains("disk is full") && told.contains("tried again"), "{told}");
    let waits = bench.agent.keeping.record_again.at().unwrap();
    assert!(waits <= bench.agent.now().steady.after(Duration::from_secs(60)));

    let reports = bench.paths.reports_dir();
    fs::remove_dir(&reports).unwrap();
    fs::write(&reports, "").unwrap();
    fs::remove_dir(&next).unwrap();
    bench.run_until("the record", |agent| agent.keeping.record_again.at().is_none());
    assert_eq!(peek(&bench.paths.journal_dir()).unwrap().unwrap().outbox.len(), 1);
    let told = bench.trouble();
    assert!(!told.contains("record.new") && told.contains("kept in memory"), "{told}");

    fs::remove_file(&reports).unwrap();
    fs::create_dir(&reports).unwrap();
    bench.run_until("the report", |agent| agent.machine.record().outbox.is_empty());
    assert_eq!(fs::read_dir(&reports).unwrap().count(), 1);
    assert!(!bench.trouble().contains("report"), "{}", bench.trouble());
}

#[test]
fn a_newer_trust_file_is_taken_up_while_the_agent_runs() {
    let mut bench = Bench::new();
    bench.agent.input(Input::Start { record: None, local: Local::default() });
    let second = Trust { version: 2, epoch: 2, ..bench.trust.clone() };
    let stranger = new_key();
    for (key, version) in [(&stranger, 1), (&bench.root_key.clone(), 2)] {
        let new = bench.paths.root().join("new");
        fs::write(&new, seal(&second, &[key]).unwrap()).unwrap();
        fs::rename(&new, bench.paths.trust_file()).unwrap();
        bench.agent.refresh_trust();
        assert_eq!(bench.agent.trust.trust.version, version);
    }
}

fn ended(counter: u64) -> Outgoing {
    Outgoing {
        counter,
        action: 7,
        bundle: None,
        state: ReportState::Failed,
        cause: Cause::default(),
        bytes_from_peers: 0,
        bytes_from_central: 0,
        bytes_total: 0,
        elapsed_ms: 0,
        at: Timestamp::ZERO,
    }
}

#[test]
fn an_end_is_sent_again_to_the_same_peer_until_its_receipt() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.paths.peer_run_dir()).unwrap();
    let listener = Listener::bind(&bench.paths.peer_socket()).unwrap();
    let (sender, reports) = channel();
    std::thread::spawn(move || {
        let connection = listener.accept().unwrap();
        connection.send(&FromPeer::Hello { version: VERSION, device: "press-1".parse().unwrap() }, None).unwrap();
        while let Ok(Some(packet)) = connection.receive::<ToPeer>() {
            if let ToPeer::Report(bytes) = packet.message {
                sender.send(bytes).unwrap();
            }
        }
    });
    let next = |reports: &Receiver<_>| reports.recv_timeout(Duration::from_secs(20)).unwrap();
    bench.agent.input(Input::Start { record: None, local: Local::default() });
    let inventory = std::cell::RefCell::new(None);
    bench.run_until("the inventory", |_| {
        let mut told = inventory.borrow_mut();
        *told = told.take().or_else(|| reports.try_recv().ok());
        told.is_some()
    });
    let inventory = inventory.into_inner().unwrap();
    bench.agent.report(Box::new(ended(1_000)), Vec::new());
    // What is spooled while a connection comes up may be told twice.
    let first = std::iter::repeat_with(|| next(&reports)).find(|report| *report != inventory).unwrap();
    let wait = bench.agent.keeping.resend.at().unwrap().since(bench.agent.now().steady);
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    for _ in 0..2 {
        bench.agent.keeping.resend = Pace::new(Duration::ZERO, Duration::ZERO);
        bench.agent.keeping.resend.start(bench.agent.now().steady);
        bench.agent.wakeup();
        let again = [next(&reports), next(&reports)];
        assert!(again.contains(&inventory) && again.contains(&first), "{:?}", again.map(|r| r == first));
        assert!(bench.agent.keeping.resend.at().is_some(), "and again");
    }
    bench.agent.spool.received(u64::MAX);
    bench.agent.wakeup();
    assert!(bench.agent.keeping.resend.at().is_none() && reports.try_recv().is_err());
}

#[test]
fn apps_are_looked_after_at_a_steady_pace() {
    let mut bench = Bench::new();
    bench.agent.input(Input::Start { record: None, local: Local::default() });
    bench.run_until("rest", |agent| agent.machine.state() == State::Idle);
    let first = bench.agent.look_after_at;
    assert!(bench.agent.due() <= first && first <= Timestamp::ZERO.after(LOOK_AFTER));
    bench.agent.look_after_at = bench.agent.now().steady;
    bench.agent.wakeup();
    let next = bench.agent.look_after_at.since(bench.agent.now().steady);
    assert!(next <= LOOK_AFTER && next + Duration::from_secs(1) >= LOOK_AFTER, "{next:?}");
}

#[test]
fn the_notify_socket_is_open_from_the_switch_to_the_end_of_the_deployment() {
    let mut bench = Bench::new();
    let socket = bench.paths.notify_socket(&"hello".parse().unwrap());
    let mut record = Record::default();
    record.deployment = Some(Deployment { phase: Phase::Switching { restarts: 0 }, ..deployment(7, true) });
    bench.agent.input(Input::Start { record: Some(Box::new(record)), local: Local::default() });
    bench.run_until("the switch", |agent| agent.notify.is_some());
    assert!(socket.exists() && bench.agent.machine.state() == State::Switching);
    // There is no commit to switch to.
    bench.run_until("the roll back", |agent| agent.machine.state() == State::Idle);
    assert!(bench.agent.notify.is_none() && !socket.exists());
}

#[test]
fn what_fails_while_the_device_goes_down_counts_when_it_stays_up_after_all() {
    let mut bench = Bench::new();
    let goes_down = Arc::new(AtomicBool::new(true));
    let (asked, events) = (goes_down.clone(), bench.agent.events.clone());
    bench.agent.shutdown = Shutdown::new(Arc::new(move || Some(asked.load(Ordering::Relaxed))), events);
    let mut record = Record::default();
    record.deployment = Some(Deployment { phase: Phase::Switching { restarts: 0 }, ..deployment(7, true) });
    bench.agent.input(Input::Start { record: Some(Box::new(record)), local: Local::default() });
    // There is no commit to switch to.
    bench.run_until("the failure", |agent| agent.shutdown.holds());
    let wish = Input::Announced { rank: (1, 9), expires: Timestamp::MAX, row: None };
    bench.agent.input(wish);
    bench.agent.wakeup();
    assert!(bench.agent.machine.state() == State::Switching && bench.agent.due() > bench.agent.now().steady);
    goes_down.store(false, Ordering::Relaxed);
    bench.run_until("the roll back", |agent| agent.machine.state() == State::Idle);
    assert_eq!(bench.agent.machine.record().rank, Some((1, 9)), "what came meanwhile is not lost either");
}
