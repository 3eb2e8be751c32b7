//! Devices with a real systemd as process 1, in namespaces: they boot in a third of a second, can be rebooted and can
//! lose their power. The host keeps its kernel: such a cut loses something of what was not synced only where a device was given a
//! disk for that.
//!
//! A device has a file system of its own above a shared base, which `debootstrap` makes once. Nothing of it is left when
//! its value is dropped, nor when the test program is killed: its processes end with their parent, its mounts with them.

mod base;
mod disk;
mod groups;
mod init;
mod installed;
mod loader;
mod power;
mod system;
mod versions;

pub use init::{DeviceStage, stage};
pub use loader::{Loader, LoaderBoot};
pub use system::{KERNEL_DIR, Settled};
pub use versions::{SYSTEM_REF, VERSION_FILE, Version};

use super::output_of;
use anyhow::{Context as _, bail};
use disk::Power;
use init::LAB;
use rustix::process::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Which control groups a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Those of the host, all controllers: limits work where the host is not on the second version alone.
    AsHost,
    /// The second version alone; where the host has the controllers in the first, limits do not work.
    Second,
}

/// A device; it is off when this is dropped.
#[derive(Debug)]
pub struct Device {
    /// `fullmetal-sim`, which prepares the namespaces.
    program: PathBuf,
    stage: DeviceStage,
    dir: PathBuf,
    child: Option<Child>,
    first: Option<Pid>,
    /// What systemd calls the state in which a boot is over.
    up: &'static [&'static str],
    boots: Vec<LoaderBoot>,
    /// Of its disk, where that can lose something.
    power: Option<Power>,
}

/// All that was to start has been started, or has failed.
const DONE: &[&str] = &["running", "degraded"];
/// Units are being started.
const BEGUN: &[&str] = &["starting", "running", "degraded"];

impl Device {
    /// Makes a device that is off. `programs` of the host are seen in it below `/run/lab`.
    ///
    /// # Errors
    /// Without root or the means to make the base.
    pub fn new(program: &Path, groups: Groups, programs: &[&Path]) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        anyhow::ensure!(rustix::process::geteuid().is_root(), "devices are namespaces: be root");
        anyhow::ensure!(program.is_file(), "{} is not there; run `make build`", program.display());
        let name = format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let base = base::made()?;
        let dir = base.with_file_name(format!("device-{}-{name}", std::process::id()));
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(dir.join(part)).with_context(|| format!("making {}", dir.display()))?;
        }
        let programs = programs.iter().map(|p| p.to_path_buf()).collect();
        let group = groups::name(&name);
        let stage = DeviceStage {
            init: false,
            name,
            group,
            second: groups == Groups::Second,
            base,
            dir: dir.clone(),
            programs,
            netns: None,
            sysroot: None,
            disk: None,
        };
        Ok(Device {
            program: program.to_owned(),
            stage,
            dir,
            child: None,
            first: None,
            up: DONE,
            boots: Vec::new(),
            power: None,
        })
    }

    /// Has it see one more program of the host; for one that is off.
    pub fn see(&mut self, program: &Path) {
        self.stage.programs.push(program.to_owned());
    }

    /// The directory of what the device has beyond its base: to be written to while it is off, and read at any time.
    pub fn files(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// One of these.
    pub fn file(&self, path: &str) -> PathBuf {
        if let Some(sysroot) = &self.stage.sysroot {
            return system::place(sysroot, path);
        }
        self.files().join(path.trim_start_matches('/'))
    }

    /// A file of the base below it.
    pub fn base_file(&self, path: &str) -> PathBuf {
        self.stage.base.join(path.trim_start_matches('/'))
    }

    /// Writes a file of the device while it is off, also one that the base has no directory for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.file(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Gives it a disk of its own for `/var/lib/fullmetal`, with what was written there so far; for one that is off.
    ///
    /// # Errors
    /// When there is no space for it.
    pub fn give_disk(&mut self, mib: u64) -> anyhow::Result<()> {
        let image = self.dir.join("disk");
        File::create(&image)?.set_len(mib << 20)?;
        let before = self.file("/var/lib/fullmetal");
        fs::create_dir_all(&before)?;
        let mut mkfs = Command::new("mkfs.ext4");
        output_of(mkfs.args(["-q", "-m", "0", "-d"]).arg(before).arg(&image))?;
        self.stage.disk = Some(image);
        Ok(())
    }

    /// From now on a boot is over when systemd starts units, which an app that is not ready would hold up.
    pub fn boots_halfway(&mut self) {
        self.up = BEGUN;
    }

    /// A command inside the device, from outside of its control groups.
    ///
    /// # Errors
    /// When the device is off.
    pub fn command(&self, argv: &[&str]) -> anyhow::Result<Command> {
        let first = self.first.context("the device is off")?.as_raw_nonzero();
        let mut command = Command::new("nsenter");
        // As a device goes down systemd stops all processes, then kills them. `nsenter` would stop with its child for ever,
        // and so would the device; a shell only waits. It is not of the device's processes, its children are: what it
        // knows itself, such as kill, must not be done by it.
        command.args(["-t", &first.to_string(), "-a", "--no-fork", "--", "sh", "-c", "env \"$@\"; exit $?", "sh"]);
        command.args(argv).stdin(Stdio::null());
        Ok(command)
    }

    /// A file as the device sees it now, with all that is mounted there.
    ///
    /// # Errors
    /// When the device is off.
    pub fn seen(&self, path: &str) -> anyhow::Result<PathBuf> {
        let first = self.first.context("the device is off")?.as_raw_nonzero();
        Ok(Path::new(&format!("/proc/{first}/root")).join(path.trim_start_matches('/')))
    }

    /// Its processes by their numbers on this host, those in containers too; without our own commands.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let below = format!(":/{}/", self.stage.group);
        let is_ours = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|g| g.contains(&below));
        let all = fs::read_dir("/proc").context("looking for processes")?.flatten();
        Ok(all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect())
    }

    /// Runs a command inside the device to its end and gives what it printed.
    ///
    /// # Errors
    /// When it fails, with all that it said.
    pub fn run(&self, argv: &[&str]) -> anyhow::Result<String> {
        let Output { status, stdout, stderr } = self.command(argv)?.output()?;
        let said = String::from_utf8_lossy(&stdout).into_owned();
        if !status.success() {
            bail!("{argv:?} ended with {status}: {said}{}", String::from_utf8_lossy(&stderr));
        }
        Ok(said)
    }

    /// The same as a service of the device's own, as its daemons run; `program` is one of those given to
    /// [`Device::new`].
    ///
    /// # Errors
    /// When it fails, with all that it said.
    pub fn serve(&self, program: &Path, args: &[&str]) -> anyhow::Result<String> {
        let program = Path::new(LAB).join(program.file_name().unwrap_or_default());
        let program = program.to_string_lossy();
        let service = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", system::GENERATES, "--", &program];
        self.run(&[&service, args].concat())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut child) = self.child.take() {
            // With it goes process 1, if that was not found yet.
            let _ = child.kill();
            let _ = child.wait();
        }
        groups::remove(&self.stage.group);
        self.power = None;
        system::loosen(&self.dir);
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {error}", self.dir.display());
        }
    }
}
