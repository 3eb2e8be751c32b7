//! What the tests of the systemd host do on the device; each is run by its outer half, never by itself.

use super::conformance::{self, Fixture, wait_until};
use super::site::{check_out, kill};
use super::{App, AppHost, Digest, HostError, Phase, Started};
use fullmetal::config::Paths;
use fullmetal::current;
use fullmetal::host::{SystemdHost, SystemdOptions};
use fullmetal::journal::{self, Journal};
use fullmetal_proto::deploy::{self, Installed, Record};
use fullmetal_proto::wire::StartOptions;
use fullmetal_proto::wire::report::ExitStatus;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[path = "jobs.rs"]
mod jobs;
#[path = "limits.rs"]
mod limits;

/// Ends when it is told to.
const POLITE: &str = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";

fn host() -> SystemdHost {
    let mut options = SystemdOptions::new(Path::new("/"), &"press-1".parse().unwrap());
    options.grace = Duration::from_millis(1500);
    SystemdHost::new(options)
}

fn app(name: &str, script: &str) -> App {
    check_out(Path::new("/"), name, script, |_, _| {})
}

#[test]
#[ignore = "runs on a device"]
fn conformance() {
    let stays =
        check_out(Path::new("/"), "web", "exec sleep 1000", |rootfs, _| fs::write(rootfs.join("well"), "").unwrap());
    conformance::an_app_host(Fixture {
        host: Box::new(host()),
        stays,
        sick: app("web", "exec sleep 999"),
        job: App { job: true, ..app("job", "echo work done") },
        failing: app("bad", "echo no disk >&2; exit 3"),
        healthy: ["test", "-e", "/well"].map(str::to_owned).to_vec(),
    });
}

/// Runs a command and gives what it printed.
fn said(argv: &[&str]) -> String {
    let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn property(name: &str, key: &str) -> String {
    said(&["systemctl", "show", "--value", "-p", key, &format!("{name}.service")])
}

fn with_unit(app: &App, text: &str) {
    let checkout = Paths::new("/").checkout(&app.name, &app.commit);
    fs::write(checkout.join("systemd.service"), text).unwrap();
}

fn main_pid(name: &str) -> i32 {
    fs::read_to_string(format!("/run/fullmetal/apps/{name}/container.pid")).unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "runs on a device"]
fn a_name_of_the_system_is_refused() {
    let dbus = app("dbus", POLITE);
    let error = host().prepare(&dbus).unwrap_err();
    assert!(matches!(error, HostError::Taken { .. }), "{error:?}");
    assert!(error.to_string().contains("systemd/system/dbus.service is a unit of this device"), "{error}");
    assert!(host().start(&dbus).is_err());
    assert_eq!(property("dbus", "ActiveState"), "active");
    // Of no file that could be found, but known to systemd.
    said(&["systemd-run", "--unit=passing", "sleep", "1000"]);
    assert!(matches!(host().prepare(&app("passing", POLITE)), Err(HostError::Taken { .. })));
}

#[test]
#[ignore = "runs on a device"]
fn an_end_is_told_by_a_signal() {
    let (mut host, app) = (host(), app("web", POLITE));
    host.start(&app).unwrap();
    wait_until(&host, &app.name, |s| s.phase == Phase::Running);
    let limit = Duration::from_secs(15);
    host.wait_for_change(&app.name, limit);
    let old = main_pid("web");
    let began = Instant::now();
    kill(old, "KILL");
    let status = loop {
        host.wait_for_change(&app.name, limit);
        let status = host.status(&app.name).unwrap().unwrap();
        if status.phase == Phase::Exited {
            break status;
        }
        assert!(began.elapsed() < limit, "{status:?}");
    };
    assert!(began.elapsed() < Duration::from_secs(2), "seen before it is started again");
    assert_eq!((status.last_exit, status.restarts), (Some(ExitStatus::Signal(9)), 0));
    wait_until(&host, &app.name, |s| s.restarts == 1 && s.phase == Phase::Running && s.log == ["up", "up"]);
    assert_ne!(main_pid("web"), old);
    host.stop(&app.name).unwrap();
    assert_eq!(host.status(&app.name).unwrap().unwrap().last_exit, Some(ExitStatus::Code(0)));
}

#[test]
#[ignore = "runs on a device"]
fn who_stops_an_app_by_hand_is_not_fought() {
    let (mut host, app) = (host(), app("halted", POLITE));
    host.start(&app).unwrap();
    said(&["systemctl", "stop", "halted"]);
    assert_eq!(host.status(&app.name).unwrap().unwrap().phase, Phase::Halted);
    assert!(!host.list().unwrap().contains(&app.name));
    // A deployment is another matter.
    assert_eq!(host.start(&app).unwrap(), Started::New);
    wait_until(&host, &app.name, |s| s.phase == Phase::Running);
    host.stop(&app.name).unwrap();
    // And so is who was killed before systemd was asked to start it.
    let file = "/run/fullmetal/apps/halted/state.json";
    let state = fs::read_to_string(file).unwrap();
    fs::write(file, state.replace("\"stopped\"", "\"starting\"")).unwrap();
    assert_eq!(host.status(&app.name).unwrap().unwrap().phase, Phase::Lost, "it is to be started again");
    host.start(&app).unwrap();
    said(&["systemctl", "stop", "halted"]);
    assert_eq!(host.status(&app.name).unwrap().unwrap().phase, Phase::Halted);
}

/// An app that has `systemd-notify` and is to say when it is ready.
fn notifying(name: &str, script: &str) -> App {
    let app = check_out(Path::new("/"), name, script, |rootfs, _| {
        let libraries = said(&["ldd", "/usr/bin/systemd-notify"]);
        let files =
            libraries.split_whitespace().filter(|word| word.starts_with('/')).chain(["/usr/bin/systemd-notify"]);
        for file in files {
            let to = rootfs.join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, to).unwrap();
        }
    });
    with_unit(&app, "[Service]\nType=notify\nTimeoutStartSec=20\n");
    app
}

