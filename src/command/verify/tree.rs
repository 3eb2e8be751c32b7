//! Whether a checkout is as it was published: names, contents, permissions, owners.

use super::store::{read, tree_id};
use anyhow::Context as _;
use fullmetal::host::CONFIG_LEN_MAX;
use fullmetal::repo::{LibostreeStore, Owner, ROOT, recorded_owner};
use fullmetal::untrusted;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{DirMeta, DirTree};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The first difference between a checkout and the tree of its commit.
pub fn difference(store: &LibostreeStore, checkout: &Path, tree: &Digest) -> anyhow::Result<Option<String>> {
    let rootfs = checkout.join("rootfs");
    Comparison { store, mounts: mounts(checkout, &rootfs), rootfs }.tree(checkout, tree)
}

/// Where the container has something mounted, below `rootfs`. runc makes what is missing there.
fn mounts(checkout: &Path, rootfs: &Path) -> Vec<PathBuf> {
    let config = untrusted::read(&checkout.join("config.json"), CONFIG_LEN_MAX).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let asked = config["mounts"].as_array().into_iter().flatten().filter_map(|mount| mount["destination"].as_str());
    asked.chain(["/data"]).map(|at| rootfs.join(at.trim_start_matches('/'))).collect()
}

struct Comparison<'a> {
    store: &'a LibostreeStore,
    rootfs: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Comparison<'_> {
    fn tree(&self, dir: &Path, tree: &Digest) -> anyhow::Result<Option<String>> {
        let tree = DirTree::parse(&read(self.store, &tree_id(tree))?)?;
        let names: BTreeSet<&str> =
            tree.files.iter().map(|f| f.name.as_str()).chain(tree.dirs.iter().map(|d| d.name.as_str())).collect();
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return Ok(Some(format!("{}: {error}", dir.display()))),
        };
        for entry in entries {
            let entry = entry?;
            let known = entry.file_name().to_str().is_some_and(|name| names.contains(name));
            if !known && !self.is_mount_point(&entry.path()) {
                return Ok(Some(format!("{} is not of it", entry.path().display())));
            }
        }
        for file in &tree.files {
            let path = dir.join(&file.name);
            let object = self.store.object_path(&ObjectId { kind: ObjectKind::File, checksum: file.content });
            if !same_file(&path, &object)? {
                return Ok(Some(format!("{} differs", path.display())));
            }
            let owner = if path.starts_with(&self.rootfs) { recorded_owner(&object)? } else { ROOT };
            if let Some(difference) = other_owner(&path, owner)? {
                return Ok(Some(difference));
            }
        }
        for sub in &tree.dirs {
            let path = dir.join(&sub.name);
            let meta = ObjectId { kind: ObjectKind::DirMeta, checksum: sub.meta };
            let meta = DirMeta::parse(&read(self.store, &meta)?)?;
            let owner = if path.starts_with(&self.rootfs) { (meta.uid, meta.gid) } else { ROOT };
            if let Some(difference) = self.tree(&path, &sub.tree)?.or(other_owner(&path, owner)?) {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    /// Empty, and where something is mounted or on the way there.
    fn is_mount_point(&self, path: &Path) -> bool {
        let on_the_way = self.mounts.iter().any(|mount| mount.starts_with(path));
        let all = |mut entries: fs::ReadDir| entries.all(|e| e.is_ok_and(|e| self.is_mount_point(&e.path())));
        let empty = || match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::read_dir(path).is_ok_and(all),
            found => found.is_ok_and(|found| found.is_file() && found.len() == 0),
        };
        on_the_way && empty()
    }
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
