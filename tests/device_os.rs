//! Devices whose root is an OSTree deployment. Needs root; `debootstrap` makes the devices' base once.
//!
//! The test boots a device and runs parts of itself on it, the ignored tests in [`inside`].

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "device_os/health.rs"]
mod health;
#[path = "device_os/imported.rs"]
mod imported;
#[path = "device_os/inside.rs"]
mod inside;

use fullmetal_sim::lab::device::{Device, Groups};
use std::path::{Path, PathBuf};

/// Where a version of the system says which it is.
const VERSION: &str = "/usr/share/lab-version";

/// A device that runs version 1 of its system, and this test program on it.
struct Bench {
    device: Device,
    own: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let sim = Path::new(env!("CARGO_BIN_EXE_fullmetal")).with_file_name("fullmetal-sim");
        let own = std::env::current_exe().unwrap();
        let mut device = Device::new(&sim, Groups::AsHost, &[&own]).unwrap();
        device.write(VERSION, b"1").unwrap();
        device.deploy().unwrap();
        device.boot().unwrap();
        Bench { device, own }
    }

    /// Runs the other half of a test.
    fn inside(&self, test: &str) {
        let test = format!("inside::{test}");
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
    bench.inside("a_staged_system_is_made_to_boot_next");
    bench.device.cut_power().unwrap();
    assert_eq!(bench.version(), "2", "it was finalized before the power went");
    bench.inside("the_second_system_runs");
    bench.device.reboot().unwrap();
    assert_eq!(bench.version(), "1", "it was taken back");
    bench.inside("a_damaged_kernel_is_found");
}

#[test]
fn the_agents_unit_does_what_a_system_needs_of_it() {
    let bench = Bench::new();
    imported::by_the_agents_unit(&bench);
    health::is_asked_by_the_agents_unit(&bench);
}
