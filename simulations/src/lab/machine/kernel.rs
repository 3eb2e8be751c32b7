//! The kernels of machines: Debian's for clouds, or that which also drives their watchdog, and a first file system that does what one
//! of OSTree's must. Made once and kept beside the devices' base.

use crate::lab::device::KERNEL_DIR;
use crate::lab::output_of;
use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of them.
pub(super) struct Kernel {
    /// Beside the base.
    name: &'static str,
    /// Depends on the newest.
    package: &'static str,
    /// Modules of the package that it needs beyond [`MODULES`], each after those that it builds on.
    more: &'static [&'static str],
}

/// It starts soon.
pub(super) const OF_CLOUDS: Kernel = Kernel { name: "kernel", package: "linux-image-cloud-amd64", more: &[] };
/// It has a driver for the watchdog that qemu has.
pub(super) const WITH_WATCHDOG: Kernel = Kernel {
    name: "kernel-with-watchdog",
    package: "linux-image-amd64",
    more: &[
        "lib/crc16",
        "crypto/crc32c_generic",
        "fs/mbcache",
        "fs/jbd2/jbd2",
        "fs/ext4/ext4",
        "drivers/watchdog/watchdog",
        "drivers/watchdog/i6300esb",
    ],
};
/// What all need of their package, each after those that it builds on.
const MODULES: [&str; 10] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "fs/overlayfs/overlay",
];
const PREPARE_ROOT: &str = "usr/lib/ostree/ostree-prepare-root";
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev; $b mount -t tmpfs run /run
for m in $($b cat /modules); do $b insmod /lib/$m.ko; done
i=0; while [ ! -b /dev/vda1 ] && [ $i -lt 100 ]; do $b usleep 100000; i=$((i+1)); done
$b mount -t ext4 -o rw /dev/vda1 /sysroot || { echo 'LAB no root'; $b reboot -f; }
/bin/ostree-prepare-root /sysroot || { echo 'LAB no deployment'; $b reboot -f; }
$b mount --move /dev /sysroot/dev; $b mount --move /run /sysroot/run; $b umount /sys; $b umount /proc
exec $b switch_root /sysroot /sbin/init
"#;

/// A tree with the kernel and its first file system, for the devices' base `base`.
pub(super) fn made(kernel: &Kernel, base: &Path) -> anyhow::Result<PathBuf> {
    let made = base.with_extension(kernel.name);
    let lock = File::create(base.with_file_name("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for the machines' kernel")?;
    if !made.is_dir() {
        let new = base.with_extension(format!("{}.new", kernel.name));
        let _ = fs::remove_dir_all(&new);
        fs::create_dir_all(&new)?;
        let package = unpacked(kernel.package, &new.join("package"))?;
        make(base, &package, kernel.more, &new.join("tree"))?;
        fs::rename(new.join("tree"), &made).context("naming the machines' kernel")?;
        fs::remove_dir_all(&new)?;
    }
    Ok(made)
}

/// Makes a tree at `to` with a kernel that panics before it starts anything: that of `kernel` without a first file system, in which
/// its driver of disks is, so that it finds no root.
///
/// # Errors
/// When it cannot be written.
pub fn make_panicking(kernel: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (kernel.join(KERNEL_DIR), to.join(KERNEL_DIR));
    fs::create_dir_all(&to)?;
    fs::copy(from.join("vmlinuz"), to.join("vmlinuz")).context("copying a kernel")?;
    fs::write(to.join("initramfs.img"), "").context("making an empty first file system")
}

/// Downloads the newest package and unpacks it.
fn unpacked(package: &str, dir: &Path) -> anyhow::Result<PathBuf> {
    let files = dir.join("files");
    fs::create_dir_all(&files)?;
    let download = |name: &str| -> anyhow::Result<PathBuf> {
        // A thread that lives at a site of its own has no way to Debian; the program as a whole has.
        let apt = |what: &[&str]| {
            let mut apt = Command::new("nsenter");
            apt.arg(format!("--net=/proc/{}/ns/net", std::process::id())).arg("apt-get").args(what);
            output_of(apt.current_dir(dir))
        };
        // Its lists may be older than what there is.
        if apt(&["download", name]).is_err() {
            apt(&["update"])?;
            apt(&["download", name])?;
        }
        let is_it = |path: &PathBuf| path.to_string_lossy().contains(&format!("/{name}_"));
        let found = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).find(is_it);
        found.with_context(|| format!("apt-get downloaded no {name}"))
    };
    let needs = output_of(Command::new("dpkg-deb").arg("-f").arg(download(package)?).arg("Depends"))?;
    let name = needs.split([',', ' ']).find(|word| word.starts_with("linux-image-")).context("no kernel in it")?;
    output_of(Command::new("dpkg-deb").arg("-x").arg(download(name)?).arg(&files))?;
    Ok(files)
}

fn make(base: &Path, package: &Path, more: &[&str], tree: &Path) -> anyhow::Result<()> {
    let only = |dir: &Path, begins: &str| -> anyhow::Result<PathBuf> {
        let of = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begins));
        let found = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).find(of);
        found.with_context(|| format!("no {begins} in {}", dir.display()))
    };
    let modules = only(&package.join("lib/modules"), "")?.join("kernel");
    let (to, first) = (tree.join(KERNEL_DIR), tree.with_extension("first"));
    fs::create_dir_all(&to)?;
    fs::copy(only(&package.join("boot"), "vmlinuz-")?, to.join("vmlinuz"))?;
    for dir in ["bin", "lib", "proc", "sys", "dev", "run", "sysroot"] {
        fs::create_dir_all(first.join(dir))?;
    }
    symlink("lib", first.join("lib64"))?;
    let paths = [&MODULES, more].concat();
    let names = paths.iter().map(|module| module.rsplit('/').next().unwrap_or(module)).collect::<Vec<_>>();
    for (module, name) in paths.iter().zip(&names) {
        let from = modules.join(format!("{module}.ko"));
        fs::copy(&from, first.join(format!("lib/{name}.ko"))).with_context(|| format!("copying {}", from.display()))?;
    }
    fs::write(first.join("modules"), names.join("\n"))?;
    fs::copy(base.join("bin/busybox"), first.join("bin/busybox"))?;
    fs::copy(base.join(PREPARE_ROOT), first.join("bin/ostree-prepare-root"))?;
    let needs = output_of(Command::new("chroot").arg(base).arg("ldd").arg(Path::new("/").join(PREPARE_ROOT)))?;
    for library in needs.split_whitespace().filter(|word| word.starts_with('/')) {
        let library = base.join(library.trim_start_matches('/'));
        fs::copy(&library, first.join("lib").join(library.file_name().unwrap_or_default()))?;
    }
    fs::write(first.join("init"), INIT)?;
    fs::set_permissions(first.join("init"), fs::Permissions::from_mode(0o755))?;
    let pack = "find . | busybox cpio -o -H newc > \"$0\"";
    let image = to.join("initramfs.img");
    output_of(Command::new("sh").args(["-ec", pack]).arg(&image).current_dir(&first)).map(|_| ())
}
