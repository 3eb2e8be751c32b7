use super::conformance::{Bed, conforms};
use super::fixture::{Device, deployment, tool};
use crate::boot_loader::{BootLoader, BootLoaderError, Grub, Tries, detect};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

struct GrubBed {
    device: Device,
    loader: Grub,
}

/// A device whose GRUB is prepared as docs/integrators-os.md says.
fn bed() -> GrubBed {
    let device = Device::new();
    device.write("boot/loader/grub.cfg", "# fullmetal-grub 1\n");
    fs::create_dir_all(device.path("boot/grub")).unwrap();
    symlink("../loader/grub.cfg", device.path("boot/grub/grub.cfg")).unwrap();
    let bed = GrubBed { loader: Grub::new(device.places()), device };
    bed.editenv(&["create"]);
    bed.editenv(&["set", "fullmetal_saved=1"]);
    bed.device.cmdline("rw fullmetal.loader=grub");
    bed
}

impl GrubBed {
    fn env(&self) -> PathBuf {
        self.device.path("boot/grub/grubenv")
    }

    fn editenv(&self, args: &[&str]) -> String {
        tool("grub-editenv", args, &self.env(), "")
    }

    fn variables(&self) -> BTreeMap<String, String> {
        let list = self.editenv(&["list"]);
        list.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }
}

impl Bed for GrubBed {
    fn loader(&self) -> &dyn BootLoader {
        &self.loader
    }

    /// What the script does; that it does so is shown with the real GRUB in `tests/boot_loader.rs`.
    fn boot(&self) -> bool {
        let variables = self.variables();
        if !variables.contains_key("fullmetal_trial") {
            return true;
        }
        let tries: u8 = variables["fullmetal_tries"].parse().unwrap();
        if tries > 0 {
            self.editenv(&["set", &format!("fullmetal_tries={}", tries - 1)]);
        }
        tries > 0
    }
}

#[test]
fn grub_is_a_boot_loader() {
    conforms(&bed());
}

#[test]
fn what_others_keep_in_the_block_stays_as_it_is_and_only_one_sector_changes() {
    let bed = bed();
    bed.editenv(&["set", "saved_entry=Debian \\ and\nmore", "next_entry="]);
    let (listed, before) = (bed.variables(), fs::read(bed.env()).unwrap());
    bed.loader.arm(&deployment("new"), Tries::default()).unwrap();
    let armed = fs::read(bed.env()).unwrap();
    assert_eq!((armed.len(), &armed[512..]), (1024, &before[512..]));
    assert_ne!(armed, before);
    let variables = bed.variables();
    assert_eq!(variables["fullmetal_trial"], deployment("new").to_string());
    assert_eq!(variables["fullmetal_tries"], "3");
    bed.loader.clear().unwrap();
    assert_eq!(bed.variables(), listed);
    assert_eq!(fs::read(bed.env()).unwrap(), before, "byte for byte");
}

#[test]
fn a_block_where_a_write_would_cross_sectors_is_left_alone() {
    let bed = bed();
    bed.editenv(&["set", &format!("theirs={}", "x".repeat(300))]);
    let before = fs::read(bed.env()).unwrap();
    let error = bed.loader.arm(&deployment("new"), Tries::default()).unwrap_err();
    assert!(error.to_string().contains("too full"), "{error}");
    assert_eq!(fs::read(bed.env()).unwrap(), before);
}

#[test]
fn a_block_that_is_none_is_named() {
    let bed = bed();
    let unended = [b"# GRUB Environment Block\na=1\nfullmetal_trial=".as_slice(), &[b'#'; 979]].concat();
    for (content, problem) in
        [(b"".as_slice(), "not an environment block"), (&[b'#'; 1024], "not an"), (&unended, "no end")]
    {
        fs::write(bed.env(), content).unwrap();
        let error = bed.loader.counted().unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains("grubenv"), "{error}");
    }
}

#[test]
fn tries_that_the_script_does_not_know_are_used_up() {
    let bed = bed();
    bed.loader.arm(&deployment("new"), Tries::default()).unwrap();
    for garbage in ["", "9", "-1", "many"] {
        bed.editenv(&["set", &format!("fullmetal_tries={garbage}")]);
        assert_eq!(bed.loader.counted().unwrap().unwrap().tries_left, 0, "{garbage}");
    }
    bed.editenv(&["set", "fullmetal_trial=what somebody typed", "fullmetal_tries=2"]);
    let counted = bed.loader.counted().unwrap().unwrap();
    assert_eq!((counted.trial, counted.tries_left), (None, 2), "GRUB counts, whatever the name");
}

