//! What the tests of the boot loader do on the device; each is run by its outer half.

use crate::inside::{deployments, sh, sysroot, version_with};
use fullmetal::boot_loader::{BootLoader, Kind, Places, State, Tries, booted, detect, entry};
use fullmetal_proto::Digest;

/// Hangs before the agent: it says so, and the watchdog bites.
const HANGS: [(&str, &str); 2] = [
    (
        "usr/lib/systemd/system/hangs.service",
        "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n\
         [Service]\nType=oneshot\nExecStart=sh -c 'touch /run/lab/hung; sleep infinity'\n",
    ),
    ("usr/lib/systemd/system/sysinit.target.d/hangs.conf", "[Unit]\nRequires=hangs.service\n"),
];

/// Ends in emergency mode, with what our package has for that.
const IN_EMERGENCY: [(&str, &str); 4] = [
    (
        "usr/lib/systemd/system/fails.service",
        "[Unit]\nDefaultDependencies=no\nOnFailure=emergency.target\nOnFailureJobMode=replace-irreversibly\n\
         [Service]\nType=oneshot\nExecStart=false\n",
    ),
    ("usr/lib/systemd/system/sysinit.target.d/fails.conf", "[Unit]\nRequires=fails.service\n"),
    FALLBACK,
    (
        "usr/lib/systemd/system/emergency.target.d/fullmetal.conf",
        include_str!("../../systemd/emergency.target.d/fullmetal.conf"),
    ),
];

/// Comes up, but no agent of it takes the trial up; the limit of time is none.
const WITHOUT_AGENT: [(&str, &str); 4] = [
    FALLBACK,
    ("usr/lib/systemd/system/fullmetal-fallback.timer", include_str!("../../systemd/fullmetal-fallback.timer")),
    (
        "usr/lib/systemd/system/fullmetal-fallback.timer.d/soon.conf",
        "[Timer]\nOnBootSec=\nOnBootSec=1ms\nAccuracySec=1ms\n",
    ),
    ("usr/lib/systemd/system/sysinit.target.d/wants.conf", "[Unit]\nWants=fullmetal-fallback.timer\n"),
];

const FALLBACK: (&str, &str) =
    ("usr/lib/systemd/system/fullmetal-fallback.service", include_str!("../../systemd/fullmetal-fallback.service"));

fn places() -> Places {
    Places::below("/")
}

fn loader() -> Box<dyn BootLoader> {
    let found = detect(&places()).unwrap();
    assert_eq!(found.kind, Kind::Grub);
    found.loader
}

/// Puts a version on trial as the agent does.
fn arm(commit: Digest) {
    let new = sysroot().stage(&commit).unwrap();
    loader().arm(&new, Tries::new(3).unwrap()).unwrap();
    sysroot().finalize(&new).unwrap();
    assert_eq!(loader().counted().unwrap().unwrap().trial, Some(new));
}

#[test]
#[ignore = "runs on a device"]
fn its_loader_can_count() {
    assert_eq!(loader().check().unwrap(), None);
    assert_eq!(loader().counted().unwrap(), None);
}

#[test]
#[ignore = "runs on a device"]
fn one_that_hangs_before_the_agent_is_armed() {
    arm(version_with("6", 6, &HANGS));
}

#[test]
#[ignore = "runs on a device"]
fn one_that_ends_in_emergency_mode_is_armed() {
    arm(version_with("8", 8, &IN_EMERGENCY));
}

#[test]
#[ignore = "runs on a device"]
fn one_without_an_agent_is_armed() {
    arm(version_with("9", 9, &WITHOUT_AGENT));
}

#[test]
#[ignore = "runs on a device"]
fn one_whose_kernel_is_lost_is_armed() {
    arm(version_with("7", 7, &[]));
    let first = "$(sed -n 's/^ *linux \\([^ ]*\\).*/\\1/p' /boot/grub/grub.cfg | head -n 1)";
    sh(&format!("rm {first}"));
}

#[test]
#[ignore = "runs on a device"]
fn the_loader_fell_back() {
    let counted = loader().counted().unwrap();
    let state = State::of(counted.clone(), booted(&places()).as_ref(), entry(&places()).unwrap());
    assert_eq!(state, State::FellBack(counted.unwrap()));
    // What runs is to be first among the entries before nothing is counted any more.
    let old = deployments().into_iter().find(|d| d.booted).unwrap();
    sysroot().put_first(&[old.id]).unwrap();
    sysroot().drop_all_but(&[]).unwrap();
    assert_eq!(deployments(), [old]);
    loader().clear().unwrap();
    assert_eq!(loader().counted().unwrap(), None);
}
