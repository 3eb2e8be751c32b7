//! Devices whose root is an OSTree deployment. Needs root; `debootstrap` makes the devices' base once.
//!
//! The test boots a device and runs parts of itself on it, the ignored tests in [`inside`].

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "os/conformance.rs"]
mod conformance;
#[path = "device_os/health.rs"]
mod health;
#[path = "device_os/imported.rs"]
mod imported;
#[path = "device_os/inside.rs"]
mod inside;
#[path = "device_os/journal.rs"]
mod journal;
#[path = "device_os/kills.rs"]
mod kills;
#[path = "device_os/steps.rs"]
mod steps;
#[path = "device_os/trial.rs"]
mod trial;

use fullmetal::boot_loader::{Counted, DeploymentId, Entry};
use fullmetal::os::{Os, OsError, Step};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::OsView;
use fullmetal_sim::lab::device::{Device, Groups};
use std::path::{Path, PathBuf};

/// Where a version of the system says which it is.
const VERSION: &str = "/usr/share/lab-version";

/// Where the device sees the program that is tested.
const PROGRAM: &str = "/run/lab/fullmetal";

/// A disk for all that a device has.
const DISK_MIB: u64 = 1024;

/// A device that runs version 1 of its system, and this test program on it.
struct Bench {
    device: Device,
    own: PathBuf,
}

impl Bench {
    fn new() -> Self {
        Bench::with(|_| {})
    }

    /// The same, of whose disk power cuts can be made.
    fn with_logged_disk() -> Self {
        Bench::with(|device| device.give_logged_disk(DISK_MIB).unwrap())
    }

    /// The same; `given` has its way with the device before it gets a root.
    fn with(given: impl FnOnce(&mut Device)) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_fullmetal"));
        let sim = program.with_file_name("fullmetal-sim");
        let own = std::env::current_exe().unwrap();
        let mut device = Device::new(&sim, Groups::AsHost, &[program, &own, &sim]).unwrap();
        device.write(VERSION, b"1").unwrap();
        given(&mut device);
        device.deploy().unwrap();
        device.boot().unwrap();
        Bench { device, own }
    }

    /// Runs the other half of a test.
    fn inside(&self, test: &str) {
        let test = if test.contains("::") { test.to_owned() } else { format!("inside::{test}") };
        let said = self.device.serve(&self.own, &["--exact", &test, "--ignored", "--nocapture"]).unwrap();
        assert!(said.contains("1 passed"), "{test}: {said}");
    }

    /// The same by a service with these options.
    fn inside_of(&self, service: &[String], test: &str) {
        let program = format!("/run/lab/{}", self.own.file_name().unwrap().display());
        let service: Vec<&str> = service.iter().map(String::as_str).collect();
        let asked = [&service[..], &["--", &program, "--exact", test, "--ignored", "--nocapture"]].concat();
        let said = self.device.run(&asked).unwrap();
        assert!(said.contains("1 passed"), "{test}: {said}");
    }

    fn version(&self) -> String {
        self.device.run(&["cat", VERSION]).unwrap()
    }
}

#[test]
fn a_system_is_staged_finalized_booted_and_taken_back() {
    let mut bench = Bench::new();
    bench.inside("the_running_system_is_told");
    bench.inside("a_second_system_is_staged");
    bench.device.reboot().unwrap();
    assert_eq!(bench.version(), "1", "nobody made it boot next");
    bench.inside("a_reboot_has_forgotten_what_was_staged");
    bench.inside("a_kernel_that_does_not_fit_is_refused");
    bench.inside("what_cannot_be_finalized_is_withdrawn");
    bench.inside("nothing_is_finalized_above_what_would_not_boot");
    bench.inside("a_staged_system_is_made_to_boot_next");
    bench.device.cut_power().unwrap();
    assert_eq!(bench.version(), "2", "it was finalized before the power went");
    bench.inside("the_second_system_runs");
    bench.device.reboot().unwrap();
    assert_eq!(bench.version(), "1", "it was taken back");
    bench.inside("a_damaged_kernel_is_found");
    a_version_on_trial_that_never_comes_up_is_left_by_the_loader(&mut bench);
}

#[test]
fn a_device_is_an_operating_system_that_is_updated_step_by_step() {
    // Of its own: it becomes read-only.
    steps::a_device_is_an_operating_system(&mut Bench::with(|device| device.give_sysroot_disk(DISK_MIB).unwrap()));
}

#[test]
fn a_boot_loader_that_replays_no_journal_boots_what_the_newest_step_says_after_a_power_cut() {
    journal::is_not_needed(&mut Bench::with_logged_disk());
}

#[test]
fn a_step_that_is_cut_off_at_any_call_leaves_what_ran_or_what_is_counted_and_is_done_again() {
    kills::every_step_is_cut_off(&mut Bench::with_logged_disk());
}

/// Whatever it is that does not come up.
fn a_version_on_trial_that_never_comes_up_is_left_by_the_loader(bench: &mut Bench) {
    bench.inside("trial::its_loader_can_count");
    let three_times = [(1, Some(2)), (1, Some(1)), (1, Some(0)), (2, Some(0))];
    for (test, expected) in [
        ("trial::one_that_hangs_before_the_agent_is_armed", &three_times[..]),
        ("trial::one_that_ends_in_emergency_mode_is_armed", &three_times[..]),
        ("trial::one_without_an_agent_is_armed", &three_times[..]),
        ("trial::one_whose_kernel_is_lost_is_armed", &[(2, Some(2))]),
    ] {
        let before = bench.device.boots().len();
        bench.inside(test);
        bench.device.reboot().unwrap();
        let boots = &bench.device.boots()[before..];
        assert_eq!(boots.iter().map(|b| (b.entry, b.tries_left)).collect::<Vec<_>>(), expected, "{test}");
        assert_eq!(bench.version(), "1", "{test}");
        bench.inside("trial::the_loader_fell_back");
    }
}

#[test]
fn the_agents_unit_does_what_a_system_needs_of_it() {
    let bench = Bench::new();
    imported::by_the_agents_unit(&bench);
    health::is_asked_by_the_agents_unit(&bench);
}
