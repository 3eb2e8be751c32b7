//! Apps as units of a real systemd, on devices in namespaces. Needs root; `debootstrap` makes the devices' base once.
//!
//! Each test boots a device and runs its other half, the ignored test of the same name in [`inside`], as a service on it.

#![allow(clippy::unwrap_used)]

#[path = "host/bus_program.rs"]
mod bus_program;
#[path = "host/by_polkit.rs"]
mod by_polkit;
#[path = "host/conformance.rs"]
mod conformance;
#[path = "host/inside.rs"]
mod inside;
#[path = "host/on_the_bus.rs"]
mod on_the_bus;
#[path = "host/site.rs"]
#[allow(dead_code)]
mod site;

use fullmetal::host::{App, AppHost, AppStatus, Health, HostError, Phase, Started, SupervisorHost, SupervisorOptions};
use fullmetal_proto::{AppName, Digest};
use fullmetal_sim::lab::device::{Device, Groups};
use fullmetal_sim::lab::wait_for;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// What an installed device has of ours.
const UNITS: [(&str, &str); 3] = [
    ("fullmetal-boot.service", include_str!("../systemd/fullmetal-boot.service")),
    ("fullmetal-apps.target", include_str!("../systemd/fullmetal-apps.target")),
    ("fullmetal-agent.service", include_str!("../systemd/fullmetal-agent.service")),
];

/// A device, and this test program on it.
struct Bench {
    device: Device,
    own: PathBuf,
}

impl Bench {
    fn new(groups: Groups) -> Self {
        let mut bench = Bench::off(groups);
        bench.device.boot().unwrap();
        bench
    }

    fn off(groups: Groups) -> Self {
        let fullmetal = Path::new(env!("CARGO_BIN_EXE_fullmetal"));
        let own = std::env::current_exe().unwrap();
        let boot = Path::new(env!("CARGO_BIN_EXE_fullmetal-boot"));
        let sim = fullmetal.with_file_name("fullmetal-sim");
        Bench { device: Device::new(&sim, groups, &[&own, fullmetal, boot]).unwrap(), own }
    }

    /// Runs the other half of a test.
    fn inside(&self, test: &str) {
        self.other_half(&format!("inside::{test}"));
    }

    fn other_half(&self, test: &str) {
        let said = self.device.serve(&self.own, &["--exact", test, "--ignored", "--nocapture"]).unwrap();
        assert!(said.contains("1 passed"), "{test}: {said}");
    }
}

#[test]
fn the_systemd_host_is_an_app_host() {
    Bench::new(Groups::AsHost).inside("conformance");
}

#[test]
fn the_systemd_host_is_an_app_host_on_the_second_version_of_control_groups() {
    let bench = Bench::new(Groups::Second);
    bench.inside("conformance");
    bench.inside("limits::limits_find_the_unit_without_a_process_of_its_own");
}

