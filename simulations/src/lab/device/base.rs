//! The file system below all devices: Debian with systemd and runc, made once and kept in the cache directory.

use super::system;
use crate::lab::output_of;
use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const RELEASE: &str = "bookworm";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,polkitd,runc,busybox-static,procps,libostree-1-1,\
     ostree,ostree-boot,libubootenv-tool,nginx-light,curl,libfaketime";
/// Units that would reach for the kernel that the host shares, or that only cost time here.
const MASKED: &str = "systemd-sysctl.service systemd-modules-load.service sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
    proc-sys-fs-binfmt_misc.automount getty.target console-getty.service systemd-pstore.service apt-daily.timer \
    apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer";

/// What only costs time in a root that OSTree deploys.
pub const LEFT_OUT: [&str; 7] = [
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/zoneinfo",
];
/// What a site's machines have by hand, and no device starts by itself.
const DISABLED: &str = "etc/systemd/system/multi-user.target.wants/nginx.service";

/// Where it is, made if need be; another recipe makes another one.
pub fn made() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).context("HOME is not set")?;
    let dir = cache.join("fullmetal/devices");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let hash = Sha256::digest(format!("{RELEASE} {PACKAGES} {MASKED} {DISABLED} {LEFT_OUT:?}"));
    let base = dir.join(format!("base-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]));
    // Tests run side by side: one makes it, the others wait.
    let lock = File::create(dir.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for the base of the devices")?;
    sweep(&dir);
    if !base.is_dir() {
        make(&base)?;
    }
    Ok(base)
}

fn make(base: &Path) -> anyhow::Result<()> {
    eprintln!("making the base of the devices in {} (once)", base.display());
    let new = base.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("removing {}", new.display()))?;
    }
    // A thread that lives at a site of its own has no way to Debian; the program as a whole has.
    let mut debootstrap = Command::new("nsenter");
    debootstrap.arg(format!("--net=/proc/{}/ns/net", std::process::id())).arg("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), RELEASE]).arg(&new);
    output_of(&mut debootstrap).context("debootstrap (`.ci/install-tools run` installs it)")?;
    for unit in MASKED.split_whitespace() {
        let link = new.join("etc/systemd/system").join(unit);
        let _ = fs::remove_file(&link);
        symlink("/dev/null", &link).with_context(|| format!("masking {unit}"))?;
    }
    fs::remove_file(new.join(DISABLED)).with_context(|| format!("removing {DISABLED}"))?;
    fs::write(new.join("etc/machine-id"), "")?;
    fs::write(new.join("etc/fstab"), "")?;
    let _ = fs::remove_file(new.join("etc/hostname"));
    fs::rename(&new, base).context("naming the base of the devices")
}

/// Removes the devices of test programs that are gone.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("device-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            system::loosen(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
