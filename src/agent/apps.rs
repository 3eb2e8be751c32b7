//! Checkouts, `current` links and containers: brings apps to a version, and back.

use crate::config::Paths;
use crate::durable;
use crate::host::{App, AppHost, HostError, Phase};
use crate::repo::ObjectStore;
use anyhow::{Context as _, ensure};
use fullmetal_proto::deploy::{self, Installed, Move, Record};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use tracing::{info, warn};

/// All apps of the device.
pub struct Apps {
    paths: Paths,
    host: Box<dyn AppHost>,
}

impl Apps {
    /// Over the checkouts below `paths` and the containers of `host`.
    pub fn new(paths: Paths, host: Box<dyn AppHost>) -> Self {
        Apps { paths, host }
    }

    /// After a start of the agent: what is installed runs, what is not does not, what runs already is untouched.
    ///
    /// Apps whose switch is under way are left to the machine.
    pub fn adopt(&mut self, record: &Record) {
        let in_motion = in_motion(record);
        for (name, app) in record.apps.iter().filter(|(name, _)| !in_motion.contains(*name)) {
            if self.paths.stopped(name).exists() {
                info!(app = %name, "stopped by hand, not started");
                continue;
            }
            if let Err(error) = self.bring(name, &app.current) {
                warn!(app = %name, error = %format!("{error:#}"), "app not started");
            }
        }
        for name in self.host.list().unwrap_or_default() {
            if !record.apps.contains_key(&name) && !in_motion.contains(&name) {
                info!(app = %name, "stopping what is not installed");
                if let Err(error) = self.host.stop(&name) {
                    warn!(app = %name, %error, "not stopped");
                }
            }
        }
    }

    /// When the journal cannot be read: every app runs what its `current` says.
    pub fn adopt_links(&mut self) {
        for dir in entries(&self.paths.apps_dir()).unwrap_or_default() {
            let commit = fs::read_link(dir.join("current")).ok();
            let commit = commit.and_then(|c| c.to_str()?.parse::<Digest>().ok());
            let (Ok(name), Some(commit)) = (file_name(&dir).parse::<AppName>(), commit) else { continue };
            if self.paths.stopped(&name).exists() {
                continue;
            }
            if let Err(error) = self.host.start(&App { name, commit, job: false }) {
                warn!(%error, "app not started");
            }
        }
    }

    /// Checks every new version out beside what runs.
    pub fn check_out(&self, store: &dyn ObjectStore, moves: &[Move]) -> anyhow::Result<()> {
        for m in moves {
            let into = self.paths.checkout(&m.name, &m.new.commit);
            let what = || format!("checking out {} {}", m.name, m.new.version);
            store.checkout(&m.new.commit, &into).with_context(what)?;
            let config = into.join("config.json");
            ensure!(config.is_file(), "{} {} is no app: it has no config.json", m.name, m.new.version);
        }
        Ok(())
    }

    /// Brings every part to its new version.
    pub fn switch(&mut self, moves: &[Move]) -> anyhow::Result<()> {
        for m in moves {
            let checkout = self.paths.checkout(&m.name, &m.new.commit);
            ensure!(checkout.is_dir(), "{} is not there; deploy again", checkout.display());
            durable::remove(&self.paths.stopped(&m.name))?;
            self.bring(&m.name, &m.new).with_context(|| format!("switching {} to {}", m.name, m.new.version))?;
        }
        Ok(())
    }

    /// Brings every part back to its old version, or removes it where there was none.
    pub fn revert(&mut self, moves: &[Move]) -> anyhow::Result<()> {
        for m in moves {
            match &m.old {
                Some(old) => {
                    self.bring(&m.name, old).with_context(|| format!("bringing {} {} back", m.name, old.version))?;
                }
                None => self.remove(&m.name).with_context(|| format!("removing {}", m.name))?,
            }
        }
        Ok(())
    }

    /// Stops any other version, sets `current`, starts this one. Idempotent.
    fn bring(&mut self, name: &AppName, version: &Installed) -> anyhow::Result<()> {
        let running = self.host.status(name)?;
        let live = |phase| !matches!(phase, Phase::Stopped);
        if running.is_some_and(|s| s.commit != version.commit && live(s.phase)) {
            self.host.stop(name)?;
        }
        set_current(&self.paths.app_dir(name), &version.commit)?;
        if !version.start.autostart {
            return Ok(());
        }
        let app = App { name: name.clone(), commit: version.commit, job: version.start.job };
        match self.host.start(&app) {
            Err(HostError::Occupied { .. }) => {
                self.host.stop(name)?;
                self.host.start(&app)?;
            }
            other => drop(other?),
        }
        Ok(())
    }

    fn remove(&mut self, name: &AppName) -> anyhow::Result<()> {
        self.host.stop(name)?;
        let link = self.paths.current(name);
        match fs::remove_file(&link) {
            Ok(()) => sync_dir(&self.paths.app_dir(name)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).with_context(|| format!("removing {}", link.display())),
        }
    }

    /// Removes checkouts and objects that nothing named here needs.
    pub fn prune(&self, store: &mut dyn ObjectStore, commits: &[Digest]) -> anyhow::Result<()> {
        let keep: BTreeSet<String> = commits.iter().map(Digest::to_string).collect();
        for app in entries(&self.paths.apps_dir())? {
            for checkout in entries(&app)?.into_iter().filter(|p| p.is_dir() && !p.is_symlink()) {
                if !keep.contains(&file_name(&checkout)) {
                    remove_tree(&checkout)?;
                }
            }
            // Only an empty directory goes: an app without versions.
            let _ = fs::remove_dir(&app);
        }
        let freed = store.prune(commits).context("pruning the store")?;
        info!(freed, "pruned");
        Ok(())
    }
}

fn in_motion(record: &Record) -> BTreeSet<AppName> {
    match &record.deployment {
        Some(deployment) if deployment.phase != deploy::Phase::Staging => {
            record.moves().into_iter().map(|m| m.name).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(dir: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|e| e.path()).collect()),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(e).with_context(|| format!("reading {}", dir.display())),
    }
}

/// Renamed first: a half-removed checkout must not look like a whole one.
fn remove_tree(path: &Path) -> anyhow::Result<()> {
    let trash = path.with_file_name(format!(".trash-{}", file_name(path).trim_start_matches(".trash-")));
    if trash != path {
        fs::rename(path, &trash).with_context(|| format!("renaming {}", path.display()))?;
    }
    fs::remove_dir_all(&trash).with_context(|| format!("removing {}", trash.display()))
}

/// Makes `current` point to `commit`: a new link, renamed over the old one, synced.
fn set_current(app_dir: &Path, commit: &Digest) -> anyhow::Result<()> {
    let link = app_dir.join("current");
    let target = commit.to_string();
    if fs::read_link(&link).is_ok_and(|t| t == Path::new(&target)) {
        // A predecessor may have been killed between the rename and this.
        return sync_dir(app_dir);
    }
    let new = app_dir.join(".current-new");
    let context = || format!("pointing {} to {target}", link.display());
    match fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).with_context(context),
        _ => {}
    }
    std::os::unix::fs::symlink(&target, &new).with_context(context)?;
    fs::rename(&new, &link).with_context(context)?;
    sync_dir(app_dir)
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).with_context(|| format!("syncing {}", dir.display()))
}
