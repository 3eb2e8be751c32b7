//! Real boot loaders, GRUB and U-Boot, in qemu: they count down what was armed on their disk, and fall back.
//!
//! Their entries are written by the real libostree. No kernel is started: what a loader would start, and with which command line,
//! it says on the serial line, and ends.
//! Needs root for loop mounts; `.ci/install-tools run` installs the loaders and qemu.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "boot_loader/grub.rs"]
mod grub;
#[path = "boot_loader/machine.rs"]
mod machine;
#[path = "boot_loader/sysroot.rs"]
mod sysroot;
#[path = "boot_loader/u_boot.rs"]
mod u_boot;

use fullmetal::boot_loader::{BootLoader, Counted, DeploymentId, Kind, Places, State, Tries, booted, detect, entry};
use fullmetal_proto::Digest;
use machine::Boot;
use std::path::Path;

fn deployment(name: &str) -> DeploymentId {
    DeploymentId { commit: Digest::of(name.as_bytes()), serial: 0 }
}

/// A device that can be switched on, and whose files can be looked at while it is off.
trait Device {
    /// Boots; the command line that the kernel would get is in `proc/cmdline` afterwards.
    fn boot(&self, disk: Disk) -> Boot;
    /// Calls `work` with the directory below which the device's files are.
    fn off(&self, work: &mut dyn FnMut(&Path));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Writable,
    /// The loader cannot count on it.
    ReadOnly,
}

fn with_loader(device: &dyn Device, kind: Kind, mut work: impl FnMut(&dyn BootLoader)) {
    device.off(&mut |root| {
        let found = detect(&Places::below(root)).unwrap();
        assert_eq!(found.kind, kind);
        work(&*found.loader);
    });
}

fn boots(device: &dyn Device, expected: &[Boot]) {
    for (number, expected) in expected.iter().enumerate() {
        assert_eq!(device.boot(Disk::Writable), *expected, "boot {number} of {expected:?}");
    }
}

/// The whole way; the first entry boots `new`, the second `old`.
fn counts_down_and_falls_back(device: &dyn Device, kind: Kind) {
    use Boot::{First, Second};
    let new = deployment("new");
    let counted = |tries_left| Some(Counted { trial: Some(new), tries_left });
    device.off(&mut |root| assert!(detect(&Places::below(root)).is_err(), "it has not booted yet"));
    // A first boot that cannot write proves nothing.
    assert_eq!(device.boot(Disk::ReadOnly), First);
    with_loader(device, kind, |loader| assert!(loader.check().is_err()));
    boots(device, &[First, First]);

    with_loader(device, kind, |loader| {
        loader.check().unwrap();
        loader.arm(&new, Tries::new(2).unwrap()).unwrap();
    });
    assert_eq!(device.boot(Disk::ReadOnly), Second, "what cannot be counted is not tried");
    boots(device, &[First]);
    with_loader(device, kind, |loader| assert_eq!(loader.counted().unwrap(), counted(1)));
    let said = |words: &str, expected: bool| {
        device.off(&mut |root| {
            let cmdline = std::fs::read_to_string(root.join("proc/cmdline")).unwrap();
            assert_eq!(cmdline.contains(words), expected, "{words}: {cmdline}");
        });
    };
    said(" fullmetal.entry=1 panic=10 rd.emergency=reboot fullmetal.counted", true);
    boots(device, &[First, Second, Second]);
    said(" fullmetal.entry=2", true);
    said("panic=", false);
    with_loader(device, kind, |loader| {
        let state = State::of(loader.counted().unwrap(), Some(&deployment("old")), None);
        assert_eq!(state, State::FellBack(counted(0).unwrap()));
        loader.clear().unwrap();
    });
    boots(device, &[First]);
    with_loader(device, kind, |loader| loader.give_up(&new).unwrap());
    boots(device, &[Second]);
    device.off(&mut |root| assert_eq!(booted(&Places::below(root)), None, "there is no sysroot here"));
}

#[test]
fn grub_counts_down_what_was_armed_and_falls_back() {
    counts_down_and_falls_back(&grub::Grub::new(), Kind::Grub);
}

#[test]
fn grub_boots_the_second_entry_when_the_first_cannot_be_loaded() {
    let device = grub::Grub::new();
    boots(&device, &[Boot::First]);
    device.off(&mut |root| std::fs::remove_file(root.join(device.kernels.new.trim_start_matches('/'))).unwrap());
    with_loader(&device, Kind::Grub, |loader| loader.arm(&deployment("new"), Tries::default()).unwrap());
    assert_eq!(device.boot(Disk::Writable), Boot::Second);
    device.off(&mut |root| {
        let places = Places::below(root);
        let counted = detect(&places).unwrap().loader.counted().unwrap();
        assert_eq!(counted.as_ref().map(|counted| counted.tries_left), Some(2));
        let state = State::of(counted.clone(), Some(&deployment("old")), entry(&places).unwrap());
        assert_eq!(state, State::FellBack(counted.unwrap()));
    });
}

#[test]
fn u_boot_counts_down_what_was_armed_and_falls_back() {
    counts_down_and_falls_back(&u_boot::UBoot::new(), Kind::UBoot);
}

#[test]
fn u_boot_boots_the_second_entry_when_the_first_cannot_be_loaded() {
    let device = u_boot::UBoot::new();
    boots(&device, &[Boot::First]);
    device.lose_kernel();
    boots(&device, &[Boot::Second, Boot::Second]);
}
