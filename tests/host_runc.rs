//! Apps under real supervisors and real runc. Needs root, runc, ostree and busybox-static.

#![allow(clippy::unwrap_used)]

#[path = "host/conformance.rs"]
mod conformance;
#[path = "host/image.rs"]
mod image;
#[path = "host/policy.rs"]
mod policy;
#[path = "host/site.rs"]
mod site;

use conformance::{Fixture, wait_until};
use fullmetal::host::{
    App, AppHost, AppStatus, Health, HostError, Phase, Refusal, Started, SupervisorHost, SupervisorOptions,
};
use fullmetal_proto::wire::report::ExitStatus;
use fullmetal_proto::{AppName, Digest};
use serde_json::json;
use site::{Site, alive, host_at, kill, script_file};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Says "up", and "bye" when it is told to end.
const POLITE: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";

fn says(line: &'static str) -> impl Fn(&AppStatus) -> bool {
    move |status| status.log.iter().any(|l| l == line)
}

#[test]
fn the_supervisor_host_is_an_app_host() {
    let site = Site::new();
    let job = App { job: true, ..site.app("job", "echo work done") };
    let stays = site.app_with("web", "exec sleep 1000", |rootfs, _| fs::write(rootfs.join("well"), "").unwrap());
    conformance::an_app_host(Fixture {
        host: Box::new(site.host()),
        stays,
        sick: site.app("web", "exec sleep 999"),
        job,
        failing: site.app("bad", "echo no disk >&2; exit 3"),
        healthy: ["test", "-e", "/well"].map(str::to_owned).to_vec(),
    });
}

#[test]
fn an_app_that_exits_is_started_again_after_pauses_that_double() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("fails", "exit 4");
    host.start(&app).unwrap();
    let first = wait_until(&host, &app.name, |s| s.last_exit.is_some());
    let seen = Instant::now();
    assert_eq!((first.restarts, first.last_exit), (0, Some(ExitStatus::Code(4))));
    wait_until(&host, &app.name, |s| s.restarts == 1);
    assert!(seen.elapsed() > Duration::from_millis(800));
    wait_until(&host, &app.name, |s| s.restarts == 2);
    assert!(seen.elapsed() > Duration::from_millis(2800) && seen.elapsed() < Duration::from_secs(9));
    let mark = Instant::now();
    host.stop(&app.name).unwrap();
    assert!(mark.elapsed() < Duration::from_secs(1), "a pause is no reason to wait");
}

#[test]
fn an_app_killed_by_a_signal_is_reported_so_and_comes_back() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("killed", POLITE);
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let old = site.container_pid(&app.name);
    kill(old, "KILL");
    let back = wait_until(&host, &app.name, |s| s.restarts == 1 && s.phase == Phase::Running);
    assert_eq!(back.last_exit, Some(ExitStatus::Signal(9)));
    assert_ne!(site.container_pid(&app.name), old);
}

#[test]
fn stopping_lets_an_app_say_goodbye() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("polite", POLITE);
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let (supervisor, container) = (site.supervisor_pid(&app.name), site.container_pid(&app.name));
    host.stop(&app.name).unwrap();
    let status = host.status(&app.name).unwrap().unwrap();
    assert_eq!((status.phase, status.last_exit), (Phase::Stopped, Some(ExitStatus::Code(0))));
    assert_eq!(status.log, ["up", "bye"]);
    // The lock goes a moment before the process is a zombie.
    let end = Instant::now() + Duration::from_secs(5);
    while (alive(supervisor) || alive(container)) && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!alive(supervisor) && !alive(container));
}

#[test]
fn an_app_that_does_not_heed_sigterm_is_killed_after_its_grace() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("stubborn", "trap 'echo no' TERM; echo up; while :; do sleep 1000 & wait; done");
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let (mark, container) = (Instant::now(), site.container_pid(&app.name));
    host.stop(&app.name).unwrap();
    assert!(mark.elapsed() >= site::GRACE);
    let status = host.status(&app.name).unwrap().unwrap();
    assert_eq!((status.phase, status.last_exit), (Phase::Stopped, Some(ExitStatus::Signal(9))));
    assert_eq!(status.log, ["up", "no", "fullmetal: did not end by SIGTERM, so it was killed"]);
    assert!(!alive(container));
}

#[test]
fn an_app_that_cannot_notice_sigterm_is_not_waited_for() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("deaf", "echo up; exec sleep 1000");
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let mark = Instant::now();
    host.stop(&app.name).unwrap();
    assert!(mark.elapsed() < site::GRACE, "{:?}", mark.elapsed());
}

