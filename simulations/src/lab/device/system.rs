//! Devices whose root is an OSTree deployment, as devices with updates of their operating system have it.
//!
//! The system is the devices' base with what a device was given, committed once and hardlinked from then on. libostree
//! deploys it, and its own `ostree-prepare-root` puts the root together at each boot. Only the boot loader is played, by
//! [`loader`].

use super::base::LEFT_OUT;
use super::init::{LAB, bound, mounted, plain};
use super::loader::{self, Loader, LoaderBoot};
use super::{Device, DeviceStage};
use crate::lab::output_of;
use anyhow::Context as _;
use rustix::fs::{FlockOperation, IFlags, flock, ioctl_getflags, ioctl_setflags};
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What libostree calls the operating system of all devices.
const OS_NAME: &str = "lab";
/// In the device's directory: the file system on which its root is deployed.
pub(super) const SYSROOT: &str = "sysroot";
/// In the device's directory: what the boot loader has started the kernel with.
const COMMAND_LINE: &str = "cmdline";
/// The base as a commit.
pub(super) const BASE_REF: &str = "base";
/// Where the only kernel is, which is nothing that could be booted unless a version has another.
pub const KERNEL_DIR: &str = "usr/lib/modules/6.1.0-lab";
/// Where a deployed system's directories of `/` lead that are not its own.
const LINKS: [(&str, &str); 8] = [
    ("home", "var/home"),
    ("root", "var/roothome"),
    ("srv", "var/srv"),
    ("mnt", "var/mnt"),
    ("opt", "var/opt"),
    ("media", "run/media"),
    ("ostree", "sysroot/ostree"),
    ("usr/lib/tmpfiles.d/lab.conf", "../../share/lab/tmpfiles"),
];
/// What a deployed system has as a place to mount at, or for what is not of the system.
const EMPTY: [&str; 8] = ["boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"];
/// What an integrator puts into a tree for GRUB, as docs/integrators-os.md says, unless our package did.
const FOR_GRUB: [(&str, &str, u32); 2] = [
    ("usr/lib/fullmetal/fullmetal-grub", include_str!("../../../../boot/grub/fullmetal-grub"), 0o755),
    (
        "usr/lib/systemd/system/ostree-finalize-staged.service.d/fullmetal.conf",
        include_str!("../../../../systemd/ostree-finalize-staged.service.d/fullmetal.conf"),
        0o644,
    ),
];
/// The journal outlives a boot where there is a place for it, and remains small.
const JOURNAL_SETTINGS: (&str, &str, u32) =
    ("usr/lib/systemd/journald.conf.d/lab.conf", "[Journal]\nSystemMaxUse=16M\n", 0o644);
const JOURNAL: &str = "/var/log/journal";
/// How whatever has libostree write the loader's entries is started.
pub(super) const GENERATES: &str = "--setenv=OSTREE_GRUB2_EXEC=/usr/lib/fullmetal/fullmetal-grub";
/// Of `/etc/fullmetal` this is the package's; the rest is each device's own.
const PACKAGED_SETTINGS: &str = "fullmetal.d/10-device.toml";
/// What is in `/var` before anything is written there.
const TMPFILES: &str = "d /var/log 0755\nd /var/lib 0755\nd /var/lib/private 0700\nd /var/home 0755\n\
    d /var/roothome 0700\nd /var/tmp 1777\nd /var/cache 0755\nL /var/run - - - - /run\nL /var/lock - - - - /run/lock\n";

