//! Tests of the agent's parts with a store and a host in memory, and of a whole agent without a peer.

mod apps;
mod door;
mod removal;
mod space;
mod system;
mod whole;

use super::apps::Apps;
use super::checkouts::Checkouts;
use crate::config::Paths;
use crate::host::{App, AppHost, AppStatus, Health, HostError, MemoryHost, Refusal, Started};
use crate::repo::{ObjectStore, Objects, StoreError};
use fullmetal_proto::deploy::{Installed, Move};
use fullmetal_proto::wire::{ObjectId, StartOptions};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A store that knows commits and makes tiny checkouts of them.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeSet<Digest>>>);

impl Objects for Shelf {
    fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        let known = self.0.lock().unwrap();
        Ok(ids.iter().filter(|id| !known.contains(&id.checksum)).copied().collect())
    }
    fn write(&mut self, id: &ObjectId, _: u64, _: &mut dyn Read) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(id.checksum);
        Ok(())
    }
    fn commit_slice(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ObjectStore for Shelf {
    fn checkout(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        if let Some(object) = self.missing(&[commit_id(commit)])?.first() {
            return Err(StoreError::Missing { object: *object });
        }
        if !into.exists() {
            fs::create_dir_all(into.join("rootfs")).unwrap();
            fs::write(into.join("config.json"), commit.to_string()).unwrap();
        }
        Ok(())
    }
    /// What it replaces has been removed by then.
    fn checkout_again(&self, commit: &Digest, into: &Path) -> Result<(), StoreError> {
        let beside: Vec<_> = fs::read_dir(into.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!beside.iter().any(|name| name.to_string_lossy().starts_with(".trash")), "{beside:?}");
        self.checkout(commit, into)?;
        fs::write(into.join("again"), "").unwrap();
        Ok(())
    }
    fn prune(&mut self, keep: &[Digest]) -> Result<u64, StoreError> {
        self.0.lock().unwrap().retain(|c| keep.contains(c));
        Ok(0)
    }
}

fn commit_id(commit: &Digest) -> ObjectId {
    ObjectId { kind: fullmetal_proto::wire::ObjectKind::Commit, checksum: *commit }
}

/// A host that starts nothing from a checkout that is not as [`Shelf`] makes it.
#[derive(Clone)]
struct Strict {
    host: MemoryHost,
    paths: Paths,
    /// What was started, one after another.
    started: Arc<Mutex<Vec<AppName>>>,
}

impl AppHost for Strict {
    fn start(&mut self, app: &App) -> Result<Started, HostError> {
        let checkout = self.paths.checkout(&app.name, &app.commit);
        let runs = self.host.status(&app.name)?.is_some_and(|s| s.phase == crate::host::Phase::Running);
        let config = fs::read_to_string(checkout.join("config.json")).unwrap_or_default();
        if !runs && (config != app.commit.to_string() || !checkout.join("rootfs").is_dir()) {
            return Err(HostError::Refused { name: app.name.clone(), source: Refusal::NoRoot(checkout) });
        }
        self.started.lock().unwrap().push(app.name.clone());
        self.host.start(app)
    }
    fn stop(&mut self, name: &AppName) -> Result<(), HostError> {
        self.host.stop(name)
    }
    fn status(&self, name: &AppName) -> Result<Option<AppStatus>, HostError> {
        self.host.status(name)
    }
    fn health(&self, name: &AppName, argv: &[String], limit: Duration) -> Result<Health, HostError> {
        self.host.health(name, argv, limit)
    }
    fn list(&self) -> Result<Vec<AppName>, HostError> {
        self.host.list()
    }
    fn traces(&self) -> Result<Vec<AppName>, HostError> {
        self.host.traces()
    }
    fn remove(&mut self, name: &AppName) -> Result<(), HostError> {
        self.host.remove(name)
    }
}

/// A device with apps, and what it made of them.
struct Device {
    _dir: tempfile::TempDir,
    paths: Paths,
    host: MemoryHost,
    shelf: Shelf,
    checkouts: Checkouts,
    apps: Apps,
    started: Arc<Mutex<Vec<AppName>>>,
}

const SERVICE: StartOptions = StartOptions { autostart: true, job: false };

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (paths, host, shelf) = (Paths::new(dir.path()), MemoryHost::new(), Shelf::default());
        let checkouts = Checkouts::new(paths.clone());
        let store = shelf.clone();
        let open = Box::new(move || -> anyhow::Result<Box<dyn ObjectStore>> { Ok(Box::new(store.clone())) });
        let started = Arc::default();
        let strict = Box::new(Strict { host: host.clone(), paths: paths.clone(), started: Arc::clone(&started) });
        let apps = Apps::new(paths.clone(), strict, checkouts.clone(), open);
        Device { _dir: dir, paths, host, shelf, checkouts, apps, started }
    }

    /// A version whose commit is in the store and checked out.
    fn version(&self, app: &str, version: &str, start: StartOptions) -> Installed {
        let commit = Digest::of(format!("{app} {version}").as_bytes());
        self.shelf.0.lock().unwrap().insert(commit);
        self.checkouts.make(&self.shelf, &name(app), &commit).unwrap();
        let manifest = Digest::of(version.as_bytes());
        Installed { commit, version: version.into(), manifest, start, unsigned: false }
    }

    fn status(&self, app: &str) -> Option<AppStatus> {
        self.host.status(&name(app)).unwrap()
    }

    fn runs(&self, app: &str, version: &Installed) -> bool {
        self.status(app).is_some_and(|s| s.phase == crate::host::Phase::Running && s.commit == version.commit)
    }

    fn current(&self, app: &str) -> Option<Digest> {
        crate::current::get(&self.paths.app_dir(&name(app))).map(|(commit, _)| commit)
    }
}

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

fn to(app: &str, old: Option<&Installed>, new: &Installed) -> Move {
    Move { name: name(app), old: old.cloned(), new: Some(new.clone()) }
}

/// The app leaves.
fn gone(app: &str, old: &Installed) -> Move {
    Move { name: name(app), old: Some(old.clone()), new: None }
}
