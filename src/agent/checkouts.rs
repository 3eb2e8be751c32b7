//! Checkouts of apps: made, made again when damaged, removed.

use crate::config::Paths;
use crate::current::START_SUFFIX;
use crate::durable::sync_dir;
use crate::repo::{ObjectStore, StoreError, installed};
use anyhow::{Context as _, bail};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{info, warn};

/// How directories begin that are about to be removed.
const TRASH: &str = ".trash-";

/// All checkouts of the device. Clones are for several threads, one of which works at a time.
#[derive(Clone)]
pub struct Checkouts {
    paths: Paths,
    one: Arc<Mutex<()>>,
}

impl Checkouts {
    /// Those below `paths`.
    pub fn new(paths: Paths) -> Self {
        Checkouts { paths, one: Arc::default() }
    }

    /// What keeps the checkout from being an app.
    pub fn flaw(&self, name: &AppName, commit: &Digest) -> Option<&'static str> {
        flaw(&self.paths.checkout(name, commit))
    }

    /// Sees to a whole checkout, durably; one that is damaged is made again.
    pub fn make(&self, store: &dyn ObjectStore, name: &AppName, commit: &Digest) -> anyhow::Result<()> {
        let into = self.paths.checkout(name, commit);
        match flaw(&into).filter(|_| fs::symlink_metadata(&into).is_ok()) {
            Some(_) => self.make_again(store, name, commit),
            None => self.check_out(&into, || store.checkout(commit, &into)),
        }
    }

    /// Puts a fresh checkout in the place of what is there, if the store has the commit.
    pub fn make_again(&self, store: &dyn ObjectStore, name: &AppName, commit: &Digest) -> anyhow::Result<()> {
        let into = self.paths.checkout(name, commit);
        if !installed(store, commit)? {
            let what = flaw(&into).unwrap_or("it cannot be started");
            bail!("{} is damaged ({what}) and its commit is not in the store: deploy again", into.display());
        }
        let trash = self.discard(&into)?;
        warn!(checkout = %into.display(), "checkout is damaged or gone; it is made again");
        // First, since the new one may need its space.
        if let Some(trash) = trash
            && let Err(error) = fs::remove_dir_all(&trash)
        {
            warn!(%error, path = %trash.display(), "damaged checkout not removed; the next clearing tries again");
        }
        self.check_out(&into, || store.checkout_again(commit, &into))
    }

    fn check_out(&self, into: &Path, make: impl FnOnce() -> Result<(), StoreError>) -> anyhow::Result<()> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        make()?;
        match flaw(into) {
            Some(what) => bail!("it is no app: it has {what}"),
            None => Ok(()),
        }
    }

    fn discard(&self, checkout: &Path) -> anyhow::Result<Option<PathBuf>> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        if fs::symlink_metadata(checkout).is_ok() { to_trash(checkout).map(Some) } else { Ok(None) }
    }

    /// Removes checkouts and objects that nothing named here needs.
    pub fn prune(&self, store: &mut dyn ObjectStore, commits: &[Digest]) -> anyhow::Result<()> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let keep: BTreeSet<String> = commits.iter().map(Digest::to_string).collect();
        for app in entries(&self.paths.apps_dir())? {
            for entry in entries(&app)? {
                let name = file_name(&entry);
                let stem =
                    [START_SUFFIX, ".new", ".service", ".bundle"].iter().find_map(|suffix| name.strip_suffix(suffix));
                if keep.contains(stem.unwrap_or(&name)) {
                    continue;
                }
                if entry.is_dir() && !entry.is_symlink() {
                    remove_tree(&entry)?;
                } else if stem.is_some() {
                    fs::remove_file(&entry).with_context(|| format!("removing {}", entry.display()))?;
                }
            }
            // Only an empty directory goes: an app without versions, which nobody can have stopped.
            if fs::remove_dir(&app).is_ok()
                && let Ok(name) = file_name(&app).parse()
            {
                crate::durable::remove(&self.paths.stopped(&name))?;
            }
        }
        let freed = store.prune(commits).context("pruning the store")?;
        info!(freed, "pruned");
        Ok(())
    }
}

/// What a directory lacks to be an app's checkout.
fn flaw(checkout: &Path) -> Option<&'static str> {
    let kind = |name| fs::symlink_metadata(checkout.join(name)).map(|m| m.file_type());
    match (kind("config.json"), kind("rootfs")) {
        (Ok(config), _) if !config.is_file() => Some("no regular config.json"),
        (Err(_), _) => Some("no config.json"),
        (_, Ok(root)) if root.is_dir() => None,
        _ => Some("no directory rootfs"),
    }
}

pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The entries of a directory; none where there is no directory.
pub fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|e| e.path()).collect()),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(e).with_context(|| format!("reading {}", dir.display())),
    }
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    let trash = to_trash(path)?;
    fs::remove_dir_all(&trash).with_context(|| format!("removing {}", trash.display()))
}

/// Renames what is to be removed, durably: a half-removed checkout must never look like a whole one.
fn to_trash(path: &Path) -> anyhow::Result<PathBuf> {
    let name = file_name(path);
    if name.starts_with(TRASH) {
        return Ok(path.to_owned());
    }
    let trash = path.with_file_name(format!("{TRASH}{name}"));
    match fs::remove_dir_all(&trash) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("removing {}", trash.display()));
        }
        _ => {}
    }
    fs::rename(path, &trash).with_context(|| format!("renaming {}", path.display()))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(trash)
}
