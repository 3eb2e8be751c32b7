//! A machine's disk: one partition, ext4 as GRUB writes to it, with the sysroot of OSTree on it.

use crate::lab::output_of;
use anyhow::Context as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the partition begins, in bytes.
const PARTITION: u64 = 1 << 20;
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

/// A file system that is mounted until it is dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a disk's partition at `at`.
    pub(super) fn of(disk: &Path, at: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(at)?;
        let options = format!("loop,offset={PARTITION}");
        output_of(Command::new("mount").args(["-o", &options]).arg(disk).arg(at))?;
        Ok(Mounted(at.to_owned()))
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = output_of(Command::new("umount").arg(&self.0)) {
            eprintln!("{error:#}");
        }
    }
}

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

/// What `e2fsck` says of the partition of a disk that nobody uses, and whose journal has been replayed.
pub(super) fn check(image: &Path) -> anyhow::Result<()> {
    let at = format!("{}?offset={PARTITION}", image.display());
    output_of(Command::new("e2fsck").args(["-f", "-n"]).arg(at)).context("the file system is not whole").map(|_| ())
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
