//! Devices as machines in qemu: with GRUB or U-Boot, a kernel of their own and a disk, so that a power cut loses what was not synced.
//!
//! qemu emulates the processor: a boot takes several seconds. What a machine says goes to its serial line, the journal of its
//! programs, too.

mod disk;
mod kernel;
mod link;
pub mod u_boot;

pub use kernel::make_panicking;

use super::device::{Device, Loader, Settled};
use super::disk::Disk;
use super::net::Net;
use super::{Lost, Mark, Mounted, Said, wait_for};
use crate::sim::engine::Random;
use anyhow::{Context as _, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A boot takes at most this long.
const BOOT_MAX: Duration = Duration::from_secs(180);
const MEMORY_MIB: &str = "512";
/// The kernel's arguments beside those of OSTree and the boot loader. It would look whether its timer ticks, which the one of a
/// busy host does too late for it.
const ARGUMENTS: [&str; 6] = [
    "root=/dev/vda1",
    "rw",
    "console=ttyS0",
    "net.ifnames=0",
    "systemd.journald.forward_to_console=1",
    "no_timer_check",
];
/// What only costs time here.
const SPARED: [&str; 9] = [
    "mitigations=off",
    "audit=0",
    "apparmor=0",
    "systemd.mask=modprobe@dm_mod.service",
    "systemd.mask=modprobe@drm.service",
    "systemd.mask=modprobe@loop.service",
    "systemd.mask=systemd-update-utmp.service",
    "systemd.mask=systemd-update-utmp-runlevel.service",
    "systemd.mask=systemd-ask-password-console.path",
];
/// What a machine says on its serial line when all units are started, followed by the release of its system.
pub const UP: &str = "LAB-UP ";

/// The tree of a kernel that machines boot, to be published with the first version of their system.
///
/// # Errors
/// Without a way to Debian's packages.
pub fn kernel(device: &Device) -> anyhow::Result<PathBuf> {
    kernel::made(&kernel::OF_CLOUDS, &device.base_file("/"))
}

/// The same of one that drives the machine's watchdog, which resets it; it takes longer to start.
///
/// # Errors
/// As [`kernel`] has them.
pub fn kernel_with_watchdog(device: &Device) -> anyhow::Result<PathBuf> {
    kernel::made(&kernel::WITH_WATCHDOG, &device.base_file("/"))
}

fn firmware(loader: Loader, dir: &Path) -> anyhow::Result<(&'static str, PathBuf)> {
    match loader {
        Loader::Grub => Ok(("-kernel", disk::make_grub(dir)?)),
        Loader::UBoot => {
            let rom = dir.join("u-boot.rom");
            u_boot::firmware(&rom).map(|()| ("-bios", rom))
        }
    }
}

/// A machine; it is off when this is dropped.
#[derive(Debug)]
pub struct Machine {
    netns: String,
    number: u8,
    dir: PathBuf,
    /// What qemu is to start with, and how it is told.
    firmware: (&'static str, PathBuf),
    qemu: Option<Child>,
    disk: Disk,
    said: Said,
}

impl Machine {
    /// Makes a machine, which is off, of a device: with its files, and the root that `commit` of `repo` is. It lives in the host
    /// `name` of `net`, number `number`, whose cables it takes.
    ///
    /// # Errors
    /// Without root, qemu, the boot loader or the space for its disk.
    pub fn new(
        device: &Device,
        (net, name, number): (&Net, &str, u8),
        (repo, commit): (&Path, &str),
        loader: Loader,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        link::plug(&net.netns(name))?;
        let machine = Machine {
            netns: net.netns(name),
            number,
            firmware: firmware(loader, dir)?,
            dir: dir.to_owned(),
            qemu: None,
            disk: Disk { image: dir.join("disk"), offset: disk::PARTITION },
            said: Said::new(dir.to_owned()),
        };
        disk::make(&machine.disk.image)?;
        let mounted = machine.disk()?;
        let arguments = [&ARGUMENTS[..], &SPARED].concat();
        let settled = Settled { sysroot: mounted.path(), scratch: dir, arguments: &arguments, loader };
        device.settle(&settled, repo, commit)?;
        let root = settled.root()?;
        if loader == Loader::UBoot {
            u_boot::install(mounted.path(), &root, dir)?;
        }
        link::configure(&root.join("etc"), number)?;
        Ok(machine)
    }

    /// Its disk, while it is off.
    ///
    /// # Errors
    /// When it is on, or cannot be mounted.
    pub fn disk(&self) -> anyhow::Result<Mounted> {
        anyhow::ensure!(self.qemu.is_none(), "the machine is on");
        self.disk.mount(&self.mounted())
    }

    /// Whether its disk is whole, as `e2fsck` and `ostree fsck` see it, while it is off.
    ///
    /// # Errors
    /// What is not.
    pub fn check_disk(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.qemu.is_none(), "the machine is on");
        self.disk.check(&self.mounted())
    }

    fn mounted(&self) -> PathBuf {
        self.dir.join("mounted")
    }

    /// Switches it on, and waits for nothing.
    ///
    /// # Errors
    /// When qemu cannot be started.
    pub fn switch_on(&mut self) -> anyhow::Result<()> {
        let said = self.said.begin_boot();
        let mut qemu = Command::new("nsenter");
        qemu.arg(format!("--net=/run/netns/{}", self.netns)).args(["setpriv", "--pdeathsig", "KILL"]);
        qemu.args(["qemu-system-x86_64", "-accel", "tcg", "-m", MEMORY_MIB, "-nodefaults", "-no-user-config"]);
        // Without random numbers of the processor a boot waits 5 s for others.
        qemu.args(["-cpu", "qemu64,+rdrand"]);
        qemu.args(["-no-reboot", "-display", "none", self.firmware.0]).arg(&self.firmware.1);
        qemu.args(["-serial", &format!("file:{}", said.display())]);
        qemu.args(self.disk.logged()?).args(["-device", "virtio-blk-pci,drive=disk"]);
        // Nobody asks it for anything where a kernel has no driver for it.
        qemu.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        qemu.args(link::arguments(self.number)).stdin(Stdio::null());
        let errors = File::options().create(true).append(true).open(self.dir.join("qemu.log"))?;
        self.qemu = Some(qemu.stdout(errors.try_clone()?).stderr(errors).spawn().context("starting qemu")?);
        Ok(())
    }

    /// What it has said in this boot.
    pub fn said(&self) -> String {
        self.said.now()
    }

    /// How far it is in what it says.
    pub fn mark(&self) -> Mark {
        self.said.mark()
    }

    /// What it has said since, boot by boot, first the rest of that in which the mark was made.
    pub fn boots_since(&self, mark: Mark) -> Vec<String> {
        self.said.since(mark)
    }

    /// How often it was switched on.
    pub fn boots(&self) -> u32 {
        self.said.boots()
    }

    /// The release of the system that it said last to run.
    pub fn release(&self) -> Option<u64> {
        self.said().rsplit_once(UP)?.1.split_whitespace().next()?.parse().ok()
    }

    /// Waits until it says this; it is switched on again when it has reset by itself.
    ///
    /// # Errors
    /// When it does not, with the last that it said.
    pub fn says(&mut self, words: &str, limit: Duration) -> anyhow::Result<()> {
        let said = wait_for(&format!("the machine says `{words}`"), limit, || {
            if self.said().contains(words) {
                return Ok(Some(()));
            }
            self.follow()?;
            Ok(None)
        });
        said.with_context(|| {
            let all = self.said();
            let from = all.len().saturating_sub(6000);
            all.get(from..).unwrap_or_default().to_owned()
        })
    }

    /// Boots it and waits until all units are started; the release of the system that runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot(&mut self) -> anyhow::Result<u64> {
        self.switch_on()?;
        self.says(UP, BOOT_MAX)?;
        self.release().context("it does not say which release runs")
    }

    /// Switches it on again where it has reset; whether it was so.
    ///
    /// # Errors
    /// When qemu has failed.
    pub fn follow(&mut self) -> anyhow::Result<bool> {
        let Some(qemu) = &mut self.qemu else { return Ok(false) };
        let Some(status) = qemu.try_wait()? else { return Ok(false) };
        self.qemu = None;
        if !status.success() {
            bail!("qemu ended with {status}: {}", fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default());
        }
        self.switch_on().map(|()| true)
    }

    /// Takes the power away: what its kernel has not written is lost, and of what its disk was not told to keep as much as is
    /// drawn.
    ///
    /// # Errors
    /// When the disk as it is then cannot be made.
    pub fn cut_power(&mut self, draw: &mut Random) -> anyhow::Result<Lost> {
        self.switch_off();
        self.disk.cut_power(draw)
    }

    fn switch_off(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.switch_off();
    }
}
