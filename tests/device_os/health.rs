//! Checks of an operating system's health, asked from the agent's unit and run outside of it.

use super::Bench;
use super::imported::sandbox;
use fullmetal::agent::os_health::{Checks, Device as _, OsHealth, Ran, Real};
use fullmetal::config::{Paths, Settings};
use fullmetal_proto::deploy::AppEvent;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const GUIDE: &str = include_str!("../../docs/integrators-os.md");
const DIR: &str = "/etc/fullmetal/health.d";
/// What each check does. The agent's unit may write nothing in `/etc`.
const CHECKS: [(&str, &str); 6] = [
    ("10-$HOME%n", "#!/bin/sh\ntouch /etc/touched && rm /etc/touched"),
    ("20-failing", "#!/bin/sh\necho first\necho no disk >&2\nexit 3"),
    ("30-hanging", "#!/bin/sh\nsleep 1000 & echo waiting\nsleep 1000"),
    ("40-talking", "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' 'x'"),
    ("50-no-interpreter", "#!/no/such/shell"),
    ("60-ended", "#!/bin/sh\nkill -9 $$"),
];

pub fn is_asked_by_the_agents_unit(bench: &Bench) {
    let write = |path: &str, text: &str| fs::write(bench.device.seen(path).unwrap(), text).unwrap();
    let sh = |script: &str| bench.device.run(&["sh", "-euc", script]).unwrap();
    sh(&format!("mkdir -p {DIR}"));
    for (name, text) in CHECKS {
        write(&format!("{DIR}/{name}"), text);
    }
    let example = GUIDE.split("```sh\n").find(|block| block.contains(&format!("# {DIR}/"))).unwrap();
    write(&format!("{DIR}/15-example"), example.split("```").next().unwrap());
    sh(&format!("chmod 755 {DIR}/*"));
    let config = "[device]\nid = \"d\"\nfleet = \"f\"\n[os]\nunits = [\"systemd-journald.service\"]\n";
    write("/etc/fullmetal/fullmetal.toml", config);
    bench.inside_of(&sandbox(), "health::checks_are_run_outside_of_the_agents_unit");
}

#[test]
#[ignore = "runs on a device"]
fn checks_are_run_outside_of_the_agents_unit() {
    let paths = Paths::new("/");
    let device = Real { is_connected: Box::new(|| true), peer: paths.peer_socket(), run_dir: paths.run_dir() };
    assert_eq!(device.state("systemd-journald.service"), Ok("active".into()));
    assert_eq!(device.state("no-such.service"), Ok("inactive".into()));
    let run = |name: &str, limit| device.run(&Path::new(DIR).join(name), limit);
    let (long, short) = (Duration::from_secs(60), Duration::from_secs(1));
    assert!(fs::write("/etc/touched", "").is_err(), "the agent may do more");
    assert_eq!(run("10-$HOME%n", long), Ok(Ran::Well));
    assert_eq!(run("15-example", long), Ok(Ran::Well));
    assert_eq!(run("20-failing", long), Ok(Ran::Failed { status: 3, said: "no disk".into() }));
    assert_eq!(run("30-hanging", short), Ok(Ran::TooLong { said: "waiting".into() }));
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path().join("cmdline"));
    let sleeps = |file: &PathBuf| fs::read(file).is_ok_and(|line| line == b"sleep\x001000\0");
    assert_eq!(processes.filter(sleeps).count(), 0, "what a check left behind is ended");
    assert_eq!(run("40-talking", long), Ok(Ran::Well));
    assert!(
        matches!(run("50-no-interpreter", long), Ok(Ran::Failed { status: 127, said }) if said.contains("not found"))
    );
    assert!(matches!(run("60-ended", long), Ok(Ran::Failed { status: 137, .. })));
    let left = fs::read_dir(paths.run_dir()).unwrap().flatten();
    assert!(left.map(|e| e.file_name()).all(|name| !name.to_string_lossy().starts_with("health-")));
    let (settings, (sender, events)) = (Settings::load(paths).unwrap(), channel());
    let checks = Checks::of(&settings, Box::new(|| true));
    let _health = OsHealth::start(checks, Instant::now(), move |event| drop(sender.send(event)));
    let reason = format!("{DIR}/20-failing ended with 3: no disk");
    assert_eq!(events.recv_timeout(long), Ok(AppEvent::Unhealthy { reason }));
}
