use crate::Disk;
use crate::sysroot::Kernels;
use fullmetal_sim::lab::{output_of, wait_for};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A boot takes 1 s here.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the partition begins, in bytes; before it lies U-Boot's environment.
pub const PARTITION: u64 = 1 << 20;
const DISK_KIB: u64 = 16 * 1024;

/// Which entry a loader boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    First,
    Second,
}

/// Makes the disk `image` with one bootable partition, ext4, that holds `tree`.
pub fn make_disk(image: &Path, tree: &Path) {
    let offset = format!("offset={PARTITION}");
    let mut mkfs = Command::new("mke2fs");
    // U-Boot's ext4 wants it plain.
    mkfs.args(["-q", "-t", "ext4", "-O", "^metadata_csum,^64bit", "-E", &offset, "-d"]).arg(tree).arg(image);
    output_of(mkfs.arg(format!("{}k", DISK_KIB - PARTITION / 1024))).unwrap();
    File::options().write(true).open(image).unwrap().set_len(DISK_KIB * 1024).unwrap();
    let layout = format!("start={},type=83,bootable\n", PARTITION / 512);
    let table = image.with_extension("table");
    fs::write(&table, layout).unwrap();
    output_of(Command::new("sfdisk").arg("-q").arg(image).stdin(File::open(&table).unwrap())).unwrap();
}

/// A machine that is switched off when it is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a machine with `image` until it resets, and returns what is between `BOOTS` and `END` on its serial line: the kernel's
/// path and its command line.
pub fn run(image: &Path, disk: Disk, firmware: [&str; 2], kernels: &Kernels) -> (Boot, String) {
    let log = image.with_extension("log");
    let read_only = if disk == Disk::ReadOnly { ",readonly=on" } else { "" };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-m", "512", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    qemu.args(["-serial", &format!("file:{}", log.display())]).args(firmware);
    qemu.args(["-drive", &format!("file={},if=virtio,format=raw{read_only}", image.display())]);
    let mut machine = Machine(qemu.stdin(Stdio::null()).spawn().expect("qemu-system-x86_64"));
    let said = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let ended = wait_for("the end of a boot", LIMIT, || Ok(machine.0.try_wait()?));
    let status = ended.unwrap_or_else(|e| panic!("{e}:\n{}", said()));
    let said = said();
    assert!(status.success(), "{status}: {said}");
    // GRUB breaks lines where its terminal ends.
    let joined = said.replace(['\r', '\n'], "").replace("bootargs=", " ");
    let words = joined.split("BOOTS ").nth(1).and_then(|rest| rest.split("END").next());
    let (kernel, cmdline) = words.and_then(|words| words.split_once(' ')).unwrap_or_else(|| panic!("no boot: {said}"));
    let entry = if kernel == kernels.new {
        Boot::First
    } else {
        assert_eq!(kernel, kernels.old, "{said}");
        Boot::Second
    };
    (entry, cmdline.trim().to_owned())
}
