//! A machine's disk: one partition, ext4 as GRUB writes to it, with the sysroot of OSTree on it.

use crate::lab::output_of;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the partition begins, in bytes.
pub(super) const PARTITION: u64 = 1 << 20;
/// The image is sparse.
const DISK_MIB: u64 = 2048;
/// Debian's modules for machines with a BIOS.
const MODULES: &str = "/usr/lib/grub/i386-pc";
/// Where GRUB finds its configuration.
const EARLY: &str = "\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/boot/grub
";
const BUILT_IN: [&str; 11] = [
    "biosdisk",
    "part_msdos",
    "ext2",
    "linux",
    "loadenv",
    "serial",
    "terminal",
    "normal",
    "configfile",
    "echo",
    "test",
];

/// Makes an empty disk.
pub(super) fn make(image: &Path) -> anyhow::Result<()> {
    File::create(image)?.set_len(DISK_MIB << 20)?;
    let table = image.with_extension("table");
    fs::write(&table, format!("start={},type=83,bootable\n", PARTITION / 512))?;
    output_of(Command::new("sfdisk").arg("-q").arg(image).stdin(File::open(&table)?))?;
    let offset = format!("offset={PARTITION}");
    let mut mkfs = Command::new("mke2fs");
    mkfs.args(["-q", "-F", "-t", "ext4", "-O", "^metadata_csum,^64bit", "-E", &offset]).arg(image);
    output_of(mkfs.arg(format!("{}k", (DISK_MIB << 10) - (PARTITION >> 10)))).map(|_| ())
}

/// GRUB as a kernel, which qemu starts: no boot sector is needed.
pub(super) fn make_grub(dir: &Path) -> anyhow::Result<PathBuf> {
    let (early, core, grub) = (dir.join("early.cfg"), dir.join("core.img"), dir.join("grub"));
    fs::write(&early, EARLY)?;
    let mut mkimage = Command::new("grub-mkimage");
    mkimage.args(["-d", MODULES, "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-c"]).arg(&early);
    output_of(mkimage.arg("-o").arg(&core).args(BUILT_IN).args(["minicmd", "reboot"]))?;
    let head = fs::read(Path::new(MODULES).join("lnxboot.img"))?;
    fs::write(&grub, [head, fs::read(&core)?].concat())?;
    Ok(grub)
}
