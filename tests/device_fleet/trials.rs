//! Operating systems on trial, from decision to report: proven, or back.

use crate::newer;
use crate::systems::Site;
use fullmetal_sim::lab::device::KERNEL_DIR;
use std::fs;

const EXECUTABLE: u32 = 0o755;

/// Once, counted, with two tries left.
const FIRST_TRY: (usize, Option<u8>) = (1, Some(2));

fn read(site: &Site, path: &str) -> String {
    fs::read_to_string(site.host().device.seen(path).unwrap()).unwrap_or_default()
}

fn proven(site: &mut Site) {
    for file in ["/etc/local", "/etc/of-both"] {
        fs::write(site.host().device.seen(file).unwrap(), "kept").unwrap();
    }
    site.publish(&[("usr/etc/of-the-release", "2", 0o644), ("usr/etc/of-both", "2", 0o644)]);
    let action = site.decide(&[]);
    let (_, boots) = site.ends(action, "succeeded", 2);
    assert_eq!(boots, [FIRST_TRY]);
    let at_boot = ["journalctl", "-b", "-u", "fullmetal-boot", "-o", "cat", "-g", "the operating system is deployment"];
    let told = site.host().device.run(&at_boot).unwrap();
    assert!(told.trim_end().ends_with("lab 2, on trial"), "{told}");
    let etc = ["/etc/local", "/etc/of-the-release", "/etc/of-both"].map(|file| read(site, file));
    assert_eq!(etc, ["kept", "2", "kept"]);
    let name = site.host().name.clone();
    assert!(site.bench.was_told(&name, "staged", "stays as here: /etc/of-both"), "what it does not get");
}

/// What was changed on the device and what comes fit together in no way.
fn etc_cannot_be_merged(site: &mut Site) {
    let runs = site.host().system();
    site.publish(&[("usr/etc/local/below", "3", 0o644)]);
    let action = site.decide(&[]);
    let (reason, boots) = site.ends(action, "failed", runs);
    assert_eq!(boots, []);
    assert!(reason.contains("cannot merge") && reason.contains("local"), "{reason}");
}

/// Before there is a journal: the newest boot that has one is that in which it was armed, and not what failed.
fn kernel_hangs(site: &mut Site) {
    let runs = site.host().system();
    site.publish(&[("usr/lib/lab/kernel-hangs", "", 0o644)]);
    let action = site.decide(&[]);
    let (reason, boots) = site.ends(action, "failed", runs);
    let report = site.bench.end_report(&site.host().name, action);
    assert_eq!((&report["state"], &report["log"]), (&"failed".into(), &serde_json::json!([])), "{report}");
    assert_eq!(boots, [FIRST_TRY, (1, Some(1)), (1, Some(0)), (2, Some(0))]);
    assert!(reason.contains("rolled back by the boot loader"), "{reason}");
}

/// After which the agent goes on from what a newer one wrote.
fn fails_a_check(site: &mut Site) {
    let runs = site.host().system();
    let check = "#!/bin/sh\necho looking\necho the press does not answer\nexit 3\n";
    let [(service, newer), (wants, wanted)] = newer::written_as_the_device_goes_down();
    site.publish(&[
        ("usr/etc/fullmetal/health.d/press", check, EXECUTABLE),
        (service, &newer, 0o644),
        (wants, &wanted, 0o644),
    ]);
    let action = site.decide(&[]);
    let (reason, boots) = site.ends(action, "failed", runs);
    assert_eq!(boots, [FIRST_TRY, (2, Some(0))]);
    assert!(reason.contains("press") && reason.contains("the press does not answer"), "{reason}");
    assert!(!site.host().device.seen("/etc/fullmetal/health.d/press").unwrap().exists(), "its checks went with it");
    newer::was_written(site.host());
}

/// All go back, also those that are well.
fn an_app_of_it_fails(site: &mut Site) {
    for app in ["web", "db"] {
        site.bench.publish(app, 1, false, &["--probation", "1"]);
    }
    site.publish(&[]);
    let action = site.decide(&["web", "db"]);
    let runs = site.release;
    site.ends(action, "succeeded", runs);
    assert_eq!([8080, 8081].map(|port| site.host().page(port)), ["release 1", "release 1"]);

    for app in ["web", "db"] {
        site.bench.publish(app, 2, false, &["--probation", "1"]);
    }
    site.publish(&[]);
    site.host().set("db", "fail-2");
    let action = site.decide(&["web", "db"]);
    let (reason, boots) = site.ends(action, "failed", runs);
    assert_eq!(boots, [FIRST_TRY, (2, Some(0))]);
    assert!(reason.contains("db") && reason.contains("/data/fail-2 is there"), "{reason}");
    assert_eq!([8080, 8081].map(|port| site.host().page(port)), ["release 1", "release 1"]);
}