#[test]
fn the_agents_death_touches_nothing_and_the_next_agent_adopts() {
    let site = Site::new();
    let app = site.app("web", POLITE);
    let mut agent = Command::new(std::env::current_exe().unwrap());
    agent.args(["--exact", "an_agent", "--ignored", "--nocapture"]).process_group(0);
    agent.env("SITE_ROOT", site.dir.path()).env("SITE_DEVICE", &site.device).env("SITE_COMMIT", app.commit.to_string());
    let mut agent = agent.stdout(Stdio::null()).spawn().unwrap();
    let mut host = site.host();
    wait_until(&host, &app.name, says("up"));
    let before = (site.supervisor_pid(&app.name), site.container_pid(&app.name));
    let group = rustix::process::Pid::from_child(&agent);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    agent.wait().unwrap();

    assert_eq!(host.list().unwrap(), std::slice::from_ref(&app.name));
    assert_eq!(host.start(&app).unwrap(), Started::Adopted);
    let status = host.status(&app.name).unwrap().unwrap();
    assert_eq!((status.phase, status.restarts, status.generation), (Phase::Running, 0, 1));
    assert_eq!((site.supervisor_pid(&app.name), site.container_pid(&app.name)), before);
    assert!(alive(before.0) && alive(before.1));
    host.stop(&app.name).unwrap();
    assert_eq!(host.status(&app.name).unwrap().unwrap().log, ["up", "bye"], "its output was still read");
}

#[test]
#[ignore = "not a test: the agent that another test kills"]
fn an_agent() {
    let var = |name| std::env::var(name).unwrap();
    let app = App { name: "web".parse().unwrap(), commit: var("SITE_COMMIT").parse().unwrap(), job: false };
    host_at(Path::new(&var("SITE_ROOT")), &var("SITE_DEVICE")).start(&app).unwrap();
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn what_a_killed_supervisor_left_is_cleared_away_before_the_next_start() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("web", POLITE);
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let stray = site.container_pid(&app.name);
    kill(site.supervisor_pid(&app.name), "KILL");
    wait_until(&host, &app.name, |s| s.phase == Phase::Lost);
    assert!(alive(stray), "the fault did bite");
    assert_eq!(host.list().unwrap(), std::slice::from_ref(&app.name));
    assert_eq!(host.start(&app).unwrap(), Started::New);
    let status = wait_until(&host, &app.name, |s| s.phase == Phase::Running);
    assert_eq!(status.generation, 2);
    assert!(!alive(stray) && alive(site.container_pid(&app.name)));
}

#[test]
fn stopping_ends_what_a_killed_supervisor_left() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("web", POLITE);
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let stray = site.container_pid(&app.name);
    kill(site.supervisor_pid(&app.name), "KILL");
    host.stop(&app.name).unwrap();
    assert_eq!(host.status(&app.name).unwrap().unwrap().phase, Phase::Stopped);
    assert!(!alive(stray));
}

#[test]
fn a_supervisor_that_comes_too_late_starts_nothing() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("web", POLITE);
    host.start(&app).unwrap();
    host.stop(&app.name).unwrap();
    let mut late = Command::new(env!("CARGO_BIN_EXE_fullmetal"));
    late.arg("supervise").arg("--root").arg(site.dir.path()).args(["--device", &site.device, "--name", "web"]);
    late.args(["--commit", &app.commit.to_string(), "--generation", "1", "--grace-ms", "100", "--runc", "runc"]);
    let late = late.output().unwrap();
    assert!(!late.status.success() && String::from_utf8_lossy(&late.stderr).contains("this start was called off"));
    assert_eq!(host.status(&app.name).unwrap().unwrap().phase, Phase::Stopped);
    assert!(host.list().unwrap().is_empty());
}

#[test]
fn an_app_writes_to_its_data_and_to_nothing_else() {
    let site = Site::new();
    let mut host = site.host();
    let script = "id -u; touch /data/mine && echo data; touch /bin/x; echo a >>/bin/busybox; echo end; exec sleep 1000";
    let app = site.app("web", script);
    let busybox = site.dir.path().join(format!("var/lib/fullmetal/apps/web/{}/rootfs/bin/busybox", app.commit));
    let before = fs::read(&busybox).unwrap();
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("end")).log;
    assert_eq!(log[..2], ["1000", "data"]);
    assert!(log[2].contains("Read-only file system") && log[3].contains("Permission denied"), "{log:?}");
    let mine = site.dir.path().join("var/lib/fullmetal/data/web/mine");
    assert_eq!(fs::metadata(mine).unwrap().uid(), 1000);
    assert!(fs::read(&busybox).unwrap() == before);
}

#[test]
fn root_in_an_app_has_no_privileges_and_a_read_only_root() {
    let site = Site::new();
    let mut host = site.host();
    let script = "echo a >>/file; busybox grep -E 'CapBnd|NoNew' /proc/1/status; echo end; exec sleep 1000";
    let app = site.app_with("web", script, |rootfs, config| {
        fs::write(rootfs.join("file"), "as published").unwrap();
        config["process"]["user"] = json!({"uid": 0, "gid": 0});
    });
    host.start(&app).unwrap();
    let log = wait_until(&host, &app.name, says("end")).log;
    assert!(log[0].contains("Read-only file system"), "{log:?}");
    assert_eq!(log[1..3], ["CapBnd: 0000000000000000", "NoNewPrivs: 1"]);
}

