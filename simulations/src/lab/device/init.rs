//! What runs before systemd does: first outside, in the device's control groups; then as process 1 of the device, which
//! makes its file system and becomes systemd.
//!
//! The kernel is the host's: its settings (`/proc/sys`, but the network's own) and `/sys` are read-only, else systemd would
//! write them. Each boot has a boot id of its own, as programs compare it.

use super::groups::{self, hierarchies};
use super::system;
use crate::lab::{net, output_of};
use anyhow::Context as _;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::mount::{mount, mount_bind, mount_change, mount_move, mount_remount, unmount};
use rustix::process::{chdir, pivot_root};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What only the lab puts there, as a device sees it.
pub(super) const LAB: &str = "/run/lab";

/// One stage of a device's way to its systemd.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceStage {
    /// Process 1 of the device already.
    #[arg(long)]
    pub(super) init: bool,
    /// Its host name.
    #[arg(long)]
    pub(super) name: String,
    /// Its control group.
    #[arg(long)]
    pub(super) group: String,
    /// The second version of control groups alone.
    #[arg(long)]
    pub(super) second: bool,
    /// The file system below.
    #[arg(long)]
    pub(super) base: PathBuf,
    /// What is its own.
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// Programs of the host that it sees.
    #[arg(long = "program")]
    pub(super) programs: Vec<PathBuf>,
    /// The network namespace that it lives in; a lone one of its own where there is none.
    #[arg(long)]
    pub(super) netns: Option<String>,
    /// The file system on which OSTree deployed its root; else that is the one below with what is its own.
    #[arg(long)]
    pub(super) sysroot: Option<PathBuf>,
    /// The image of a disk of its own for what Fullmetal keeps.
    #[arg(long)]
    pub(super) disk: Option<PathBuf>,
}

impl DeviceStage {
    pub(super) fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |key: &str, value: &Path| args.extend([key.into(), value.into()]);
        add("--name", Path::new(&self.name));
        add("--group", Path::new(&self.group));
        add("--base", &self.base);
        add("--dir", &self.dir);
        self.programs.iter().for_each(|program| add("--program", program));
        self.netns.iter().for_each(|netns| add("--netns", Path::new(netns)));
        self.sysroot.iter().for_each(|sysroot| add("--sysroot", sysroot));
        self.disk.iter().for_each(|disk| add("--disk", disk));
        for (on, flag) in [(self.init, "--init"), (self.second, "--second")] {
            args.extend(on.then(|| flag.into()));
        }
        args
    }
}

/// Goes on to the next stage; returns only when that fails.
///
/// # Errors
/// What could not be prepared.
pub fn stage(stage: &DeviceStage) -> anyhow::Result<()> {
    if stage.init {
        prepare(stage)?;
        // The clock is the host's, too.
        remove_capability_from_bounding_set(CapabilitySet::SYS_TIME).context("leaving the host's clock alone")?;
        let mut systemd = Command::new("/lib/systemd/systemd");
        systemd.env_clear().env("container", "fullmetal-lab").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        systemd.args(["--unit=multi-user.target", "--log-target=journal", "--show-status=no"]);
        return Err(systemd.exec()).context("becoming systemd");
    }
    groups::enter(&stage.group, stage.second)?;
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "-p", "-u", "-i", "-C", "-f", "--kill-child=KILL", "--propagation", "private"]);
    match &stage.netns {
        Some(netns) => net::enter(netns)?,
        None => drop(unshare.arg("-n")),
    }
    unshare.arg(std::env::current_exe()?).arg("device");
    unshare.args(DeviceStage { init: true, ..stage.clone() }.args());
    Err(unshare.exec()).context("running unshare")
}

pub(super) fn plain() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC
}

pub(super) fn mounted(kind: &str, at: &Path, flags: MountFlags, data: &str) -> anyhow::Result<()> {
    let data = CString::new(data)?;
    mount(kind, at, kind, flags, data.as_c_str()).with_context(|| format!("mounting {kind} at {}", at.display()))
}

pub(super) fn bound(from: &Path, to: &Path) -> anyhow::Result<()> {
    mount_bind(from, to).with_context(|| format!("binding {} to {}", from.display(), to.display()))
}

fn read_only(at: &Path) -> anyhow::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | plain();
    mount_remount(at, flags, c"").with_context(|| format!("making {} read-only", at.display()))
}

