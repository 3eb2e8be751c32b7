//! Apps are brought to a version, and back, whatever became of their checkouts and processes.

use super::*;
use crate::host::Phase;
use fullmetal_proto::deploy;
use std::collections::BTreeMap;

type Damage = fn(&Path);

/// What a failing disk or a careless person may leave of a checkout.
const DAMAGES: [Damage; 5] = [
    |at| fs::remove_dir_all(at).unwrap(),
    |at| fs::remove_dir_all(at.parent().unwrap()).unwrap(),
    |at| fs::remove_file(at.join("config.json")).unwrap(),
    |at| fs::write(at.join("config.json"), "").unwrap(),
    |at| fs::remove_dir(at.join("rootfs")).unwrap(),
];

/// An app of release 1 that was switched to release 2.
fn switched(device: &mut Device, app: &str) -> (Installed, Installed) {
    let [old, new] = ["1", "2"].map(|v| device.version(app, v, SERVICE));
    device.apps.switch(&[to(app, None, &old)]).unwrap();
    device.apps.switch(&[to(app, Some(&old), &new)]).unwrap();
    assert!(device.runs(app, &new));
    (old, new)
}

#[test]
fn a_roll_back_makes_a_damaged_or_missing_checkout_again() {
    for damage in DAMAGES {
        let mut device = Device::new();
        let (old, new) = switched(&mut device, "web");
        damage(&device.paths.checkout(&name("web"), &old.commit));
        device.apps.revert(&[to("web", Some(&old), &new)]).unwrap();
        assert!(device.runs("web", &old));
        assert_eq!(device.current("web"), Some(old.commit));
        let left = fs::read_dir(device.paths.app_dir(&name("web"))).unwrap().flatten();
        assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with('.')), "trash is left");
    }
}

#[test]
fn an_app_that_is_only_installed_comes_back_whole_too() {
    for damage in DAMAGES.into_iter().filter(|d| *d as usize != DAMAGES[3] as usize) {
        let mut device = Device::new();
        let idle = StartOptions { autostart: false, job: false };
        let [old, new] = ["1", "2"].map(|v| device.version("tool", v, idle.clone()));
        device.apps.switch(&[to("tool", Some(&old), &new)]).unwrap();
        let checkout = device.paths.checkout(&name("tool"), &old.commit);
        damage(&checkout);
        device.apps.revert(&[to("tool", Some(&old), &new)]).unwrap();
        assert!(checkout.join("rootfs").is_dir() && checkout.join("config.json").is_file());
        assert!(device.status("tool").is_none());
    }
}

#[test]
fn what_cannot_be_brought_back_keeps_no_other_part_back_and_is_named() {
    let mut device = Device::new();
    let ((old_web, new_web), (old_db, new_db)) = (switched(&mut device, "web"), switched(&mut device, "db"));
    let checkout = device.paths.checkout(&name("web"), &old_web.commit);
    fs::remove_file(checkout.join("config.json")).unwrap();
    device.shelf.0.lock().unwrap().remove(&old_web.commit);
    let moves = [to("web", Some(&old_web), &new_web), to("db", Some(&old_db), &new_db)];
    let failed = device.apps.revert(&moves).unwrap_err();
    assert_eq!(failed.apps, [name("web")]);
    for word in ["bringing web 1 back", "no config.json", "not in the store: deploy again"] {
        assert!(failed.reason.contains(word), "{}", failed.reason);
    }
    assert!(device.runs("db", &old_db) && !device.runs("web", &new_web));
    assert!(checkout.join("rootfs").is_dir(), "what is left of it is not thrown away for nothing");

    // The next deployment of the same commit repairs it.
    device.shelf.0.lock().unwrap().insert(old_web.commit);
    device.checkouts.make(&device.shelf, &name("web"), &old_web.commit).unwrap();
    device.apps.switch(&[to("web", Some(&old_web), &old_web)]).unwrap();
    assert!(device.runs("web", &old_web));
}

#[test]
fn a_start_makes_a_damaged_checkout_again() {
    let mut device = Device::new();
    let (_, new) = switched(&mut device, "web");
    device.host.reboot();
    let checkout = device.paths.checkout(&name("web"), &new.commit);
    fs::remove_dir(checkout.join("rootfs")).unwrap();
    device.apps.adopt(&record_of("web", &new, false));
    assert!(device.runs("web", &new));
    assert!(checkout.join("again").exists(), "it was not checked out like a new one, which the reserve may refuse");
}