/// A repository beside the base that holds it as a commit, made if need be.
pub(super) fn repository(base: &Path) -> anyhow::Result<PathBuf> {
    let repo = base.with_extension("repo");
    let lock = File::create(base.with_file_name("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for the system of the devices")?;
    if !repo.is_dir() {
        let (new, tree) = (base.with_extension("repo.new"), base.with_extension("tree"));
        for left in [&new, &tree] {
            let _ = fs::remove_dir_all(left);
        }
        output_of(Command::new("cp").args(["-a", "--link"]).arg(base).arg(&tree))?;
        shape(&tree)?;
        output_of(ostree(&new).args(["init", "--mode=bare"]))?;
        commit(&new, BASE_REF, &[format!("dir={}", tree.display())])?;
        fs::remove_dir_all(&tree)?;
        fs::rename(&new, &repo).context("naming the repository of the devices' system")?;
    }
    Ok(repo)
}

/// Makes a tree that OSTree can deploy of a Debian.
fn shape(tree: &Path) -> anyhow::Result<()> {
    let links = LINKS.iter().map(|(link, _)| *link);
    for old in EMPTY.into_iter().chain(links).chain(["debootstrap"]).chain(LEFT_OUT) {
        let _ = fs::remove_dir_all(tree.join(old));
    }
    fs::rename(tree.join("etc"), tree.join("usr/etc")).context("moving etc")?;
    for new in EMPTY.into_iter().chain(["usr/share/lab", KERNEL_DIR]) {
        fs::create_dir_all(tree.join(new)).with_context(|| format!("making {new}"))?;
    }
    fs::write(tree.join("usr/share/lab/tmpfiles"), TMPFILES)?;
    for (link, target) in LINKS {
        symlink(target, tree.join(link)).with_context(|| format!("linking {link}"))?;
    }
    for (file, bytes) in [("vmlinuz", "a kernel\n"), ("initramfs.img", "a first file system\n")] {
        fs::write(tree.join(KERNEL_DIR).join(file), bytes)?;
    }
    Ok(())
}

pub(super) fn ostree(repo: &Path) -> Command {
    let mut command = Command::new("ostree");
    command.arg(format!("--repo={}", repo.display()));
    command
}

fn admin(sysroot: &Path, what: &str) -> Command {
    let mut command = Command::new("ostree");
    command.args(["admin", what]).arg(format!("--sysroot={}", sysroot.display()));
    command
}

/// Commits trees, the later above the earlier; the commit's hash.
fn commit(repo: &Path, branch: &str, trees: &[String]) -> anyhow::Result<String> {
    let mut command = ostree(repo);
    command.args(["commit", "--no-bindings", "-b", branch]).args(trees.iter().map(|tree| format!("--tree={tree}")));
    Ok(output_of(&mut command)?.trim().to_owned())
}

impl Device {
    /// Gives a device that is off a root that OSTree deployed: of its base and of what it was given so far.
    ///
    /// # Errors
    /// When libostree cannot deploy it.
    pub fn deploy(&mut self) -> anyhow::Result<()> {
        let layer = self.dir.join("layer");
        lay(&self.files(), &layer)?;
        self.deploy_what(|store| {
            commit(store, "first", &[format!("ref={BASE_REF}"), format!("dir={}", layer.display())])
        })?;
        fs::remove_dir_all(&layer).context("removing what is committed")
    }

    /// The same of a commit that a repository has; what is the device's alone stays with it.
    ///
    /// # Errors
    /// The same.
    pub fn deploy_from(&mut self, repo: &Path, commit: &str) -> anyhow::Result<()> {
        self.deploy_what(|store| pull(store, repo, commit))
    }

    fn deploy_what(&mut self, brought: impl FnOnce(&Path) -> anyhow::Result<String>) -> anyhow::Result<()> {
        let sysroot = self.dir.join(SYSROOT);
        fs::create_dir_all(&sysroot)?;
        let settled = Settled { sysroot: &sysroot, scratch: &self.dir, arguments: &["rw"], loader: Loader::Grub };
        settled.make(&self.stage.base, &self.files(), brought)?;
        fs::create_dir_all(place(&sysroot, JOURNAL)).context("making the place of a journal that outlives a boot")?;
        if self.power.is_some() {
            rustix::fs::syncfs(File::open(&sysroot)?).context("syncing the device's disk")?;
        }
        self.stage.sysroot = Some(sysroot);
        Ok(())
    }

    /// Makes a sysroot elsewhere, of a commit that a repository has, with what is the device's alone.
    ///
    /// # Errors
    /// When libostree cannot deploy it.
    pub fn settle(&self, settled: &Settled<'_>, repo: &Path, commit: &str) -> anyhow::Result<()> {
        settled.make(&self.stage.base, &self.files(), |store| pull(store, repo, commit))
    }

    /// A variable of the boot loader's environment, as it is on the disk now.
    ///
    /// # Errors
    /// Where there is no loader, or its environment cannot be read.
    pub fn loader_variable(&self, name: &str) -> anyhow::Result<Option<String>> {
        loader::variable(self.stage.sysroot.as_deref().context("there is no boot loader")?, name)
    }
}

/// Where a system is deployed.
#[derive(Clone, Copy, Debug)]
pub struct Settled<'a> {
    /// The file system that it is on, or a directory as if it were one.
    pub sysroot: &'a Path,
    /// A directory for what is needed meanwhile.
    pub scratch: &'a Path,
    /// What the kernel is started with.
    pub arguments: &'a [&'a str],
    /// What is to boot it.
    pub loader: Loader,
}

impl Settled<'_> {
    /// The root that was deployed.
    ///
    /// # Errors
    /// When there is none.
    pub fn root(&self) -> anyhow::Result<PathBuf> {
        let deployed = fs::read_dir(self.sysroot.join("ostree/deploy").join(OS_NAME).join("deploy"))?;
        deployed.flatten().map(|entry| entry.path()).find(|path| path.is_dir()).context("nothing is deployed")
    }

    fn make(
        &self,
        base: &Path,
        given: &Path,
        brought: impl FnOnce(&Path) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let repo = repository(base)?;
        let (sysroot, generator) = (self.sysroot, self.scratch.join("generator"));
        output_of(admin(sysroot, "init-fs").arg("--modern").arg(sysroot))?;
        output_of(admin(sysroot, "os-init").arg(OS_NAME))?;
        loader::install(self.loader, sysroot)?;
        let store = sysroot.join("ostree/repo");
        pull(&store, &repo, BASE_REF)?;
        let commit = brought(&store)?;
        let (_, text, mode) = FOR_GRUB[0];
        fs::write(&generator, text)?;
        fs::set_permissions(&generator, fs::Permissions::from_mode(mode))?;
        let mut deploy = admin(sysroot, "deploy");
        deploy.env("OSTREE_GRUB2_EXEC", generator).arg(format!("--os={OS_NAME}"));
        output_of(deploy.args(self.arguments.iter().map(|argument| format!("--karg={argument}"))).arg(&commit))?;
        let var = sysroot.join("ostree/deploy").join(OS_NAME).join("var");
        for (from, to) in [("etc/fullmetal", self.root()?.join("etc/fullmetal")), ("var", var)] {
            if given.join(from).is_dir() {
                output_of(Command::new("cp").arg("-a").arg(given.join(from)).arg(to).arg("-T"))?;
            }
        }
        Ok(())
    }
}