/// In a device of the lab no new mount comes to a unit that runs already: systemd makes mounts shared only outside of containers.
fn no_room_in_boot(site: &mut Site) {
    let runs = site.host().system();
    let full = "mkdir -p /tmp/boot; mount -t tmpfs -o size=4m boot /tmp/boot; cp -a /boot/. /tmp/boot; \
                dd if=/dev/zero of=/tmp/boot/filler bs=4k 2>/dev/null; mount --move /tmp/boot /boot; \
                systemctl restart fullmetal-agent";
    site.host().device.run(&["sh", "-c", full]).unwrap();
    let (initramfs, large) = (format!("{KERNEL_DIR}/initramfs.img"), "initramfs ".repeat(100_000));
    for (files, fetches) in [(&[][..], true), (&[(&*initramfs, &*large, 0o644)], false)] {
        site.publish(files);
        let action = site.decide(&[]);
        let (reason, boots) = site.ends(action, "failed", runs);
        assert_eq!(boots, []);
        assert!(reason.contains("/boot") && reason.contains("needs"), "{reason}");
        let report = site.bench.end_report(&site.host().name, action);
        let bytes = ["bytes_from_peers", "bytes_from_central"].map(|from| report[from].as_u64().unwrap());
        assert_eq!(bytes != [0, 0], fetches, "what a kernel takes is looked at before it is fetched: {report}");
    }
    site.host().device.run(&["sh", "-c", "umount /boot; systemctl restart fullmetal-agent"]).unwrap();
}

fn power_goes_when_it_is_armed(site: &mut Site) {
    site.publish(&[]);
    let action = site.decide(&[]);
    site.until("it is armed", |host| host.on_trial().is_some());
    site.bench.hosts[0].device.cut_power().unwrap();
    let release = site.release;
    site.ends(action, "succeeded", release);
}

fn power_goes_while_it_goes_down(site: &mut Site) {
    site.publish(&[]);
    let action = site.decide(&[]);
    site.until("it goes down", |host| {
        let state = host.device.command(&["systemctl", "is-system-running"]).and_then(|mut c| Ok(c.output()?));
        host.on_trial().is_some() && state.is_ok_and(|state| state.stdout.starts_with(b"stopping"))
    });
    site.bench.hosts[0].device.cut_power().unwrap();
    let release = site.release;
    site.ends(action, "succeeded", release);
}

fn power_goes_in_its_first_boot(site: &mut Site) {
    site.publish(&[]);
    let (action, release) = (site.decide(&[]), site.release);
    let before = site.host().device.boots().len();
    site.until("it boots", |host| host.system() == release);
    site.bench.hosts[0].device.cut_power().unwrap();
    let (_, boots) = site.ends_since(before, action, "succeeded", release);
    assert_eq!(boots, [FIRST_TRY, (1, Some(1))]);
}

/// It takes the trial up and comes no further, however often it is started.
fn its_agent_ends_again_and_again(site: &mut Site) {
    let runs = site.host().system();
    let agent = "[Service]\nExecStartPre=/usr/bin/touch /run/fullmetal/trial-taken\nExecStart=\nExecStart=/bin/false\n\
                 RestartSec=10ms\n";
    let timer = "[Timer]\nOnBootSec=\nOnBootSec=2s\nOnUnitInactiveSec=2s\nAccuracySec=1ms\n";
    site.publish(&[
        ("usr/etc/systemd/system/fullmetal-agent.service.d/ends.conf", agent, 0o644),
        ("usr/etc/systemd/system/fullmetal-fallback.timer.d/soon.conf", timer, 0o644),
        ("usr/lib/systemd/system/sysinit.target.d/wants.conf", "[Unit]\nWants=fullmetal-fallback.timer\n", 0o644),
    ]);
    let action = site.decide(&[]);
    let (reason, boots) = site.ends(action, "failed", runs);
    assert_eq!(boots, [FIRST_TRY, (1, Some(1)), (1, Some(0)), (2, Some(0))]);
    assert!(reason.contains("rolled back by the boot loader"), "{reason}");
}

fn another_comes_while_it_is_on_trial(site: &mut Site) {
    site.publish(&[]);
    let (first, release) = (site.decide(&[]), site.release);
    site.until("it boots", |host| host.system() == release);
    site.publish(&[]);
    let second = site.decide(&[]);
    site.bench.end_of(second);
    site.bench.ended.push((first, "succeeded"));
    site.ends(second, "succeeded", release + 1);
}

fn back_to_the_floor_and_not_below(site: &mut Site) {
    let below = site.publish(&[]);
    let floor = site.publish(&[]);
    let number = site.release;
    site.publish_above(Some(number), &[]);
    let action = site.decide(&[]);
    site.ends(action, "succeeded", number + 1);
    let action = site.decide_commit(&floor);
    site.ends(action, "succeeded", number);
    let action = site.decide_commit(&below);
    let (reason, boots) = site.ends(action, "failed", number);
    assert_eq!(boots, []);
    assert!(reason.contains(&number.to_string()), "{reason}");
}

#[test]
fn an_operating_system_is_proven_or_it_and_its_apps_are_back() {
    let mut site = Site::new(2);
    for case in [proven, etc_cannot_be_merged, kernel_hangs, fails_a_check, an_app_of_it_fails] {
        case(&mut site);
    }
    // The other device was told the same, and no app of it failed.
    site.the_other_has_the_newest();
}

#[test]
fn no_cut_no_full_disk_and_no_haste_leaves_an_operating_system_half_installed() {
    let mut site = Site::new(1);
    for case in [
        no_room_in_boot,
        power_goes_when_it_is_armed,
        power_goes_while_it_goes_down,
        power_goes_in_its_first_boot,
        its_agent_ends_again_and_again,
        another_comes_while_it_is_on_trial,
        back_to_the_floor_and_not_below,
    ] {
        case(&mut site);
    }
}
