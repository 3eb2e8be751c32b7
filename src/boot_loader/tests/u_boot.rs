use super::conformance::{Bed, conforms};
use super::fixture::{Device, deployment, tool};
use crate::boot_loader::{BootLoader, BootLoaderError, Counted, Kind, Script, Tries, UBoot, detect};
use std::collections::BTreeMap;
use std::fs;

/// Bytes of each of the two copies of the environment.
const COPY: usize = 0x4000;

/// What libostree makes of two entries.
const U_ENV: &str = "\
kernel_image=/boot/vmlinuz
bootargs=rw ostree=/ostree/boot.1/fm/kernel-of-2/0
kernel_image2=/boot/vmlinuz
bootargs2=rw ostree=/ostree/boot.1/fm/kernel-of-1/0
own=1
";

struct UBootBed {
    device: Device,
    loader: UBoot,
    script: Script,
}

/// A device whose U-Boot has run its script once.
fn bed(script: Script) -> UBootBed {
    let device = Device::new();
    device.write("env", vec![0; 2 * COPY]);
    // The tools write no environment where they find none to begin with.
    device.write("initial", "");
    let env = device.path("env").display().to_string();
    device.write("etc/fw_env.config", format!("# two copies\n{env} 0x0 {COPY:#x}\n{env} {COPY:#x} {COPY:#x}\n"));
    let bed = UBootBed { loader: UBoot::new(device.places(), script), device, script };
    let initial = bed.device.path("initial").display().to_string();
    let config = bed.device.path("etc/fw_env.config");
    let variables = match script {
        Script::Fullmetal => "board=press\nfullmetal_saved=1\n",
        Script::FullMetalUpdate => "board=press\ninit_var=1\nsuccess=1\ntrials=0\n",
    };
    tool("fw_setenv", &["-c", "-f", &initial, "-s", "-"], &config, variables);
    if script == Script::Fullmetal {
        bed.device.cmdline("rw fullmetal.loader=u-boot");
        bed.device.entry("ostree-1-fm", 1, &deployment("old"));
        bed.device.entry("ostree-2-fm", 2, &deployment("new"));
        bed.device.write("boot/loader/uEnv.txt", U_ENV);
    }
    bed
}

impl UBootBed {
    fn variables(&self) -> BTreeMap<String, String> {
        let text = tool("fw_printenv", &["-c"], &self.device.path("etc/fw_env.config"), "");
        text.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    fn set(&self, script: &str) {
        tool("fw_setenv", &["-c", "-s", "-"], &self.device.path("etc/fw_env.config"), script);
    }

    /// How often the environment was written; the copies carry it in their fifth byte.
    fn writes(&self) -> u8 {
        let bytes = fs::read(self.device.path("env")).unwrap();
        bytes[4].max(bytes[COPY + 4])
    }

    fn number(&self, name: &str) -> u8 {
        self.variables()[name].parse().unwrap()
    }
}

impl Bed for UBootBed {
    fn loader(&self) -> &dyn BootLoader {
        &self.loader
    }

