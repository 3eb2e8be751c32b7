//! The demo's story with Hawkbit's decisions, on devices whose agent, peer and apps are units, and with a release of their
//! operating system in it.

use crate::bench::Host;
use crate::steered::Steered;
use crate::{LIMIT, said, times};
use fullmetal_sim::lab::{Usage, wait_for};
use std::fs;

/// Where this is, release 3 of the operating system hangs before the agent, until a watchdog bites.
const GONE: &str = "/var/lib/press-is-gone";
const LOOKS_FOR_PRESS: [(&str, &str, u32); 2] = [
    (
        "usr/lib/systemd/system/press.service",
        // After all that still has something to say: only the last lines are told.
        "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n\
         After=systemd-journal-flush.service systemd-update-utmp.service fullmetal-boot.service\n\
         ConditionPathExists=/var/lib/press-is-gone\n[Service]\nType=oneshot\nExecStart=sh -c 'echo the press does not \
         answer in boot $(cat /proc/sys/kernel/random/boot_id); journalctl --sync; touch /run/lab/hung; sleep infinity'\n",
        0o644,
    ),
    ("usr/lib/systemd/system/sysinit.target.d/press.conf", "[Unit]\nRequires=press.service\n", 0o644),
];

/// What agent and peer cost when nothing is to be done, and how long the last switch took.
fn tell_figures(host: &Host) {
    let line = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
    for program in ["fullmetal agent", "fullmetal peer"] {
        let pids = host.device.processes().unwrap();
        let pid = pids.into_iter().find(|pid| line(*pid).contains(program)).unwrap();
        println!("{}: {program} {:?}", host.name, Usage::of(pid).unwrap());
    }
    if let (Some(ended), Some(started)) = (host.last("Stopped", "web"), host.last("Started", "web")) {
        println!("{}: from the end of the old version to the start of the new one {:.2} s", host.name, started - ended);
    }
}

/// The app fails on one device.
fn an_app_goes_back(story: &mut Steered) {
    story.publish(1);
    story.assign(1, &[("press-1", "finished"), ("press-2", "finished")]);
    story.are_told(&["press-1", "press-2"]);
    story.check(&[(1, "release 1"), (2, "release 1")]);

    story.bench.hosts[2].device.switch_off().unwrap();
    story.host(2).set("web", "fail-2");
    story.publish(2);
    story.assign(2, &[("press-1", "finished"), ("press-2", "error")]);
    story.are_told(&["press-1", "press-2"]);
    story.check(&[(1, "release 2"), (2, "release 1")]);
    story.was_told("press-2", &["status 3", "/data/fail-2 is there"]);
}

/// The operating system with an app does not come up on one device; the third is still off.
fn an_operating_system_goes_back(story: &mut Steered) {
    fs::write(story.host(2).device.seen(GONE).unwrap(), "").unwrap();
    story.publish_with_system(3, &LOOKS_FOR_PRESS);
    let before = story.host(2).device.boots().len();
    story.assign(3, &[("press-1", "finished"), ("press-2", "error"), ("press-3", "finished")]);
    story.are_told(&["press-1", "press-2"]);
    assert_eq!([1, 2].map(|number| story.host(number).system()), [3, 1]);
    let boots = story.host(2).device.boots()[before..].iter().map(|boot| (boot.entry, boot.tries_left));
    assert_eq!(boots.collect::<Vec<_>>(), [(1, Some(2)), (1, Some(1)), (1, Some(0)), (2, Some(0))]);
    story.check(&[(1, "release 3"), (2, "release 1")]);
    story.was_told(
        "press-2",
        &["lab 3 was rolled back by the boot loader, since it did not come up", "the press does not answer"],
    );
    told_lines_are_of_the_boot_before(story, "press-2");
}

/// And of no other boot.
fn told_lines_are_of_the_boot_before(story: &Steered, device: &str) {
    let report = story.end_report(device);
    let told: Vec<&str> = report["log"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let argv = ["journalctl", "--boot=-1", "--no-pager", "-o", "short-monotonic", "--no-hostname"];
    let said = story.bench.hosts.iter().find(|host| host.name == device).unwrap().device.run(&argv).unwrap();
    assert!(said.lines().collect::<Vec<_>>().ends_with(&told), "{told:#?} does not end {said}");
    let words = |line: &&str| line.contains("the press does not answer in boot");
    assert_eq!(told.iter().copied().filter(words).count(), 1, "{told:#?}");
}

/// With neither gateway nor central there.
fn the_late_one_catches_up(story: &mut Steered) {
    story.bench.gateway.end();
    story.bench.central.end();
    story.bench.hosts[2].device.boot().unwrap();
    wait_for("press-3 has caught up", LIMIT, || {
        story.bench.follow()?;
        Ok((story.host(3).system() == 3 && story.host(3).record().deployment.is_none()).then_some(()))
    })
    .unwrap();
    assert_eq!(story.host(3).page(8080), "release 3");

    story.bench.central.restart(fullmetal_sim::lab::Answers::Well).unwrap();
    story.bench.gateway.start_peer().unwrap();
    story.bench.gateway.start_gateway().unwrap();
    story.are_told(&["press-3"]);
    let report = story.end_report("press-3");
    assert_eq!(report["bytes_from_central"], 0, "{report}");
    assert!(report["bytes_from_peers"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn three_devices_with_systemd_go_through_the_demos_story() {
    let mut story = Steered::begins();
    an_app_goes_back(&mut story);
    an_operating_system_goes_back(&mut story);
    the_late_one_catches_up(&mut story);
    fs::remove_file(story.host(2).device.seen(GONE).unwrap()).unwrap();
    story.publish_with_system(4, &LOOKS_FOR_PRESS);
    let all = ["press-1", "press-2", "press-3"];
    story.assign(4, &all.map(|name| (name, "finished")));
    story.are_told(&all);
    story.check(&[(1, "release 4"), (2, "release 4"), (3, "release 4")]);
    story.check_systems([4; 3]);
    story.bench.hosts.iter().for_each(tell_figures);
    story.bench.hosts.iter().for_each(|host| times::tell(host, story.told[&host.name]));
    said::what_is_said_on_the_notify_socket_decides(&mut story);
}
