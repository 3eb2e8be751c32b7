//! The object store: every object of what is in force and before it is hashed; checkouts are compared with it.

use super::Device;
use anyhow::Context as _;
use fullmetal::repo::{LibostreeStore, Owner, ROOT, recorded_owner};
use fullmetal_proto::deploy::Installed;
use fullmetal_proto::ostree::{Commit, DirMeta, DirTree, closure};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeSet;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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

fn tree_id(tree: &Digest) -> ObjectId {
    ObjectId { kind: ObjectKind::DirTree, checksum: *tree }
}

fn read(store: &LibostreeStore, id: &ObjectId) -> anyhow::Result<Vec<u8>> {
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
        .and_then(|commit| same_tree(store, &dir, &commit.root, false));
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

/// The first difference between a directory and a tree. Owners are the commit's `in_rootfs`, and root besides.
fn same_tree(store: &LibostreeStore, dir: &Path, tree: &Digest, in_rootfs: bool) -> anyhow::Result<Option<String>> {
    let tree = DirTree::parse(&read(store, &tree_id(tree))?)?;
    let names: BTreeSet<&str> =
        tree.files.iter().map(|f| f.name.as_str()).chain(tree.dirs.iter().map(|d| d.name.as_str())).collect();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return Ok(Some(format!("{}: {error}", dir.display()))),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
            return Ok(Some(format!("{} is not of it", entry.path().display())));
        }
    }
    for file in &tree.files {
        let path = dir.join(&file.name);
        let object = store.object_path(&ObjectId { kind: ObjectKind::File, checksum: file.content });
        if !same_file(&path, &object)? {
            return Ok(Some(format!("{} differs", path.display())));
        }
        let owner = if in_rootfs { recorded_owner(&object)? } else { ROOT };
        if let Some(difference) = other_owner(&path, owner)? {
            return Ok(Some(difference));
        }
    }
    for sub in &tree.dirs {
        let (path, in_rootfs) = (dir.join(&sub.name), in_rootfs || sub.name == "rootfs");
        let meta = ObjectId { kind: ObjectKind::DirMeta, checksum: sub.meta };
        let meta = DirMeta::parse(&read(store, &meta)?)?;
        let owner = if in_rootfs { (meta.uid, meta.gid) } else { ROOT };
        if let Some(difference) = same_tree(store, &path, &sub.tree, in_rootfs)?.or(other_owner(&path, owner)?) {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

fn other_owner(path: &Path, wanted: Owner) -> anyhow::Result<Option<String>> {
    let meta = fs::symlink_metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    let found = (meta.uid(), meta.gid());
    let told = || format!("{} belongs to {}:{}, not {}:{}", path.display(), found.0, found.1, wanted.0, wanted.1);
    Ok((found != wanted).then(told))
}

/// A hard link of the object, or a copy of it. A symbolic link is a file with its target in the store.
fn same_file(path: &Path, object: &Path) -> anyhow::Result<bool> {
    let of = fs::symlink_metadata(object).with_context(|| format!("reading {}", object.display()))?;
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(false) };
    if (found.dev(), found.ino()) == (of.dev(), of.ino()) {
        return Ok(true);
    }
    if found.is_symlink() {
        let (target, kept) = (fs::read_link(path)?.into_os_string().into_encoded_bytes(), fs::read(object)?);
        return Ok(target == kept.strip_suffix(b"\0").unwrap_or(&kept));
    }
    let alike = found.is_file() && found.len() == of.len() && found.mode() & 0o777 == of.mode() & 0o777;
    Ok(alike && fs::read(path)? == fs::read(object)?)
}
