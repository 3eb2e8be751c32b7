//! Devices whose clock is far off. A namespace has the host's clock, so that of our services alone is turned, by a library
//! that is loaded before them: libfaketime, whose variables its README explains.

use crate::bench::{Bench, Host};
use fullmetal_proto::Timestamp;
use fullmetal_sim::lab::device::Device;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// From their next start on these services see the time begin there; how long things take stays true.
fn turn(host: &Host, services: &[&str], year: u16) {
    let text = format!(
        "[Service]\nEnvironment=LD_PRELOAD={LIBRARY} \"FAKETIME=@{year}-01-01 00:00:00\" FAKETIME_DONT_FAKE_MONOTONIC=1 \
         NO_FAKE_STAT=1\n"
    );
    assert!(host.device.base_file(LIBRARY).exists(), "{LIBRARY} is not on the device");
    for service in services {
        host.device.write(&format!("/etc/systemd/system/{service}.service.d/clock.conf"), text.as_bytes()).unwrap();
    }
}

/// What a service has logged since its last start.
fn said(host: &Host, service: &str) -> String {
    let of_it = format!("_SYSTEMD_INVOCATION_ID={}", host.property(service, "InvocationID"));
    host.device.run(&["journalctl", "-b", "--no-pager", "-o", "cat", &of_it]).unwrap()
}

/// When the device's newest deployment ended, by the time that it trusts.
fn newest_end(host: &Host) -> String {
    let past: Value = serde_json::from_str(&host.fullmetal(&["--json", "history"]).unwrap()).unwrap();
    past["past"].as_array().unwrap().last().unwrap()["at"].as_str().unwrap().to_owned()
}

fn now() -> String {
    Timestamp::ZERO.after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap()).to_string()
}

/// The device sees the time begin with that year as it boots, takes the next release, and tells when that was.
fn takes_a_release(bench: &mut Bench, year: u16, boot: impl FnOnce(&mut Device)) {
    let release = bench.next("1");
    let before = now();
    let action = bench.decide(&["web"]);
    turn(bench.host(), &["fullmetal-agent", "fullmetal-peer"], year);
    boot(&mut bench.hosts[0].device);
    bench.ends_with(action, "succeeded", release);
    for service in ["fullmetal-agent", "fullmetal-peer"] {
        let said = said(bench.host(), service);
        assert!(said.contains(&format!("{year}-01-01T")), "the fault does not bite: {said}");
    }
    // No clock helps it to better than the last time that somebody signed.
    let end = newest_end(bench.host());
    assert!(before <= end && end <= now(), "at {year} it says that it ended at {end}");
}

#[test]
fn a_device_whose_clock_is_far_off_takes_updates_and_tells_when_that_was() {
    let mut bench = Bench::new(1, |_| {});
    bench.hosts[0].device.boots_halfway();
    // Too early for the certificates of gossip, so that it hears of the release by asking.
    takes_a_release(&mut bench, 1970, |device| device.boot().unwrap());
    // Too late for its own certificates, and for the trust file.
    turn(bench.host(), &["fullmetal-boot"], 1970);
    let day = now()[..11].to_owned();
    takes_a_release(&mut bench, 2100, |device| device.reboot().unwrap());
    // The lab lets no device set the clock, which is the host's.
    let said = said(bench.host(), "fullmetal-boot");
    let wished = format!("setting the clock from 1970-01-01T00:00:00Z to {day}");
    assert!(said.contains(&wished), "{wished} is not in {said}");
}
