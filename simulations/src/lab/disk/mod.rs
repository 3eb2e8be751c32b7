//! Disks of which a power cut can be made: qemu logs all that is written to them and all flushes, for a machine of its own or
//! for a file that it serves to this host.

mod lost;
mod served;

pub use lost::Lost;
pub(super) use served::Served;

use super::output_of;
use crate::sim::engine::Random;
use anyhow::Context as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a disk was like before its newest use is beside it, under this name.
const BEFORE: &str = "before";

/// The image of a disk, and where its file system begins there, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub image: PathBuf,
    pub offset: u64,
}

/// A file system that is mounted until it is dropped.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Disk {
    /// Mounts its file system, while nobody else uses it.
    pub fn mount(&self, at: &Path) -> anyhow::Result<Mounted> {
        self.mount_as("rw", at)
    }

    /// A copy of it as a boot loader sees it that does not replay the file system's journal.
    pub fn unreplayed(&self, at: &Path) -> anyhow::Result<Mounted> {
        self.copy("unreplayed")?.mount_as("ro,noload", at)
    }

    fn mount_as(&self, how: &str, at: &Path) -> anyhow::Result<Mounted> {
        fs::create_dir_all(at)?;
        let options = format!("loop,offset={},{how}", self.offset);
        output_of(Command::new("mount").args(["-o", &options]).arg(&self.image).arg(at))?;
        Ok(Mounted(at.to_owned()))
    }

    /// Whether a sysroot's disk that nobody uses is whole once its journal is replayed, as `ostree fsck` and `e2fsck` see a copy.
    pub fn check(&self, at: &Path) -> anyhow::Result<()> {
        let copy = self.copy("checked")?;
        let mounted = copy.mount(at)?;
        let repo = format!("--repo={}", mounted.path().join("ostree/repo").display());
        output_of(Command::new("ostree").args([&repo, "fsck", "--quiet"]))?;
        drop(mounted);
        let image = format!("{}?offset={}", copy.image.display(), copy.offset);
        output_of(Command::new("e2fsck").args(["-f", "-n"]).arg(image)).context("the file system is not whole")?;
        fs::remove_file(copy.image).context("removing a copy of a disk")
    }

    fn copy(&self, name: &str) -> anyhow::Result<Disk> {
        let image = self.image.with_extension(name);
        output_of(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(&self.image).arg(&image))?;
        Ok(Disk { image, offset: self.offset })
    }

    /// Keeps what it is like, for [`Disk::cut_power`]; what a program of qemu is told so that it uses the disk as its node `disk`
    /// and logs what is written and flushed.
    pub fn logged(&self) -> anyhow::Result<[String; 6]> {
        let log = self.log();
        self.copy(BEFORE)?;
        File::create(&log).context("making the log of writes")?;
        // What is lost is decided by the log: this host need not sync anything.
        let [file, log] = [("file", &self.image), ("log", &log)]
            .map(|(name, path)| format!("driver=file,node-name={name},cache.no-flush=on,filename={}", path.display()));
        let disk = "driver=blklogwrites,node-name=disk,file=file,log=log,log-append=off".to_owned();
        let option = || "--blockdev".to_owned();
        Ok([option(), file, option(), log, option(), disk])
    }

    /// After the program that used it was killed: of what its disk was not told to keep it has as much as is drawn.
    pub fn cut_power(&self, draw: &mut Random) -> anyhow::Result<Lost> {
        fs::rename(self.image.with_extension(BEFORE), &self.image).context("taking the disk back")?;
        lost::replay(&self.image, &self.log(), draw)
    }

    /// What has been written to it since.
    fn log(&self) -> PathBuf {
        self.image.with_extension("log")
    }
}

impl Mounted {
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