fn pull(store: &Path, repo: &Path, commit: &str) -> anyhow::Result<String> {
    output_of(ostree(store).args(["pull-local", "--disable-fsync"]).arg(repo).arg(commit))?;
    Ok(commit.to_owned())
}

/// The part of a tree that a device was given: without what is its alone.
pub(super) fn lay(given: &Path, layer: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(layer.join("usr"))?;
    for (from, to) in [("usr", "usr"), ("etc", "usr/etc")] {
        if given.join(from).is_dir() {
            output_of(Command::new("cp").arg("-a").arg(given.join(from)).arg(layer.join(to)).arg("-T"))?;
        }
    }
    let settings = layer.join("usr/etc/fullmetal");
    let packaged = fs::read(settings.join(PACKAGED_SETTINGS)).ok();
    let _ = fs::remove_dir_all(&settings);
    if let Some(packaged) = packaged {
        fs::create_dir_all(settings.join("fullmetal.d"))?;
        fs::write(settings.join(PACKAGED_SETTINGS), packaged)?;
    }
    for (file, text, mode) in FOR_GRUB.into_iter().chain([JOURNAL_SETTINGS]) {
        let path = layer.join(file);
        if !path.exists() {
            fs::create_dir_all(path.parent().unwrap_or(layer))?;
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// Where a file of the device lies while it is off: `/var` is of all deployments, the rest of the one that boots next.
pub(super) fn place(sysroot: &Path, path: &str) -> PathBuf {
    let path = path.trim_start_matches('/');
    match path.strip_prefix("var/") {
        Some(below) => sysroot.join("ostree/deploy").join(OS_NAME).join("var").join(below),
        None => loader::next(sysroot).unwrap_or_else(|_| sysroot.to_owned()).join(path),
    }
}

/// Puts the root together at `root`, as the first file system of a system does; `/run` is mounted then, and holds the
/// kernel's arguments.
pub(super) fn prepare(stage: &DeviceStage, sysroot: &Path, root: &Path) -> anyhow::Result<()> {
    mounted("tmpfs", Path::new("/run"), MountFlags::NOSUID | MountFlags::NODEV, "mode=755")?;
    fs::create_dir(LAB)?;
    fs::copy(stage.dir.join(COMMAND_LINE), arguments()).context("reading what the boot loader says")?;
    mounted("proc", Path::new("/proc"), plain(), "")?;
    bound(&arguments(), Path::new("/proc/cmdline"))?;
    bound(sysroot, root)?;
    // It works in a directory of this host's root meanwhile, which is of all devices that boot.
    let lock = File::create(stage.base.with_file_name("prepare.lock")).context("making the lock of booting devices")?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for another device to boot")?;
    let _ = fs::remove_dir("/sysroot.tmp");
    output_of(Command::new(stage.base.join("usr/lib/ostree/ostree-prepare-root")).arg(root))?;
    Ok(())
}

/// Has the boot loader boot, which sees the sysroot's files at the second of these paths: what the kernel is started with, for
/// [`prepare`].
pub(super) fn load(stage: &DeviceStage, disk: (&Path, &Path), boots: &mut Vec<LoaderBoot>) -> anyhow::Result<()> {
    let arguments = loader::boot(disk, boots)?;
    fs::write(stage.dir.join(COMMAND_LINE), format!("{arguments}\n")).context("writing the kernel's arguments")
}

/// The file of the kernel's arguments, before `/run` has moved to its place.
pub(super) fn arguments() -> PathBuf {
    Path::new(LAB).join("cmdline")
}

/// Makes what lies in a device's directory removable: its own disk is let go, and deployments may be changed again.
pub(super) fn loosen(device: &Path) {
    let sysroot = device.join(SYSROOT);
    if unmount(&sysroot, UnmountFlags::DETACH).is_ok() {
        return;
    }
    let deployed = sysroot.join("ostree/deploy").join(OS_NAME).join("deploy");
    for deployment in fs::read_dir(deployed).into_iter().flatten().flatten() {
        let Ok(dir) = File::open(deployment.path()) else { continue };
        if let Ok(flags) = ioctl_getflags(&dir) {
            let _ = ioctl_setflags(&dir, flags - IFlags::IMMUTABLE);
        }
    }
}