fn prepare(stage: &DeviceStage) -> anyhow::Result<()> {
    rustix::system::sethostname(stage.name.as_bytes()).context("naming the device")?;
    let (root, dir) = (stage.dir.join("root"), stage.dir.display());
    match &stage.sysroot {
        Some(sysroot) => system::prepare(stage, sysroot, &root)?,
        None => {
            let data = format!("lowerdir={},upperdir={dir}/upper,workdir={dir}/work", stage.base.display());
            mounted("overlay", &root, MountFlags::empty(), &data)?;
        }
    }
    if let Some(disk) = &stage.disk {
        let at = root.join("var/lib/fullmetal");
        fs::create_dir_all(&at)?;
        // Its loop device goes with the mount.
        output_of(Command::new("mount").args(["-o", "loop"]).arg(disk).arg(at))?;
    }
    kernel(&root)?;
    control_groups(&root.join("sys/fs/cgroup"), stage.second)?;
    devices(&root.join("dev"))?;
    let lab = root.join(LAB.trim_start_matches('/'));
    mounted("tmpfs", &root.join("tmp"), MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?;
    if stage.sysroot.is_some() {
        bound(&system::arguments(), &root.join("proc/cmdline"))?;
        mount_move("/run", root.join("run")).context("moving /run")?;
    } else {
        mounted("tmpfs", &root.join("run"), MountFlags::NOSUID | MountFlags::NODEV, "mode=755")?;
        fs::create_dir(&lab)?;
    }
    fs::copy("/proc/sys/kernel/random/uuid", lab.join("boot_id")).context("making a boot id")?;
    bound(&lab.join("boot_id"), &root.join("proc/sys/kernel/random/boot_id"))?;
    // `ProtectKernelTunables=` has the kernel's own seen again, and then the journal has no entries of this boot.
    let within = root.join("run/systemd/system.control/fullmetal-agent.service.d");
    fs::create_dir_all(&within)?;
    fs::write(
        within.join("lab.conf"),
        "[Service]\nBindReadOnlyPaths=/run/lab/boot_id:/proc/sys/kernel/random/boot_id\n",
    )?;
    for program in &stage.programs {
        let seen = lab.join(program.file_name().unwrap_or_default());
        File::create(&seen)?;
        bound(program, &seen)?;
    }
    chdir(&root).context("entering the device")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("leaving the host's mounts")?;
    pivot_root(".", ".").context("changing the root")?;
    unmount(".", UnmountFlags::DETACH).context("letting go of the host's mounts")?;
    chdir("/").context("entering the device")
}

fn kernel(root: &Path) -> anyhow::Result<()> {
    let (proc, sys) = (root.join("proc"), root.join("proc/sys"));
    mounted("proc", &proc, plain(), "")?;
    bound(&sys, &sys)?;
    read_only(&sys)?;
    // The settings of its own network namespace.
    let aside = root.join("tmp");
    mounted("proc", &aside, plain(), "")?;
    bound(&aside.join("sys/net"), &sys.join("net"))?;
    unmount(&aside, UnmountFlags::DETACH).context("unmounting")?;
    mounted("sysfs", &root.join("sys"), plain() | MountFlags::RDONLY, "")
}

fn control_groups(at: &Path, second: bool) -> anyhow::Result<()> {
    let all = hierarchies()?;
    if second || all.iter().all(groups::Hierarchy::is_second) {
        return mounted("cgroup2", at, plain(), "");
    }
    mounted("tmpfs", at, plain(), "mode=755")?;
    for hierarchy in all {
        let named = hierarchy.mounted.file_name().unwrap_or_default();
        let (kind, options) = match hierarchy.is_second() {
            true => ("cgroup2", String::new()),
            false if hierarchy.options[0].starts_with("name=") => {
                ("cgroup", format!("none,{}", hierarchy.options.join(",")))
            }
            false => ("cgroup", hierarchy.options.join(",")),
        };
        fs::create_dir(at.join(named))?;
        mounted(kind, &at.join(named), plain(), &options)?;
    }
    Ok(())
}

fn devices(dev: &Path) -> anyhow::Result<()> {
    mounted("tmpfs", dev, MountFlags::NOSUID, "mode=755")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        File::create(dev.join(name))?;
        bound(&Path::new("/dev").join(name), &dev.join(name))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    mounted(
        "devpts",
        &dev.join("pts"),
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "newinstance,ptmxmode=0666,mode=620,gid=5",
    )?;
    mounted("tmpfs", &dev.join("shm"), MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?;
    let links =
        [("pts/ptmx", "ptmx"), ("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")];
    links.iter().try_for_each(|(to, link)| symlink(to, dev.join(link))).context("linking devices")
}