fn record_of(app: &str, current: &Installed, lost: bool) -> deploy::Record {
    let mut record = deploy::Record::default();
    let app_of = deploy::App { current: current.clone(), previous: None, floor: 0, lost };
    record.apps = BTreeMap::from([(name(app), app_of)]);
    record
}

#[test]
fn what_is_needed_is_started_first_whoever_starts_it() {
    let mut device = Device::new();
    let all = ["app", "db", "web"].map(|app| (name(app), device.version(app, "1", SERVICE)));
    for ((app, version), unit) in all.iter().zip(["After=web.service", "", "Requires=db.service"]) {
        let checkout = device.paths.checkout(app, &version.commit);
        fs::write(checkout.join("systemd.service"), format!("[Unit]\n{unit}\n")).unwrap();
        device.apps.switch(&[to(app.as_str(), None, version)]).unwrap();
    }
    let of = |version: &Installed| deploy::App { current: version.clone(), previous: None, floor: 0, lost: false };
    let mut record = deploy::Record::default();
    record.apps = all.iter().map(|(app, version)| (app.clone(), of(version))).collect();
    let starters: [fn(&mut Apps, &deploy::Record); 3] = [
        |apps, record| apps.adopt(record),
        |apps, _| apps.adopt_links(),
        |apps, record| drop(apps.look_after(&record.apps)),
    ];
    for start in starters {
        device.host.reboot();
        device.started.lock().unwrap().clear();
        start(&mut device.apps, &record);
        assert_eq!(*device.started.lock().unwrap(), ["db", "web", "app"].map(name));
    }
}

#[test]
fn other_start_options_for_the_same_commit_are_applied() {
    let mut device = Device::new();
    let service = device.version("web", "1", SERVICE);
    let with = |autostart, job| Installed { start: StartOptions { autostart, job }, ..service.clone() };
    let (job, idle) = (with(true, true), with(false, false));
    device.apps.switch(&[to("web", None, &service)]).unwrap();
    let first = device.status("web").unwrap().generation;
    device.apps.switch(&[to("web", Some(&service), &service)]).unwrap();
    assert_eq!(device.status("web").unwrap().generation, first, "nothing changed, nothing is touched");
    device.apps.switch(&[to("web", Some(&service), &job)]).unwrap();
    let as_job = device.status("web").unwrap();
    assert!(as_job.job && as_job.generation > first && as_job.phase == Phase::Running);
    device.apps.switch(&[to("web", Some(&job), &idle)]).unwrap();
    assert_eq!(device.status("web").unwrap().phase, Phase::Stopped);
    device.apps.revert(&[to("web", Some(&service), &idle)]).unwrap();
    assert!(device.runs("web", &service) && !device.status("web").unwrap().job);
}

#[test]
fn without_a_journal_each_app_starts_as_it_was_to_be_started() {
    let mut device = Device::new();
    let starts = [("web", true, false), ("setup", true, true), ("tool", false, false)];
    for (app, autostart, job) in starts {
        let version = device.version(app, "1", StartOptions { autostart, job });
        device.apps.switch(&[to(app, None, &version)]).unwrap();
    }
    let old = device.version("old", "1", SERVICE);
    device.apps.switch(&[to("old", None, &old)]).unwrap();
    // As an agent left it that knew of no such files.
    fs::remove_file(device.paths.app_dir(&name("old")).join(format!("{}.start", old.commit))).unwrap();
    device.host.reboot();
    device.apps.adopt_links();
    let job = |app| device.status(app).map(|s| s.job);
    assert_eq!((job("web"), job("setup"), job("tool"), job("old")), (Some(false), Some(true), None, Some(false)));
}

#[test]
fn start_options_change_with_the_link_and_go_with_the_checkout() {
    let mut device = Device::new();
    let (old, new) = switched(&mut device, "web");
    let dir = device.paths.app_dir(&name("web"));
    let file = |version: &Installed| dir.join(format!("{}.start", version.commit));
    assert!(file(&old).is_file() && file(&new).is_file());
    device.checkouts.prune(&mut device.shelf.clone(), &[new.commit]).unwrap();
    assert!(!file(&old).exists() && file(&new).is_file());
    assert!(!device.paths.checkout(&name("web"), &old.commit).exists());
    device.apps.revert(&[to("web", None, &new)]).unwrap();
    device.checkouts.prune(&mut device.shelf.clone(), &[]).unwrap();
    assert!(!dir.exists());
}

