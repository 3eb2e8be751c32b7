//! The object store: every object of what is in force and before it is hashed; checkouts are compared with it.

use super::{Device, tree};
use anyhow::Context as _;
use fullmetal::repo::LibostreeStore;
use fullmetal_proto::deploy::Installed;
use fullmetal_proto::ostree::{Commit, closure};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::fs;
use std::io::{IsTerminal as _, Write as _};

/// How many damaged objects are named one by one.
const NAMED_MAX: usize = 20;

/// Gives how many objects were hashed.
pub fn check(device: &mut Device) -> anyhow::Result<u64> {
    let repo = device.paths().repo();
    if device.record.apps.is_empty() {
        return Ok(0);
    }
    if !repo.join("config").exists() {
        let what = "there is no object store, although apps are installed";
        device.find(what, repo.display(), "restart the agent and deploy every app anew");
        return Ok(0);
    }
    let store = LibostreeStore::open_or_create(&repo).context("opening the object store")?;
    let mut hashed = BTreeSet::new();
    for (name, app) in device.apps() {
        for (version, in_force) in std::iter::once((&app.current, true)).chain(app.previous.iter().map(|p| (p, false)))
        {
            let whole = version_is_whole(device, &store, &name, version, &mut hashed);
            if whole {
                checkout(device, &store, &name, version, in_force);
            }
        }
    }
    if std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr(), "\r\x1b[K{} objects hashed", hashed.len());
    }
    Ok(hashed.len() as u64)
}

fn version_is_whole(
    device: &mut Device,
    store: &LibostreeStore,
    name: &AppName,
    version: &Installed,
    hashed: &mut BTreeSet<ObjectId>,
) -> bool {
    let what = format!("{name} {}", version.version);
    let remedy = format!(
        "`ostree fsck --delete --repo={}` takes damaged objects away; then deploy another version of {name}",
        device.paths().repo().display()
    );
    let commit = ObjectId { kind: ObjectKind::Commit, checksum: version.commit };
    let reached = match reached(store, &commit) {
        Ok(reached) => reached,
        Err(error) => {
            device.find(format!("{what} is not whole: {error:#}"), device.paths().repo().display(), remedy);
            return false;
        }
    };
    let mut damaged = 0;
    for id in std::iter::once(commit).chain(reached) {
        if !hashed.insert(id) {
            continue;
        }
        progress(hashed.len());
        if let Err(error) = store.verify(&id) {
            damaged += 1;
            if damaged <= NAMED_MAX {
                device.find(
                    format!("an object of {what} is damaged: {error}"),
                    store.object_path(&id).display(),
                    &*remedy,
                );
            }
        }
    }
    if damaged > NAMED_MAX {
        device.find(format!("and {} more of {what}", damaged - NAMED_MAX), device.paths().repo().display(), remedy);
    }
    true
}

fn progress(count: usize) {
    if count.is_multiple_of(100) && std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K{count} objects hashed");
    }
}

fn reached(store: &LibostreeStore, commit: &ObjectId) -> anyhow::Result<BTreeSet<ObjectId>> {
    let commit = Commit::parse(&read(store, commit)?)?;
    Ok(closure(&commit, &mut |tree| fs::read(store.object_path(&tree_id(tree))))?)
}

pub fn tree_id(tree: &Digest) -> ObjectId {
    ObjectId { kind: ObjectKind::DirTree, checksum: *tree }
}

pub fn read(store: &LibostreeStore, id: &ObjectId) -> anyhow::Result<Vec<u8>> {
    let path = store.object_path(id);
    fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

/// Compares a checkout with its commit; the one of a version that is not in force may be gone.
fn checkout(device: &mut Device, store: &LibostreeStore, name: &AppName, version: &Installed, in_force: bool) {
    let dir = device.paths().checkout(name, &version.commit);
    if !in_force && !dir.exists() {
        return;
    }
    let commit = ObjectId { kind: ObjectKind::Commit, checksum: version.commit };
    let compared = read(store, &commit)
        .and_then(|bytes| Ok(Commit::parse(&bytes)?))
        .and_then(|commit| tree::difference(store, &dir, &commit.root));
    let what = match compared {
        Ok(None) => return,
        Ok(Some(difference)) => {
            format!("the checkout of {name} {} is not as it was published: {difference}", version.version)
        }
        Err(error) => format!("the checkout of {name} {} cannot be compared: {error:#}", version.version),
    };
    let dir = dir.display();
    let remedy = match in_force {
        true => format!(
            "`fullmetal app stop {name}`, `rm -r {dir}`, `fullmetal app start {name}`: the agent makes it anew within 30 s"
        ),
        false => format!("`rm -r {dir}`: it is made anew when it is needed"),
    };
    device.find(what, dir, remedy);
}
