//! Disks of devices whose root is an OSTree deployment.

use super::Device;
use super::system::SYSROOT;
use crate::lab::disk::{Disk, Mounted, Served};
use crate::lab::{Lost, output_of};
use crate::sim::engine::Random;
use anyhow::Context as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// A disk that loses at a power cut what it was not told to keep.
#[derive(Debug)]
pub(super) struct Power {
    disk: Disk,
    /// While there is power.
    served: Option<Served>,
    /// What the boot loader sees of it, which replays no journal: of a disk that the power has left as it was, until it boots.
    pub(super) seen: Option<Mounted>,
}

impl Device {
    /// Puts the file system on which its root is deployed on a disk of its own; for one that has no root yet.
    ///
    /// # Errors
    /// When there is no space for it, or no loop device.
    pub fn give_sysroot_disk(&mut self, mib: u64) -> anyhow::Result<()> {
        let image = self.make_sysroot_disk(mib)?;
        // Its loop device goes with the mount.
        output_of(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(self.dir.join(SYSROOT))).map(drop)
    }

    /// The same with one of which power cuts can be made, for all that the device has.
    ///
    /// # Errors
    /// The same, or without qemu's storage daemon.
    pub fn give_logged_disk(&mut self, mib: u64) -> anyhow::Result<()> {
        let disk = Disk { image: self.make_sysroot_disk(mib)?, offset: 0 };
        let served = Some(Served::new(&disk, &self.dir.join(SYSROOT))?);
        self.stage.disk = None;
        self.power = Some(Power { disk, served, seen: None });
        Ok(())
    }

    fn make_sysroot_disk(&self, mib: u64) -> anyhow::Result<PathBuf> {
        let image = self.dir.join("sysroot-disk");
        File::create(&image)?.set_len(mib << 20)?;
        output_of(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        fs::create_dir(self.dir.join(SYSROOT))?;
        Ok(image)
    }

    /// Takes the power of the device and of its logged disk away: what the kernel has not written is lost, and of what the disk
    /// was not told to keep as much as is drawn. The disk is whole then, as `ostree fsck` and `e2fsck` see it, and has power
    /// again; the device is off. Its boot loader does not replay the journal.
    ///
    /// # Errors
    /// When it has no such disk, or that is not whole.
    pub fn lose_power(&mut self, draw: &mut Random) -> anyhow::Result<Lost> {
        // Nobody of the device may see that the disk is gone.
        self.kill();
        let power = self.power.as_mut().context("the device has no disk that loses anything")?;
        power.served = None;
        let disk = power.disk.clone();
        self.wait_for_end()?;
        let lost = disk.cut_power(draw)?;
        disk.check(&self.dir.join("mounted"))?;
        let seen = Some(disk.unreplayed(&self.dir.join("seen"))?);
        let served = Served::new(&disk, &self.dir.join(SYSROOT))?;
        self.power = Some(Power { disk, served: Some(served), seen });
        Ok(lost)
    }
}
