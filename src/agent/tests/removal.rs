//! Apps leave the device, and come back when the deployment that removed them fails.

use super::whole::Bench;
use super::*;
use crate::agent::{State, ended_reports};
use fullmetal_proto::Timestamp;
use fullmetal_proto::deploy::{self, Deployment, Input, Local, Phase, Record};
use fullmetal_proto::wire::{Announcement, Bundle, Envelope, Hint, Mode, ReportState, Row, seal};
use serde_bytes::ByteBuf;

/// A device that runs `web` and `db`, whose data it has.
fn device() -> (Device, Installed, Installed) {
    let mut device = Device::new();
    let [web, db] = ["web", "db"].map(|app| device.version(app, "1", SERVICE));
    device.apps.switch(&[to("web", None, &web), to("db", None, &db)]).unwrap();
    fs::create_dir_all(device.paths.data_dir(&name("db"))).unwrap();
    (device, web, db)
}

fn is_gone(device: &Device, app: &str) {
    assert!(device.status(app).is_none() && device.current(app).is_none(), "{app} is left");
}

fn stop_by_hand(device: &Device, app: &str) {
    let mark = device.paths.stopped(&name(app));
    fs::create_dir_all(mark.parent().unwrap()).unwrap();
    fs::write(&mark, b"").unwrap();
    device.host.clone().stop(&name(app)).unwrap();
}

#[test]
fn what_leaves_is_gone_but_for_its_data_and_what_brings_it_back_until_that_is_pruned() {
    let (mut device, web, db) = device();
    let new = device.version("web", "2", SERVICE);
    let moves = [to("web", Some(&web), &new), gone("db", &db)];
    for _ in 0..2 {
        device.apps.switch(&moves).unwrap();
        is_gone(&device, "db");
        assert!(device.runs("web", &new) && device.paths.checkout(&name("db"), &db.commit).is_dir());
    }
    stop_by_hand(&device, "db");
    device.checkouts.prune(&mut device.shelf.clone(), &[new.commit]).unwrap();
    assert!(!device.paths.app_dir(&name("db")).exists() && !device.paths.stopped(&name("db")).exists());
    assert!(device.paths.data_dir(&name("db")).is_dir(), "data stays");
}

#[test]
fn a_roll_back_brings_back_what_left_as_it_was() {
    let (mut device, web, db) = device();
    let tool = device.version("tool", "1", StartOptions { autostart: false, job: false });
    device.apps.switch(&[to("tool", None, &tool)]).unwrap();
    stop_by_hand(&device, "web");
    let moves = [gone("web", &web), gone("db", &db), gone("tool", &tool)];
    device.apps.switch(&moves).unwrap();
    ["web", "db", "tool"].iter().for_each(|app| is_gone(&device, app));
    device.apps.revert(&moves).unwrap();
    assert!(device.runs("db", &db));
    assert_eq!((device.current("web"), device.current("tool")), (Some(web.commit), Some(tool.commit)));
    assert!(device.status("web").is_none() && device.status("tool").is_none(), "what was not started is not");
}

/// Power cuts between any two steps of a removal, at a switch that goes on and at one that is rolled back.
#[test]
fn a_removal_that_was_cut_goes_on_or_back_from_wherever_it_was() {
    type Cut = fn(&mut Device);
    let cuts: [Cut; 4] = [
        |_| {},
        |device| device.host.clone().stop(&name("db")).unwrap(),
        |device| device.host.clone().remove(&name("db")).unwrap(),
        |device| {
            device.host.clone().remove(&name("db")).unwrap();
            fs::remove_file(device.paths.current(&name("db"))).unwrap();
        },
    ];
    for (cut, reboots, goes_on) in cuts.into_iter().flat_map(|cut| [0, 1, 2, 3].map(|n| (cut, n & 1 > 0, n & 2 > 0))) {
        let (mut device, web, db) = device();
        let mut record = Record::default();
        let of = |version: &Installed| deploy::App { current: version.clone(), previous: None, floor: 0, lost: false };
        record.apps = [(name("web"), of(&web)), (name("db"), of(&db))].into();
        let deployment = crate::agent::notify::tests::deployment(7, false);
        let phase = Phase::Switching { restarts: 0 };
        record.deployment = Some(Deployment { phase, parts: vec![], removed: vec![name("db")], ..deployment });
        cut(&mut device);
        if reboots {
            device.host.reboot();
        }
        device.apps.adopt(&record);
        assert!(device.runs("web", &web));
        let moves = record.moves();
        if goes_on {
            device.apps.switch(&moves).unwrap();
            is_gone(&device, "db");
            assert!(device.runs("web", &web));
        } else {
            device.apps.revert(&moves).unwrap();
            assert!(device.runs("db", &db) && device.current("db") == Some(db.commit));
        }
    }
}

/// The agent is told of this one bundle, without a peer.
fn announced(bench: &mut Bench, bundle: Vec<u8>) {
    let announcement = Announcement {
        fleet: "plant-7".parse().unwrap(),
        epoch: 1,
        counter: 1,
        issued: Timestamp::from_secs(1_795_528_440),
        expires: Timestamp::MAX,
        bundles: vec![ByteBuf::from(bundle)],
        rows: vec![Row("press-1".parse().unwrap(), 0, 9, Mode::Now, None)],
    };
    let bytes = seal(&announcement, &[&bench.root_key]).unwrap();
    let hint = Hint { epoch: 1, counter: 1, digest: Digest::of(&bytes), length: bytes.len() as u32 };
    bench.agent.announced(hint, bytes);
    bench.run_until("the end of the action", |agent| {
        agent.machine.state() == State::Idle && agent.machine.record().ended.iter().any(|e| e.action == 9)
    });
}

#[test]
fn a_bundle_that_only_removes_needs_no_peer() {
    let mut bench = Bench::new();
    let [commit, manifest] = [b"c", b"m"].map(|b| Digest::of(b));
    let current = Installed { commit, version: "1".into(), manifest, start: SERVICE, unsigned: false };
    let mut record = Record::default();
    record.apps = [(name("old"), deploy::App { current, previous: None, floor: 3, lost: true })].into();
    bench.agent.input(Input::Start { record: Some(Box::new(record)), local: Local::default() });
    bench.run_until("rest", |agent| agent.machine.state() == State::Idle);
    let bundle = Bundle { parts: vec![], removed: vec![name("old"), name("never")] };
    announced(&mut bench, seal(&bundle, &[]).unwrap());
    let record = bench.agent.machine.record();
    assert_eq!((record.ended[0].state, record.apps.len()), (ReportState::Succeeded, 0));
    let past = crate::agent::history::read(&bench.paths.history_file());
    assert_eq!(past[0].brought, ["old removed", "never removed"]);
}

#[test]
fn a_bundle_of_a_format_that_is_not_known_fails_its_action_with_the_reason() {
    let mut bench = Bench::new();
    bench.agent.input(Input::Start { record: None, local: Local::default() });
    bench.run_until("rest", |agent| agent.machine.state() == State::Idle);
    let newer = Envelope { kind: fullmetal_proto::wire::Kind::Bundle, major: 3, body: vec![0xa0], signatures: vec![] };
    announced(&mut bench, newer.encode());
    let reports = ended_reports(&bench.paths.reports_dir());
    assert_eq!((reports[0].action, reports[0].state), (9, ReportState::Failed));
    assert!(reports[0].reason.contains("too old for bundle format 3"), "{}", reports[0].reason);
    assert_eq!(reports[0].bundle_major, 2);
}