#[test]
#[ignore = "runs on a device"]
fn ready_is_waited_for() {
    let mut host = host();
    let never = app("never", "exec sleep 1000");
    with_unit(&never, "[Service]\nType=notify\nTimeoutStartSec=1\n");
    let began = Instant::now();
    let error = host.start(&never).unwrap_err().to_string();
    assert!(error.contains("never did not start") && error.contains("timeout"), "{error}");
    assert!(began.elapsed() > Duration::from_secs(1) && began.elapsed() < Duration::from_secs(8));
    host.remove(&never.name).unwrap();

    let ready = notifying("ready", "sleep 1; /usr/bin/systemd-notify --ready; exec sleep 1000");
    let began = Instant::now();
    let started = host.start(&ready);
    assert!(started.is_ok(), "{started:?}: {}", said(&["journalctl", "-u", "ready", "--no-pager"]));
    assert!(began.elapsed() > Duration::from_secs(1), "READY comes after a second");
    host.stop(&ready.name).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn an_app_that_will_not_end_is_killed_after_its_grace() {
    let (mut host, stubborn) = (host(), app("stubborn", "trap : TERM; echo up; while :; do sleep 1000 & wait; done"));
    let deaf = app("deaf", "exec sleep 1000");
    for app in [&stubborn, &deaf] {
        host.start(app).unwrap();
    }
    wait_until(&host, &stubborn.name, |s| s.log == ["up"]);
    wait_until(&host, &deaf.name, |s| s.phase == Phase::Running);
    let began = Instant::now();
    host.stop(&stubborn.name).unwrap();
    assert!(began.elapsed() > Duration::from_millis(1400) && began.elapsed() < Duration::from_secs(5));
    assert_eq!(host.status(&stubborn.name).unwrap().unwrap().last_exit, Some(ExitStatus::Signal(9)));
    let began = Instant::now();
    host.stop(&deaf.name).unwrap();
    assert!(began.elapsed() < Duration::from_millis(1400), "what hears no SIGTERM is not waited for");
    assert_eq!(host.status(&deaf.name).unwrap().unwrap().last_exit, Some(ExitStatus::Signal(9)));
}

#[test]
#[ignore = "runs on a device"]
fn dependencies_are_kept() {
    let (mut host, db, web) = (host(), app("db", POLITE), app("web", POLITE));
    with_unit(&web, "[Unit]\nRequires=db.service\nAfter=network.target sshd.service\n");
    host.start(&db).unwrap();
    host.start(&web).unwrap();
    said(&["systemctl", "stop", "db", "web"]);
    let time = |name, key| property(name, key).parse::<u64>().unwrap();
    assert!(time("web", "InactiveEnterTimestampMonotonic") <= time("db", "InactiveEnterTimestampMonotonic"));
    // One pulls the other.
    said(&["systemctl", "start", "web"]);
    assert_eq!(property("db", "ActiveState"), "active");
    assert!(time("db", "ActiveEnterTimestampMonotonic") <= time("web", "ActiveEnterTimestampMonotonic"));
    host.stop(&db.name).unwrap();
    assert_eq!(host.status(&web.name).unwrap().unwrap().phase, Phase::Halted, "it cannot be without");
}

/// Its second start fails before it is ready; systemd alone has to bring both back.
#[test]
#[ignore = "runs on a device"]
fn an_app_comes_back_although_what_it_requires_failed_to_start() {
    let script = "echo >>/data/starts; set -- $(busybox wc -l </data/starts); [ $1 = 2 ] && exit 1; \
                  /usr/bin/systemd-notify --ready; exec sleep 1000";
    let (mut host, base, top) = (host(), notifying("base", script), app("top", POLITE));
    // runc does not see an end before READY: it is told by the timeout.
    with_unit(&base, "[Service]\nType=notify\nTimeoutStartSec=4\n");
    with_unit(&top, "[Unit]\nRequires=base.service\n");
    host.start(&base).unwrap();
    host.start(&top).unwrap();
    wait_until(&host, &base.name, |s| s.phase == Phase::Running);
    let first = wait_until(&host, &top.name, |s| s.phase == Phase::Running).since;
    kill(main_pid("base"), "KILL");
    wait_until(&host, &base.name, |s| s.phase == Phase::Running && s.restarts >= 2);
    let top = wait_until(&host, &top.name, |s| s.phase == Phase::Running);
    assert!(top.since > first, "it was stopped meanwhile");
}

#[test]
#[ignore = "runs on a device"]
fn reloads_disturb_nothing() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                said(&["systemctl", "daemon-reload"]);
                count += 1;
            }
            count
        });
        let (mut host, app) = (host(), app("web", POLITE));
        let results = (0..5).try_for_each(|_| {
            host.start(&app)?;
            host.stop(&app.name)
        });
        over.store(true, Ordering::Relaxed);
        assert!(storm.join().unwrap() > 5);
        results.unwrap();
    });
}

