//! What the operator sees besides the ends.

use super::{report, sealed, site};
use fullmetal::identity::Usage;
use fullmetal_proto::wire::{Mode, ReportState};
use serde_json::Value;

#[test]
fn a_download_shows_how_far_it_is() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("large", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report_with(&site, action, ReportState::Fetching, |report| {
        (report.bytes_from_peers, report.bytes_from_central, report.bytes_total) = (40_000_000, 1_000_000, 103_000_000);
    });
    hawkbit.wait(&device.name, action, "download", &["fetching: 41 of 103 MB"]);
    let status = site.status();
    let progress = &status["devices"][&device.name]["progress"];
    assert_eq!((&progress["state"], &progress["bytes_total"]), (&"fetching".into(), &103_000_000.into()));
    device.report(&site, action, ReportState::Succeeded);
    hawkbit.wait(&device.name, action, "finished", &["succeeded"]);
}

#[test]
fn a_devices_attributes_say_what_runs_there_on_what_and_what_it_cost() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("shown", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report(&site, action, ReportState::Failed);
    let path = format!("/rest/v1/targets/{}/attributes", device.name);
    let read = || hawkbit.operate("GET", &path, &Value::Null);
    let shown = hawkbit.until("the attributes", || Some(read()).filter(|a| a["last_error"] != Value::Null));
    assert_eq!((&shown["agent"], &shown["free_disk"]), (&"0.1.0".into(), &"3072 MiB".into()));
    assert_eq!(shown["last_error"], "web 2 was never healthy");
    assert_eq!((&shown["bytes_from_peers"], &shown["bytes_from_central"]), (&"700".into(), &"300".into()));
    let device_status = site.status()["devices"][&device.name].clone();
    assert_eq!((&device_status["agent"], &device_status["free_bytes"]), (&"0.1.0".into(), &(3u64 << 30).into()));
}

#[test]
fn what_a_device_says_cannot_steer_the_terminal_of_whoever_reads_the_status() {
    let (site, hawkbit, commit, mut device) = site("ask");
    let action = hawkbit.assign(hawkbit.release("hostile", &commit), &device.name, "forced");
    device.told(&site, action, Mode::Now);
    device.report_with(&site, action, ReportState::Failed, |report| {
        report.reason = "web \u{202e}2\u{2066} end\u{1b}[2Jed\u{200f}".into();
    });
    device.receipt(&site);
    let text = hawkbit.until("the failure", || Some(site.run(&["status"]).out).filter(|t| t.contains("failed")));
    let odd = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200f}".contains(c);
    assert!(text.contains("web ") && !text.chars().any(odd), "{text:?}");
}

#[test]
fn a_device_of_which_no_peer_has_told_yet_is_a_target_with_its_first_report() {
    let (site, hawkbit, ..) = site("ask");
    let name = hawkbit.device("press-9");
    let (key, certificate) = site.agent(&name, Usage::Agent);
    site.peer.report(sealed(&report(&name, 1, 0, None, &certificate), &key));
    hawkbit.until("the target", || hawkbit.has_target(&name).then_some(()));
}
