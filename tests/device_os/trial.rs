//! What the tests of the boot loader do on the device; each is run by its outer half.

use crate::inside::{deployments, sh, sysroot, version_with};
use fullmetal::boot_loader::{BootLoader, DeploymentId, Kind, Places, State, Tries, booted, detect, entry};
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
    sysroot().stage(&commit).unwrap();
    let staged = deployments().into_iter().find(|d| d.staged).unwrap();
    let new = DeploymentId { commit, serial: staged.serial.try_into().unwrap() };
    loader().arm(&new, Tries::new(3).unwrap()).unwrap();
    sysroot().finalize(&commit).unwrap();
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
    sysroot().boot_next(&old.commit).unwrap();
    sysroot().drop_all_but(&[]).unwrap();
    assert_eq!(deployments(), [old]);
    loader().clear().unwrap();
    assert_eq!(loader().counted().unwrap(), None);
}