#[test]
#[ignore = "runs on a device"]
fn a_health_command_is_asked_word_for_word() {
    let (mut host, app) = (host(), app("asked", POLITE));
    host.start(&app).unwrap();
    wait_until(&host, &app.name, |s| s.phase == Phase::Running);
    let script = "X=7; test \"$X${X}\" = 77 && test $$ -gt 0 && test '%n' = \"%\"n";
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    let health = host.health(&app.name, &argv, Duration::from_secs(10)).unwrap();
    assert_eq!(health, fullmetal::host::Health::Healthy);
    host.remove(&app.name).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn removal_leaves_nothing() {
    let (mut host, app, failing) = (host(), app("gone", POLITE), app("failing", "exit 3"));
    host.start(&app).unwrap();
    // On a busy machine its end is sometimes seen before its start.
    let _ = host.start(&failing);
    assert_eq!(host.traces().unwrap(), [failing.name.clone(), app.name.clone()]);
    wait_until(&host, &failing.name, |s| s.phase == Phase::Exited);
    assert_ne!(said(&["find", "/sys/fs/cgroup", "-name", "gone.service"]), "", "else it proves nothing below");
    // Something pulled it in before systemd was told that its unit is gone.
    let pulled = self::app("pulled", POLITE);
    host.start(&pulled).unwrap();
    fs::remove_file("/run/systemd/system/pulled.service").unwrap();
    said(&["systemctl", "daemon-reload"]);
    for app in [&app, &failing, &pulled] {
        host.remove(&app.name).unwrap();
        host.remove(&app.name).unwrap();
        assert_eq!(host.status(&app.name).unwrap(), None);
        let unit = format!("{}.service", app.name);
        for place in ["/sys/fs/cgroup", "/run/systemd", "/etc/systemd"] {
            assert_eq!(said(&["find", place, "-name", &unit]), "");
        }
        assert_eq!(said(&["systemctl", "list-units", "--all", "--plain", "--no-legend", &unit]), "");
        assert!(!Path::new("/run/fullmetal/apps").join(app.name.as_str()).exists());
    }
    assert!(host.traces().unwrap().is_empty());
    assert_eq!(said(&["runc", "--root", "/run/fullmetal/runc/press-1", "list", "-q"]), "");
    assert_eq!(said(&["pgrep", "-f", "sleep 1000"]), "");
}

/// Puts a version in force as the agent does.
fn in_force(host: &mut SystemdHost, app: &App, autostart: bool) {
    host.prepare(app).unwrap();
    let start = StartOptions { autostart, job: app.job };
    let (commit, manifest) = (app.commit, app.commit);
    let version = Installed { commit, version: "1".into(), manifest, start, unsigned: false };
    current::set(&Paths::new("/").app_dir(&app.name), &version).unwrap();
}

/// What the agent of an enrolled device finds; it starts the apps before it misses the rest.
#[test]
#[ignore = "runs on a device"]
fn a_journal_is_there() {
    let paths = Paths::new("/");
    fs::create_dir_all("/etc/fullmetal").unwrap();
    let text = "[device]\nid = \"press-1\"\nfleet = \"plant-7\"\n[agent]\nstop_timeout_s = 2\n";
    fs::write(paths.config_file(), text).unwrap();
    let web = app("web", POLITE);
    let start = StartOptions { autostart: true, job: false };
    let version = Installed { commit: web.commit, version: "1".into(), manifest: web.commit, start, unsigned: false };
    let mut record = Record::default();
    let app = deploy::App { current: version, previous: None, floor: 0, lost: false };
    record.apps.insert(web.name, app);
    fs::create_dir_all(paths.state_dir()).unwrap();
    Journal::open(&paths.journal_dir()).unwrap().save(&record).unwrap();
}

/// One more app in it, which requires the first.
#[test]
#[ignore = "runs on a device"]
fn another_requires_web() {
    let paths = Paths::new("/");
    let top = app("top", POLITE);
    with_unit(&top, "[Unit]\nRequires=web.service\n");
    let start = StartOptions { autostart: true, job: false };
    let version = Installed { commit: top.commit, version: "1".into(), manifest: top.commit, start, unsigned: false };
    let mut record = journal::peek(&paths.journal_dir()).unwrap().unwrap();
    current::set(&paths.app_dir(&top.name), &version).unwrap();
    record.apps.insert(top.name, deploy::App { current: version, previous: None, floor: 0, lost: false });
    Journal::open(&paths.journal_dir()).unwrap().save(&record).unwrap();
}

#[test]
#[ignore = "runs on a device"]
fn install() {
    let mut host = host();
    in_force(&mut host, &app("db", POLITE), true);
    let web = app("web", POLITE);
    with_unit(&web, "[Unit]\nAfter=db.service\nWants=db.service\n");
    in_force(&mut host, &web, true);
    in_force(&mut host, &app("tool", POLITE), false);
    in_force(&mut host, &App { job: true, ..app("job", "echo work done") }, true);
    in_force(&mut host, &app("away", POLITE), true);
    let mark = Paths::new("/").stopped(&"away".parse().unwrap());
    fs::create_dir_all(mark.parent().unwrap()).unwrap();
    fs::write(mark, "").unwrap();
    host.start(&web).unwrap();
    said(&["sync"]);
}

#[test]
#[ignore = "runs on a device"]
fn apps_run_again() {
    let mut host = host();
    for name in ["db", "web"] {
        wait_until(&host, &name.parse().unwrap(), |s| s.phase == Phase::Running && s.log == ["up"]);
    }
    let done = wait_until(&host, &"job".parse().unwrap(), |s| s.phase == Phase::Exited);
    assert_eq!((done.last_exit, done.log), (Some(ExitStatus::Code(0)), vec!["work done".to_owned()]));
    let started = |name| property(name, "ActiveEnterTimestampMonotonic").parse::<u64>().unwrap();
    assert!(started("db") <= started("web"));
    for name in ["tool", "away"] {
        assert_eq!((property(name, "ActiveState"), property(name, "LoadState")), ("inactive".into(), "loaded".into()));
        assert_eq!(host.status(&name.parse().unwrap()).unwrap(), None, "{name}");
    }
    assert_eq!(property("fullmetal-agent", "Result"), "exit-code", "the agent is broken");
    // An agent that comes back finds them.
    let web = App { name: "web".parse().unwrap(), commit: Digest::of(POLITE.as_bytes()), job: false };
    assert_eq!(host.start(&web).unwrap(), Started::Adopted);
    // Also without a record of ours it is seen that somebody stops it.
    said(&["systemctl", "stop", "web"]);
    said(&["systemctl", "daemon-reload"]);
    assert_eq!(host.status(&web.name).unwrap().unwrap().phase, Phase::Halted);
}
