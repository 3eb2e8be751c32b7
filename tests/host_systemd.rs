//! Apps as units of a real systemd, on devices in namespaces. Needs root; `debootstrap` makes the devices' base once.
//!
//! Each test boots a device and runs its other half, the ignored test of the same name in [`inside`], as a service on it.

#![allow(clippy::unwrap_used)]

#[path = "host/conformance.rs"]
mod conformance;
#[path = "host/inside.rs"]
mod inside;
#[path = "host/site.rs"]
#[allow(dead_code)]
mod site;

use fullmetal::host::{App, AppHost, AppStatus, Health, HostError, Phase, Started, SupervisorHost, SupervisorOptions};
use fullmetal_proto::{AppName, Digest};
use fullmetal_sim::lab::device::{Device, Groups};
use std::path::{Path, PathBuf};

/// A device, and this test program on it.
struct Bench {
    device: Device,
    own: PathBuf,
}

impl Bench {
    fn new(groups: Groups) -> Self {
        let fullmetal = Path::new(env!("CARGO_BIN_EXE_fullmetal"));
        let own = std::env::current_exe().unwrap();
        let mut device = Device::new(&fullmetal.with_file_name("fullmetal-sim"), groups, &[&own]).unwrap();
        device.boot().unwrap();
        Bench { device, own }
    }

    /// Runs the other half of a test.
    fn inside(&self, test: &str) {
        let test = format!("inside::{test}");
        let said = self.device.serve(&self.own, &["--exact", &test, "--ignored", "--nocapture"]).unwrap();
        assert!(said.contains("1 passed"), "{test}: {said}");
    }
}

#[test]
fn the_systemd_host_is_an_app_host() {
    Bench::new(Groups::AsHost).inside("conformance");
}

#[test]
fn the_systemd_host_is_an_app_host_on_the_second_version_of_control_groups() {
    Bench::new(Groups::Second).inside("conformance");
}