#[test]
fn grub_that_is_not_prepared_says_what_to_do() {
    let check = |bed: &GrubBed| match bed.loader.check() {
        Err(BootLoaderError::Unprepared { problem, remedy, .. }) => format!("{problem}; {remedy}"),
        other => panic!("{other:?}"),
    };
    let ready = bed();
    assert_eq!(ready.loader.check().unwrap(), None);
    assert!(detect(&ready.device.places()).is_ok());
    let read = ready.device.path("boot/grub/grub.cfg");
    fs::remove_file(&read).unwrap();
    fs::copy(ready.device.path("boot/loader/grub.cfg"), &read).unwrap();
    assert!(check(&ready).contains("is no link to"), "a copy would name what is gone: {}", check(&ready));
    fs::remove_file(&read).unwrap();
    symlink("../loader/grub.cfg", &read).unwrap();
    ready.device.cmdline("rw fullmetal.loader=u-boot fullmetal.loader");
    assert!(check(&ready).contains("reboot"), "{}", check(&ready));

    let unsaved = bed();
    unsaved.editenv(&["unset", "fullmetal_saved"]);
    assert!(check(&unsaved).contains("btrfs"), "{}", check(&unsaved));
    fs::remove_file(unsaved.env()).unwrap();
    assert!(check(&unsaved).contains("grub-editenv"), "{}", check(&unsaved));

    let foreign = bed();
    for config in ["# made by grub-mkconfig\n", "# fullmetal-grub 10\n", "# by hand, from\n# fullmetal-grub 1\n", ""] {
        foreign.device.write("boot/loader/grub.cfg", config);
        assert!(check(&foreign).contains("OSTREE_GRUB2_EXEC"), "{config}: {}", check(&foreign));
    }
}

/// What `fullmetal-grub` makes of entries below `boot`.
fn generated(boot: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("boot/grub/fullmetal-grub");
    let config = boot.join("loader.0/grub.cfg");
    let output = Command::new(&script).arg("-o").arg(&config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tool("grub-script-check", &[], &config, "");
    fs::read_to_string(config).unwrap()
}

#[test]
fn the_configuration_is_one_that_grub_reads_with_the_newest_deployment_first() {
    let dir = tempfile::tempdir().unwrap();
    let entries = dir.path().join("boot/loader.0/entries");
    fs::create_dir_all(&entries).unwrap();
    let entry = |version: u32, options: &str| {
        let text = format!(
            "title It's {version}\nversion {version}\noptions {options}\nlinux /ostree/fm-{version}/vmlinuz\ninitrd /ostree/fm-{version}/initrd\n"
        );
        fs::write(entries.join(format!("ostree-{version}-fm.conf")), text).unwrap();
    };
    entry(9, "rw ostree=/ostree/boot.0/fm/9/0");
    let one = generated(&dir.path().join("boot"));
    assert!(one.ends_with("set default=0\n"), "nothing to fall back to: {one}");
    entry(10, r#"rw a="b c" x=$y;{z} ostree=/ostree/boot.0/fm/10/0"#);
    let two = generated(&dir.path().join("boot"));
    assert_eq!(two.lines().next(), Some("# fullmetal-grub 1"));
    let (first, second) = (two.find("menuentry 'Its 10'").unwrap(), two.find("menuentry 'Its 9'").unwrap());
    assert!(first < second, "{two}");
    let line = r#"  linux /boot/ostree/fm-10/vmlinuz rw a="b c" x=\$y\;\{z\} ostree=/ostree/boot.0/fm/10/0 fullmetal.loader=grub"#;
    assert!(two.contains(line), "{two}");
    assert!(two.contains("  initrd /boot/ostree/fm-10/initrd\n"), "{two}");
    // What libostree 2022.7 makes of a quoted argument that it is given twice: the rest must stay readable.
    entry(10, r#"rw a="b c" c" ostree=/ostree/boot.0/fm/10/0"#);
    let odd = generated(&dir.path().join("boot"));
    assert!(odd.contains(r#" rw a=\"b c\" c\" ostree="#), "{odd}");
}

#[test]
fn all_that_an_entry_has_loaded_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let entries = dir.path().join("boot/loader.0/entries");
    fs::create_dir_all(&entries).unwrap();
    let text = "title FM\nversion 1\noptions rw ostree=/ostree/boot.0/fm/1/0\nlinux /fm/vmlinuz\ninitrd /fm/microcode\n\
        initrd\t/boot/fm/init$rd\ndevicetree /fm/press.dtb\n";
    fs::write(entries.join("ostree-1-fm.conf"), text).unwrap();
    let made = generated(&dir.path().join("boot"));
    assert!(
        made.contains("  initrd /boot/fm/microcode /boot/fm/init\\$rd\n  devicetree /boot/fm/press.dtb\n}"),
        "{made}"
    );
}
