//! systemd-boot: it counts by itself, in the names of its entries (<https://systemd.io/AUTOMATIC_BOOT_ASSESSMENT>).
//!
//! The new entry must have its counter from the moment on that it is there, so that libostree has to name it so: by
//! `sysroot.boot-counting-tries` of newer releases (<https://github.com/ostreedev/ostree/pull/3310>), with `/boot/loader` as a directory and
//! no link, since systemd-boot reads FAT (<https://github.com/ostreedev/ostree/pull/3359>). Debian 12's libostree knows neither, and
//! is refused by what it leaves behind. [`BootLoader::arm`] writes nothing: whoever deploys asks [`BootLoader::counted`] after it.
//!
//! Tested on entries in a directory, with no firmware and no systemd-boot. `systemd-bless-boot.service` must be masked: it clears
//! at `boot-complete.target`, which knows nothing of our proof.

use super::entries::{self, Counters, Entry};
use super::{BootLoader, BootLoaderError, Counted, DeploymentId, Places, Tries};
use crate::durable;
use std::fs;
use std::path::PathBuf;

const NAME: &str = "systemd-boot";

/// systemd-boot with entries that libostree writes.
pub struct SystemdBoot {
    places: Places,
}

impl SystemdBoot {
    /// The systemd-boot that reads `boot/loader/entries`.
    pub fn new(places: Places) -> Self {
        SystemdBoot { places }
    }

    fn dir(&self) -> PathBuf {
        self.places.loader().join("entries")
    }

    fn entries(&self) -> Result<Vec<Entry>, BootLoaderError> {
        entries::read(&self.places, &self.dir())
    }

    /// What libostree is told to count from; `None` when it is not.
    fn tries(&self) -> Result<Option<u32>, BootLoaderError> {
        let path = self.places.repo_config();
        let text = fs::read_to_string(&path).map_err(BootLoaderError::file("reading", &path))?;
        let section = text.lines().map(str::trim).skip_while(|line| *line != "[sysroot]").skip(1);
        let mut keys = section.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
        let value = keys.find(|(key, _)| key.trim() == "boot-counting-tries").and_then(|(_, v)| v.trim().parse().ok());
        Ok(value.filter(|tries| *tries > 0))
    }

    fn rename(&self, entry: &Entry, counters: Option<Counters>) -> Result<(), BootLoaderError> {
        let new = entry.named(counters);
        if new != entry.path {
            fs::rename(&entry.path, &new).map_err(BootLoaderError::file("renaming", &entry.path))?;
        }
        // Also when it had the name: a predecessor may have been killed between the two.
        durable::sync_dir(&self.dir()).map_err(|e| BootLoaderError::file("syncing", &e.path)(e.source))
    }
}

impl BootLoader for SystemdBoot {
    fn check(&self) -> Result<Option<&'static str>, BootLoaderError> {
        let unprepared =
            |problem: &str, remedy| BootLoaderError::Unprepared { loader: NAME, problem: problem.to_owned(), remedy };
        if self.places.loader().is_symlink() {
            let remedy = "use a newer libostree, with /boot on the EFI system partition, or boot with GRUB";
            return Err(unprepared("libostree has made /boot/loader a link, which it cannot follow", remedy));
        }
        if self.tries()?.is_none() {
            let remedy = "set it, with a libostree that knows it: `ostree config set sysroot.boot-counting-tries 3`";
            return Err(unprepared("`sysroot.boot-counting-tries` is not set", remedy));
        }
        self.entries()?;
        Ok(None)
    }

    fn arm(&self, _: &DeploymentId, tries: Tries) -> Result<(), BootLoaderError> {
        match self.tries()? {
            Some(set) if set == u32::from(tries.get()) => Ok(()),
            found => Err(BootLoaderError::NotTaken {
                path: self.places.repo_config(),
                name: "sysroot.boot-counting-tries".into(),
                wanted: tries.get().to_string(),
                found: found.map(|tries| tries.to_string()).unwrap_or_default(),
            }),
        }
    }

    fn counted(&self) -> Result<Option<Counted>, BootLoaderError> {
        let Some(first) = self.entries()?.into_iter().next() else { return Ok(None) };
        let tries_left = |c: Counters| u8::try_from(c.left).unwrap_or(u8::MAX);
        Ok(first.counters.map(|c| Counted { trial: first.deployment, tries_left: tries_left(c) }))
    }

    fn give_up(&self, trial: &DeploymentId) -> Result<(), BootLoaderError> {
        let entries = self.entries()?;
        let Some(entry) = entries.iter().find(|entry| entry.deployment.as_ref() == Some(trial)) else {
            return Err(BootLoaderError::NoEntry { path: self.dir(), deployment: trial.to_string() });
        };
        let done = entry.counters.map_or(1, |c| c.done.saturating_add(c.left).max(1));
        self.rename(entry, Some(Counters { left: 0, done }))
    }

    fn clear(&self) -> Result<(), BootLoaderError> {
        for entry in self.entries()? {
            self.rename(&entry, None)?;
        }
        Ok(())
    }
}