#[test]
fn an_app_whose_supervisor_was_killed_is_started_again_and_others_are_not_touched() {
    let mut device = Device::new();
    let versions = ["web", "db", "job", "new"].map(|app| {
        let version = device.version(app, "1", StartOptions { autostart: true, job: app == "job" });
        (name(app), version)
    });
    device.host.behave(
        versions[2].1.commit,
        crate::host::Behaviour {
            exit: Some(fullmetal_proto::wire::ExitStatus::Code(0)),
            ..crate::host::Behaviour::default()
        },
    );
    for (app, version) in &versions[..3] {
        device.apps.switch(&[to(app.as_str(), None, version)]).unwrap();
    }
    for stray in ["stray", "still"] {
        device.apps.switch(&[to(stray, None, &device.version(stray, "1", SERVICE))]).unwrap();
    }
    device.host.halt(&name("still"));
    let generation = |device: &Device, app: &str| device.status(app).unwrap().generation;
    let before = ["web", "db", "job"].map(|app| generation(&device, app));
    device.host.lose(&name("web"));
    let of = |version: &Installed| deploy::App { current: version.clone(), previous: None, floor: 0, lost: false };
    let record: BTreeMap<AppName, deploy::App> = versions.iter().map(|(app, v)| (app.clone(), of(v))).collect();
    for _ in 0..2 {
        assert!(device.apps.look_after(&record).is_empty());
        assert!(device.runs("web", &versions[0].1) && device.runs("new", &versions[3].1));
        let after = ["web", "db", "job"].map(|app| generation(&device, app));
        assert_eq!(after, [before[0] + 1, before[1], before[2]]);
        for stray in ["stray", "still"] {
            assert!(device.status(stray).is_none() && device.current(stray).is_none(), "{stray} is left");
        }
    }
}

#[test]
fn what_a_person_started_or_stopped_stays_so_until_its_next_deployment() {
    let mut device = Device::new();
    let idle =
        Installed { start: StartOptions { autostart: false, job: false }, ..device.version("tool", "1", SERVICE) };
    device.apps.switch(&[to("tool", None, &idle)]).unwrap();
    let mut host = device.host.clone();
    host.start(&App { name: name("tool"), commit: idle.commit, job: false }).unwrap();
    let generation = device.status("tool").unwrap().generation;
    let record = record_of("tool", &idle, false);
    device.apps.adopt(&record);
    assert!(device.apps.look_after(&record.apps).is_empty());
    let status = device.status("tool").unwrap();
    assert_eq!(
        (status.phase, status.generation),
        (Phase::Running, generation),
        "started by hand, stopped by the agent"
    );

    let (old_web, new_web) = switched(&mut device, "web");
    let mark = device.paths.stopped(&name("web"));
    fs::create_dir_all(mark.parent().unwrap()).unwrap();
    fs::write(&mark, b"").unwrap();
    host.stop(&name("web")).unwrap();
    let record = record_of("web", &new_web, false);
    device.apps.adopt(&record);
    device.apps.look_after(&record.apps);
    device.apps.revert(&[to("web", Some(&old_web), &new_web)]).unwrap();
    assert_eq!(device.status("web").unwrap().phase, Phase::Stopped, "stopped by hand, started by the agent");
    device.apps.switch(&[to("web", Some(&old_web), &new_web)]).unwrap();
    assert!(device.runs("web", &new_web) && !mark.exists());
}

#[test]
fn what_the_system_was_told_to_stop_is_not_fought_but_deployed_over() {
    let mut device = Device::new();
    let (old, new) = switched(&mut device, "web");
    device.host.halt(&name("web"));
    let record = record_of("web", &new, false);
    device.apps.adopt(&record);
    assert!(device.apps.look_after(&record.apps).is_empty());
    assert_eq!(device.status("web").unwrap().phase, Phase::Halted);
    device.apps.switch(&[to("web", Some(&new), &old)]).unwrap();
    assert!(device.runs("web", &old));
}

#[test]
fn a_lost_app_is_told_back_as_soon_as_it_can_be_brought_back() {
    let mut device = Device::new();
    let (old, _) = switched(&mut device, "web");
    let record = record_of("web", &old, true);
    fs::remove_dir_all(device.paths.checkout(&name("web"), &old.commit)).unwrap();
    device.shelf.0.lock().unwrap().remove(&old.commit);
    assert!(device.apps.look_after(&record.apps).is_empty());
    device.shelf.0.lock().unwrap().insert(old.commit);
    assert_eq!(device.apps.look_after(&record.apps), [(name("web"), old.commit)]);
    assert!(device.runs("web", &old));
}