#[test]
fn a_web_server_answers_on_the_devices_loopback() {
    let site = Site::new();
    let mut host = site.host();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let app = site.app_with("web", &format!("exec httpd -f -p 127.0.0.1:{port} -h /www"), |rootfs, _| {
        fs::create_dir(rootfs.join("www")).unwrap();
        fs::write(rootfs.join("www/index.html"), "made of steel").unwrap();
    });
    host.start(&app).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {:?}", host.status(&app.name)),
        }
        thread::sleep(Duration::from_millis(20));
    };
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 OK") && answer.ends_with("made of steel"), "{answer}");
}

#[test]
fn a_configuration_that_breaks_the_policy_starts_nothing() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app_with("evil", "exec sleep 1000", |_, config| {
        let bind = json!({"destination": "/etc", "type": "bind", "source": "/etc", "options": ["rbind"]});
        config["mounts"].as_array_mut().unwrap().push(bind);
    });
    let error = host.start(&app).unwrap_err();
    assert!(matches!(error, HostError::Refused { source: Refusal::Bind { .. }, .. }));
    let text = "evil is not started: config.json binds /etc of the host: the app's own data is bound at /data by itself; \
                to allow it, /etc/fullmetal/fullmetal.d/policy.toml must say: policy.app.evil.binds = [\"/etc\"]";
    assert_eq!(error.to_string(), text);
    assert_eq!(host.status(&app.name).unwrap(), None);
    let missing = App { commit: Digest::of(b"none"), ..app };
    assert!(matches!(host.start(&missing), Err(HostError::Refused { source: Refusal::NoRoot(_), .. })));
}

#[test]
fn an_app_whose_program_is_missing_tells_so_in_its_log() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app_with("broken", "none", |_, config| config["process"]["args"] = json!(["/bin/nothing"]));
    host.start(&app).unwrap();
    let status = wait_until(&host, &app.name, |s| s.phase == Phase::Exited);
    assert_eq!(status.last_exit, None);
    assert!(status.log.iter().any(|l| l.contains("/bin/nothing")), "{:?}", status.log);
}

#[test]
fn a_program_that_is_no_supervisor_is_an_error_that_says_so() {
    let site = Site::new();
    let app = site.app("web", POLITE);
    let program = site.dir.path().join("wrong");
    script_file(&program, "#!/bin/sh\necho not me >&2; exit 7\n");
    let device = site.device.parse().unwrap();
    let mut options = SupervisorOptions::new(site.dir.path(), &device).unwrap();
    options.program = program;
    let error = SupervisorHost::new(options).start(&app).unwrap_err();
    assert!(error.to_string().contains("it ended with exit status: 7"), "{error}");
    assert_eq!(fs::read_to_string(site.run_file(&app.name, "supervisor.log")).unwrap(), "not me\n");
}

#[test]
fn a_health_command_that_hangs_is_killed() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("web", POLITE);
    host.start(&app).unwrap();
    wait_until(&host, &app.name, says("up"));
    let argv = ["sh", "-c", "echo asking; exec sleep 777"].map(str::to_owned);
    let mark = Instant::now();
    let health = host.health(&app.name, &argv, Duration::from_millis(500)).unwrap();
    assert_eq!(health, Health::TimedOut { output: vec!["asking".to_owned()] });
    assert!(mark.elapsed() < Duration::from_secs(3));
    let left = Command::new("pgrep").args(["-f", "sleep 777"]).output().unwrap();
    assert!(left.stdout.is_empty());
    let argv = ["no-such-program".to_owned()];
    let health = host.health(&app.name, &argv, Duration::from_secs(5)).unwrap();
    assert!(matches!(&health, Health::Unhealthy { output, .. } if output[0].contains("no-such-program")), "{health:?}");
}

#[test]
fn a_supervisor_is_small_and_has_nothing_of_the_network_or_the_agent() {
    let site = Site::new();
    let mut host = site.host();
    let app = site.app("web", "while :; do echo line; sleep 0.01; done");
    host.start(&app).unwrap();
    wait_until(&host, &app.name, |s| s.log.len() == 20);
    let pid = site.supervisor_pid(&app.name);
    let unix = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap();
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(fd.unwrap().path()).unwrap_or_default().to_string_lossy().into_owned();
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')) {
            assert!(unix.contains(inode), "a socket that is not a Unix one");
        }
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[2..4], [pid.to_string(), pid.to_string()], "its own process group and session");
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |key| rollup.lines().find_map(|l| l.strip_prefix(key)).unwrap().trim().trim_end_matches(" kB");
    println!("supervisor: {} kB PSS, {} kB of its own", kib("Pss:"), kib("Anonymous:"));
    // The rest is the program's text, which agent, peer and other supervisors have in memory too. About 2 MiB of its own
    // are tables of the program that the loader has filled in.
    assert!(kib("Anonymous:").parse::<u32>().unwrap() < 4 << 10, "{rollup}");
}