    /// What the scripts do; that ours does so is shown with the real U-Boot in `tests/boot_loader.rs`.
    fn boot(&self) -> bool {
        let variables = self.variables();
        match self.script {
            Script::Fullmetal if !variables.contains_key("fullmetal_trial") => true,
            Script::Fullmetal => {
                let tries = self.number("fullmetal_tries");
                if tries > 0 {
                    self.set(&format!("fullmetal_tries={}\n", tries - 1));
                }
                tries > 0
            }
            Script::FullMetalUpdate => {
                if !variables.contains_key("init_var") {
                    self.set("success=0\ntrials=0\ninit_var=1\n");
                }
                let trials = self.number("trials");
                if self.number("success") != 1 && trials < 5 {
                    self.set(&format!("trials={}\n", trials + 1));
                }
                self.number("success") == 1 || trials < 5
            }
        }
    }
}

#[test]
fn u_boot_is_a_boot_loader() {
    let bed = bed(Script::Fullmetal);
    conforms(&bed);
    assert_eq!(bed.variables()["board"], "press", "what is the board's stays");
}

#[test]
fn u_boot_with_the_script_of_full_metal_update_is_a_boot_loader() {
    let bed = bed(Script::FullMetalUpdate);
    conforms(&bed);
    assert_eq!(bed.variables()["board"], "press");
}

#[test]
fn arming_clearing_and_giving_up_are_one_write_each_and_a_torn_one_never_was() {
    for script in [Script::Fullmetal, Script::FullMetalUpdate] {
        let bed = bed(script);
        let (new, three) = (deployment("new"), Tries::default());
        let steps: [&dyn Fn(); 3] =
            [&|| bed.loader.arm(&new, three).unwrap(), &|| bed.loader.give_up(&new).unwrap(), &|| {
                bed.loader.clear().unwrap()
            }];
        for step in steps {
            let (before, writes) = (bed.variables(), bed.writes());
            step();
            assert_ne!(bed.variables(), before);
            assert_eq!(bed.writes(), writes + 1);
            // Power that goes while the copy is written leaves a wrong checksum there.
            let mut torn = fs::read(bed.device.path("env")).unwrap();
            let newest = if torn[4] > torn[COPY + 4] { 0 } else { COPY };
            torn[newest + 5] ^= 0xff;
            bed.device.write("env", &torn);
            assert_eq!(bed.variables(), before);
            step();
        }
    }
}

#[test]
fn what_full_metal_updates_client_armed_and_proved_is_understood() {
    let bed = bed(Script::FullMetalUpdate);
    // It arms so.
    bed.set("init_var=\n");
    assert_eq!(bed.loader.counted().unwrap(), Some(Counted { trial: None, tries_left: 5 }));
    assert!(bed.boot());
    assert_eq!(bed.loader.counted().unwrap(), Some(Counted { trial: None, tries_left: 4 }));
    // And proves so.
    bed.set("success=1\n");
    assert_eq!(bed.loader.counted().unwrap(), None);
}

#[test]
fn u_boot_that_is_not_prepared_says_what_to_do() {
    let check = |bed: &UBootBed| match bed.loader.check() {
        Err(BootLoaderError::Unprepared { problem, remedy, .. }) => format!("{problem}; {remedy}"),
        other => panic!("{other:?}"),
    };
    let ready = bed(Script::Fullmetal);
    assert_eq!(ready.loader.check().unwrap(), None);
    assert_eq!(detect(&ready.device.places()).unwrap().kind, Kind::UBoot);
    ready.set("fullmetal_saved=\n");
    assert!(check(&ready).contains("saveenv"), "{}", check(&ready));
    ready.device.cmdline("rw");
    assert!(check(&ready).contains("fullmetal.cmd"), "{}", check(&ready));
    assert!(matches!(detect(&ready.device.places()), Err(BootLoaderError::Unprepared { loader: "U-Boot", .. })));

    let theirs = bed(Script::FullMetalUpdate);
    assert_eq!(theirs.loader.check().unwrap(), None);
    assert_eq!(detect(&theirs.device.places()).unwrap().kind, Kind::FullMetalUpdate);
    let env = theirs.device.path("env").display().to_string();
    // The second copy alone is no redundant environment: its flag is taken for data.
    theirs.device.write("one", fs::read(&env).unwrap());
    theirs.device.write("etc/fw_env.config", format!("{} 0x0 {COPY:#x}\n", theirs.device.path("one").display()));
    let config = theirs.device.path("etc/fw_env.config");
    let initial = theirs.device.path("initial").display().to_string();
    tool("fw_setenv", &["-c", "-f", &initial, "-s", "-"], &config, "trials=0\nsuccess=1\ninit_var=1\n");
    assert!(theirs.loader.check().unwrap().unwrap().contains("one copy"));
}

#[test]
fn a_u_env_that_does_not_lead_to_both_entries_stands_in_the_way() {
    let bed = bed(Script::Fullmetal);
    let refused = |why: &str| {
        let check = bed.loader.check();
        assert!(matches!(check, Err(BootLoaderError::Unprepared { loader: "U-Boot", .. })), "{why}: {check:?}");
    };
    for (from, to) in [
        ("kernel_image=/boot/vmlinuz", "kernel_image=/boot/vmlinuz-other"),
        ("kernel-of-2", "kernel-of-1"),
        ("kernel-of-1", "kernel-of-3"),
        ("kernel_image2=/boot/vmlinuz\n", ""),
        ("own=1", "bootargs=rw"),
        ("own=1", "ramdisk_image=/boot/initrd"),
    ] {
        bed.device.write("boot/loader/uEnv.txt", U_ENV.replace(from, to));
        refused(to);
    }
    bed.device.write("boot/loader/uEnv.txt", U_ENV.replace("=/boot/", "=/"));
    assert_eq!(bed.loader.check().unwrap(), None, "paths without /boot");
    fs::remove_file(bed.device.path("boot/loader/uEnv.txt")).unwrap();
    refused("it is not there");
}

#[test]
fn an_environment_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    let bed = bed(Script::Fullmetal);
    bed.loader.arm(&deployment("new"), Tries::default()).unwrap();
    // What is built in is read instead, where the tools know it: it says nothing of a trial.
    bed.set("fullmetal_saved=\nfullmetal_trial=\nfullmetal_tries=\n");
    let lost = bed.loader.counted();
    assert!(matches!(lost, Err(BootLoaderError::Unprepared { loader: "U-Boot", .. })), "{lost:?}");
    bed.device.write("env", vec![0xff; 2 * COPY]);
    assert!(matches!(bed.loader.counted(), Err(BootLoaderError::Program { program: "fw_printenv", .. })));
    fs::remove_file(bed.device.path("env")).unwrap();
    assert!(bed.loader.arm(&deployment("new"), Tries::default()).is_err());
}