#[test]
fn names_changes_and_ends_are_told_as_they_are() {
    let bench = Bench::new(Groups::AsHost);
    for test in [
        "a_name_of_the_system_is_refused",
        "an_end_is_told_by_a_signal",
        "who_stops_an_app_by_hand_is_not_fought",
        "a_health_command_is_asked_word_for_word",
    ] {
        bench.inside(test);
    }
    let own = format!("/run/lab/{}", bench.own.file_name().unwrap().to_str().unwrap());
    let test = "inside::jobs::a_health_command_is_answered_though_the_bus_goes_away";
    let said = bench.device.run(&[&own, "--exact", test, "--ignored", "--nocapture"]).unwrap();
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn an_app_is_started_when_it_says_so_and_ended_when_it_will_not() {
    let bench = Bench::new(Groups::AsHost);
    for test in ["ready_is_waited_for", "an_app_that_will_not_end_is_killed_after_its_grace"] {
        bench.inside(test);
    }
}

#[test]
fn a_unit_has_the_limits_that_the_policy_says_when_the_agent_starts_it() {
    let mut bench = Bench::off(Groups::AsHost);
    bench.device.give_disk(64).unwrap();
    bench.device.boot().unwrap();
    bench.inside("limits::the_policy_holds");
    bench.inside("limits::limits_are_held");
    its_disk_knows_weights(&bench.device);
    bench.inside("limits::the_scheduler_of_the_disk_has_the_weights");
}

/// Most schedulers of disks, and none at all, pass weights over.
fn its_disk_knows_weights(device: &Device) {
    let mounts = fs::read_to_string(device.seen("/proc/1/mounts").unwrap()).unwrap();
    let disk = mounts.lines().find(|line| line.contains(" /var/lib/fullmetal ")).unwrap().split(' ').next().unwrap();
    let scheduler = format!("/sys/block/{}/queue/scheduler", disk.trim_start_matches("/dev/"));
    fs::write(&scheduler, "bfq").unwrap_or_else(|e| panic!("{scheduler}: {e}; the kernel of this host lacks BFQ"));
}

#[test]
fn what_is_needed_starts_first_and_stops_last() {
    let bench = Bench::new(Groups::AsHost);
    bench.inside("dependencies_are_kept");
    bench.inside("jobs::a_job_may_take_as_long_as_those_before_it");
    bench.inside("an_app_comes_back_although_what_it_requires_failed_to_start");
}

#[test]
fn jobs_are_awaited_while_systemd_reads_its_units_again_and_again() {
    Bench::new(Groups::AsHost).inside("reloads_disturb_nothing");
}

#[test]
fn nothing_of_a_removed_app_is_left() {
    for groups in [Groups::AsHost, Groups::Second] {
        Bench::new(groups).inside("removal_leaves_nothing");
    }
}

#[test]
fn agent_and_commands_use_units_where_systemd_runs() {
    let bench = Bench::new(Groups::AsHost);
    bench.inside("a_journal_is_there");
    let (device, fullmetal) = (&bench.device, Path::new(env!("CARGO_BIN_EXE_fullmetal")));
    let missing = device.serve(fullmetal, &["agent"]).unwrap_err().to_string();
    assert!(missing.contains("trust"), "the apps are started before it misses this: {missing}");
    let active = || device.run(&["systemctl", "show", "--value", "-p", "ActiveState", "web"]).unwrap();
    assert_eq!(active().trim(), "active");
    // Its unit is active a moment before its container is made.
    let list = |word: &str| {
        wait_for(word, Duration::from_secs(10), || {
            Ok(device.serve(fullmetal, &["app", "list"])?.contains(word).then_some(()))
        })
        .unwrap();
    };
    list("running");
    device.serve(fullmetal, &["app", "stop", "web"]).unwrap();
    assert_eq!(active().trim(), "inactive");
    list("stopped");
    device.serve(fullmetal, &["app", "start", "web"]).unwrap();
    device.run(&["systemctl", "stop", "web"]).unwrap();
    list("halted");
    device.serve(fullmetal, &["app", "start", "web"]).unwrap();
    bench.inside("another_requires_web");
    device.serve(fullmetal, &["app", "start", "top"]).unwrap();
    device.serve(fullmetal, &["app", "stop", "web"]).unwrap();
    list("halted");
    let again = device.serve(fullmetal, &["app", "start", "web"]).unwrap();
    assert!(again.contains("top runs again, which requires web"), "{again}");
    device.run(&["rm", "-r", "/var/lib/fullmetal/journal"]).unwrap();
    let gone = device.serve(fullmetal, &["agent"]).unwrap_err().to_string();
    assert!(gone.contains("record in /var/lib/fullmetal/journal is gone"), "{gone}");
    assert_eq!(active().trim(), "active", "it goes on");
}

#[test]
fn units_that_are_not_as_they_should_be_are_told_with_what_to_do() {
    let bench = Bench::new(Groups::AsHost);
    bench.inside("a_journal_is_there");
    let (device, fullmetal) = (&bench.device, Path::new(env!("CARGO_BIN_EXE_fullmetal")));
    // This device lacks keys and more, of which it tells too.
    let verified = || device.serve(fullmetal, &["verify"]).unwrap_err().to_string();
    let told = verified();
    assert!(told.contains("web has no unit") && told.contains("would not start with the device"), "{told}");
    device.serve(fullmetal, &["app", "start", "web"]).unwrap();
    let told = verified();
    assert!(!told.contains("unit"), "{told}");
    let spoil = "cd /run/systemd/system; cp web.service left.service; sed -i 's/^Job=no/Job=yes/' web.service; \
                 for unit in /var/lib/fullmetal/apps/web/*.service; do echo > $unit; done";
    device.run(&["sh", "-c", spoil]).unwrap();
    let told = verified();
    for part in [
        "web would not start with the device: its stored unit is damaged",
        " as a job, in force is ",
        "do: restart the agent: it writes the unit anew",
        "left is a unit of ours, but no such app is installed",
        "`rm /run/systemd/system/left.service`",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    // An agent removes it, though nothing of it runs.
    device.serve(fullmetal, &["agent"]).unwrap_err();
    let told = verified();
    assert!(!told.contains("left is a unit"), "{told}");
    device.run(&["sh", "-c", "echo [Service] > /run/systemd/system/web.service"]).unwrap();
    assert!(verified().contains("the unit of web is not ours"));
}

#[test]
fn lines_of_an_app_come_from_the_journal_and_go_on() {
    let bench = Bench::new(Groups::AsHost);
    bench.inside("a_journal_is_there");
    let (device, fullmetal) = (&bench.device, Path::new(env!("CARGO_BIN_EXE_fullmetal")));
    device.serve(fullmetal, &["app", "start", "web"]).unwrap();
    let argv = ["timeout", "60", "/run/lab/fullmetal", "logs", "web", "--follow"];
    let mut follow = device.command(&argv).unwrap().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with(": up")), "it shows what was");
    device.serve(fullmetal, &["app", "stop", "web"]).unwrap();
    device.serve(fullmetal, &["app", "start", "web"]).unwrap();
    assert!(lines.any(|line| line.ends_with(": up")), "it goes on");
    drop(lines);
    assert!(wait_for("journalctl ends with its reader", Duration::from_secs(10), || Ok(follow.try_wait()?)).is_ok());
    let unknown = device.serve(fullmetal, &["logs", "nothing"]).unwrap_err().to_string();
    assert!(unknown.contains("no app nothing is installed here"), "{unknown}");
}

#[test]
fn apps_start_after_a_reboot_and_a_power_cut_with_a_broken_agent() {
    let mut bench = Bench::new(Groups::AsHost);
    let device = &mut bench.device;
    device.run(&["mkdir", "-p", "/usr/lib/fullmetal"]).unwrap();
    device.run(&["cp", "/run/lab/fullmetal-boot", "/usr/lib/fullmetal/fullmetal-boot"]).unwrap();
    device.run(&["cp", "/bin/false", "/usr/bin/fullmetal"]).unwrap();
    for (name, text) in UNITS {
        let write = format!("cat > /usr/lib/systemd/system/{name} <<'END'\n{text}\nEND");
        device.run(&["sh", "-c", &write]).unwrap();
    }
    // The agent's unit starts on an enrolled device only.
    device.run(&["install", "-D", "/dev/null", "/etc/fullmetal/trust"]).unwrap();
    device.run(&["systemctl", "daemon-reload"]).unwrap();
    device.run(&["systemctl", "enable", "fullmetal-boot.service", "fullmetal-agent.service"]).unwrap();
    bench.inside("install");
    bench.device.reboot().unwrap();
    bench.inside("apps_run_again");
    bench.device.cut_power().unwrap();
    bench.inside("apps_run_again");
}
