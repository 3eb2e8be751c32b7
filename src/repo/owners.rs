//! Owners of files in an app's checkout.
//!
//! What is a hard link of an object belongs to root, as the object does. A file below `rootfs/` that its commit gives to
//! somebody else becomes a copy, given to that owner; directories and symbolic links are a checkout's own anyway. Setuid
//! bits and xattrs stay away: apps run with `noNewPrivileges`. What lies beside `rootfs/` says how the app runs and is root's.

use super::{LibostreeStore, StoreError};
use crate::free_space;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{Commit, DirMeta, DirTree, OstreeError};
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use rustix::fs::{StatVfs, statvfs};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The root file system of an app in its commit.
const ROOTFS: &str = "rootfs";
/// Where a `bare-user` repository keeps owner, mode and xattrs of a file: `(uuua(ayay))`, numbers in big-endian.
pub(super) const META: &str = "user.ostreemeta";
/// The length of owner, group and mode in it.
const META_HEAD_LEN: usize = 12;

/// A user and a group by number.
pub type Owner = (u32, u32);

/// Root, and its group.
pub const ROOT: Owner = (0, 0);

/// Something that is not root's.
struct Foreign {
    path: PathBuf,
    owner: Owner,
    /// The bytes of a file that is to be copied.
    copied: Option<u64>,
}

/// Gives everything below `at/rootfs` to its owner. Nobody but root gets into `at` then: what an app's user owns there
/// would else belong to a user of that number of the device. `reserve` says how many bytes of the disk must stay free.
///
/// Only root can do that: a store that somebody else uses leaves everything as it is.
///
/// # Errors
/// [`StoreError::Full`] before anything is copied when the copies do not fit; then when something cannot be given away.
pub(super) fn restore(
    store: &LibostreeStore,
    commit: &Digest,
    at: &Path,
    reserve: fn(&StatVfs) -> u64,
) -> Result<(), StoreError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut found = Vec::new();
    let commit = parsed(store, ObjectKind::Commit, commit, Commit::parse)?;
    let top = parsed(store, ObjectKind::DirTree, &commit.root, DirTree::parse)?;
    for rootfs in top.dirs.iter().filter(|dir| dir.name == ROOTFS) {
        find(store, (&rootfs.tree, &rootfs.meta), &at.join(ROOTFS), &mut found)?;
    }
    if found.is_empty() {
        return Ok(());
    }
    check_space(&found, at, reserve)?;
    fs::set_permissions(at, Permissions::from_mode(0o700)).map_err(|e| StoreError::io("closing", at, e))?;
    for foreign in &found {
        give(foreign).map_err(|e| StoreError::io("giving to its owner", &foreign.path, e))?;
    }
    Ok(())
}

/// Whose file the commit says it is, from the object's file.
///
/// # Errors
/// When it is no object of a `bare-user` repository, or cannot be read.
pub fn recorded_owner(object: &Path) -> io::Result<Owner> {
    let mut head = vec![0; 64 << 10];
    let length = rustix::fs::getxattr(object, META, &mut head[..])?;
    let number =
        |at: usize| head[..length].get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let owner = number(0).zip(number(4)).filter(|_| length >= META_HEAD_LEN);
    owner.ok_or_else(|| io::Error::other(format!("its attribute {META} is damaged")))
}

fn find(
    store: &LibostreeStore,
    (tree, meta): (&Digest, &Digest),
    at: &Path,
    found: &mut Vec<Foreign>,
) -> Result<(), StoreError> {
    let mut add = |path: PathBuf, owner, copied| {
        if owner != ROOT {
            found.push(Foreign { path, owner, copied });
        }
    };
    let meta = parsed(store, ObjectKind::DirMeta, meta, DirMeta::parse)?;
    add(at.to_owned(), (meta.uid, meta.gid), None);
    let tree = parsed(store, ObjectKind::DirTree, tree, DirTree::parse)?;
    for file in &tree.files {
        let object = store.object_path(&ObjectId { kind: ObjectKind::File, checksum: file.content });
        let owner = recorded_owner(&object).map_err(|e| StoreError::io("reading the owner of", &object, e))?;
        let path = at.join(&file.name);
        let there = fs::symlink_metadata(&path).map_err(|e| StoreError::io("looking at", &path, e))?;
        add(path, owner, there.is_file().then_some(there.len()));
    }
    tree.dirs.iter().try_for_each(|dir| find(store, (&dir.tree, &dir.meta), &at.join(&dir.name), found))
}

fn parsed<T>(
    store: &LibostreeStore,
    kind: ObjectKind,
    checksum: &Digest,
    parse: impl Fn(&[u8]) -> Result<T, OstreeError>,
) -> Result<T, StoreError> {
    let object = ObjectId { kind, checksum: *checksum };
    parse(&store.load(&object)?).map_err(|reason| StoreError::Refused { object, reason })
}

fn check_space(found: &[Foreign], at: &Path, reserve: fn(&StatVfs) -> u64) -> Result<(), StoreError> {
    let disk = statvfs(at).map_err(|e| StoreError::io("asking for space at", at, e.into()))?;
    let block = disk.f_frsize.max(1);
    let copies = || found.iter().filter_map(|foreign| foreign.copied);
    let needed = copies().map(|n| n.div_ceil(block).saturating_mul(block)).fold(0, u64::saturating_add);
    let full = |why| Err(StoreError::Full { path: at.to_owned(), why });
    if let Some(lack) = free_space::lack(needed, reserve(&disk), &disk) {
        return full(format!("a copy of the files that are not root's {lack}"));
    }
    // Some file systems make inodes as they go and say 0.
    let (count, free) = (copies().count() as u64, disk.f_favail);
    if disk.f_files > 0 && count > free {
        return full(format!("a copy of the {count} files that are not root's needs as many inodes, {free} are free"));
    }
    Ok(())
}

fn give(foreign: &Foreign) -> io::Result<()> {
    let (uid, gid) = (Some(foreign.owner.0), Some(foreign.owner.1));
    if foreign.copied.is_none() {
        return lchown(&foreign.path, uid, gid);
    }
    let mut from = File::open(&foreign.path)?;
    let mode = from.metadata()?.mode() & 0o777;
    // The other names of it, in the store above all, stay as they are.
    fs::remove_file(&foreign.path)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&foreign.path)?;
    io::copy(&mut from, &mut to)?;
    fchown(&to, uid, gid)?;
    to.set_permissions(Permissions::from_mode(mode))?;
    // As all files of a checkout: libostree knows no times.
    to.set_modified(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_do_not_fit_are_refused_with_the_figures() {
        let dir = tempfile::tempdir().unwrap();
        let of = |copied| Foreign { path: dir.path().to_owned(), owner: (1000, 1000), copied };
        let check = |found: &[Foreign], reserve| check_space(found, dir.path(), reserve);
        check(&[of(Some(1)), of(None)], free_space::reserve).unwrap();
        let refused = check(&[of(Some(7 << 20)), of(Some(1 << 60))], free_space::reserve).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, StoreError::Full { .. }) && told.contains("1099511627783.0 MiB and "), "{told}");
        // As much as is there but for half of what must stay free.
        let disk = statvfs(dir.path()).unwrap();
        let most = free_space::free(&disk) - free_space::reserve(&disk) / 2;
        assert!(check(&[of(Some(most))], free_space::reserve).is_err());
        check(&[of(Some(most))], |_| 0).unwrap();
    }

    #[test]
    fn what_is_no_object_of_a_repository_has_no_owner() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(recorded_owner(file.path()).is_err());
    }
}
