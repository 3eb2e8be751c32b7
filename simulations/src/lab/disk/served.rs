//! A disk that this host uses, by qemu's storage daemon: it is a file that the daemon serves, and a loop device above it. When the
//! daemon is killed nothing reaches the disk any more.

use super::Disk;
use crate::lab::output_of;
use crate::lab::process::wait_for;
use anyhow::Context as _;
use rustix::mount::{UnmountFlags, unmount};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The daemon starts within this.
const START_MAX: Duration = Duration::from_secs(30);

/// A mounted disk; it loses its power when this is dropped.
#[derive(Debug)]
pub struct Served {
    daemon: Child,
    file: PathBuf,
    mounted: PathBuf,
}

impl Served {
    /// Has a disk served and its file system mounted.
    pub fn new(disk: &Disk, mounted: &Path) -> anyhow::Result<Self> {
        let file = disk.image.with_extension("served");
        File::create(&file).context("making the file that is served")?;
        let errors = File::options().create(true).append(true).open(disk.image.with_extension("errors"))?;
        let mut daemon = Command::new("setpriv");
        daemon.args(["--pdeathsig", "KILL", "qemu-storage-daemon"]).args(disk.logged()?);
        daemon.arg("--export");
        daemon.arg(format!("type=fuse,id=served,node-name=disk,writable=on,mountpoint={}", file.display()));
        let daemon = daemon.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors).spawn();
        // From here on it is ended, whatever fails.
        let mut served = Served { daemon: daemon.context("starting setpriv")?, file, mounted: mounted.to_owned() };
        wait_for("the disk is served", START_MAX, || {
            anyhow::ensure!(
                served.daemon.try_wait()?.is_none(),
                "qemu-storage-daemon has ended: see {}",
                disk.image.display()
            );
            Ok((fs::metadata(&served.file)?.len() > 0).then_some(()))
        })?;
        let options = format!("loop,offset={}", disk.offset);
        output_of(Command::new("mount").args(["-o", &options]).arg(&served.file).arg(mounted))?;
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        for at in [&self.mounted, &self.file] {
            let _ = unmount(at, UnmountFlags::DETACH);
        }
    }
}
