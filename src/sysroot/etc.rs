//! Where a device and a new deployment have both changed `/etc`: libostree keeps what the device has.

use super::{Sysroot, SysrootError};
use fullmetal_proto::DeploymentId;
use ostree::gio::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How many paths are told.
const PATHS_MAX: usize = 100;

impl Sysroot {
    /// Paths that `new` has otherwise than what runs came with, and that the device has in a third way, `/etc/…`, the first hundred;
    /// nothing where `new` is no deployment. libostree merges them as the device has them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn etc_kept(&self, new: &DeploymentId) -> Result<Vec<String>, SysrootError> {
        let view = self.view()?;
        let tree = |deployment: &ostree::Deployment| view.sysroot.deployment_directory(deployment).path();
        let deployments = view.sysroot.deployments();
        let new = deployments.iter().find(|deployment| self.id_of(deployment).is_ok_and(|id| id == *new));
        let (Some(new), Some(old)) = (new.and_then(tree), tree(&view.booted)) else { return Ok(Vec::new()) };
        let trees = Trees { old: old.join("usr/etc"), here: old.join("etc"), new: new.join("usr/etc") };
        let mut kept = Vec::new();
        trees
            .compare(Path::new(""), &mut kept)
            .map_err(SysrootError::io("comparing with new deployments", &trees.here))?;
        Ok(kept)
    }
}

struct Trees {
    old: PathBuf,
    here: PathBuf,
    new: PathBuf,
}

impl Trees {
    /// Adds to `kept` what is so at `at`, a directory in at least one of them, and below.
    fn compare(&self, at: &Path, kept: &mut Vec<String>) -> io::Result<()> {
        for name in names(&self.old.join(at))?.union(&names(&self.new.join(at))?) {
            let path = at.join(name);
            let [old, here, new] = [&self.old, &self.here, &self.new].map(|tree| tree.join(&path));
            if kept.len() >= PATHS_MAX {
                return Ok(());
            }
            let (was, is, comes) = (stat(&old)?, stat(&here)?, stat(&new)?);
            let may_be_dir = |metadata: &Option<Metadata>| metadata.as_ref().is_none_or(Metadata::is_dir);
            if is.as_ref().is_some_and(Metadata::is_dir) && may_be_dir(&was) && may_be_dir(&comes) {
                self.compare(&path, kept)?;
            } else if may_be_merged(is.as_ref(), comes.as_ref())
                && !(same(&old, &new)? || same(&here, &old)? || same(&here, &new)?)
            {
                kept.push(Path::new("/etc").join(&path).display().to_string());
            }
        }
        Ok(())
    }
}

/// Where one is a directory and the other is not, libostree refuses to.
fn may_be_merged(is: Option<&Metadata>, comes: Option<&Metadata>) -> bool {
    is.zip(comes).is_none_or(|(is, comes)| is.is_dir() == comes.is_dir())
}

/// Nothing where there is no directory.
fn names(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    match stat(dir)? {
        Some(metadata) if metadata.is_dir() => fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect(),
        _ => Ok(BTreeSet::new()),
    }
}

fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    let none = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    fs::symlink_metadata(path).map(Some).or_else(|e| if none.contains(&e.kind()) { Ok(None) } else { Err(e) })
}

/// Whether the same is at both, with all below: kind, mode, owner, content.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (a, b) = match (stat(one)?, stat(other)?) {
        (None, None) => return Ok(true),
        (Some(a), Some(b)) => (a, b),
        _ => return Ok(false),
    };
    if [a.mode(), a.uid(), a.gid()] != [b.mode(), b.uid(), b.gid()] {
        return Ok(false);
    }
    if a.is_dir() {
        let all = names(one)?;
        if all != names(other)? {
            return Ok(false);
        }
        return all.iter().try_fold(true, |so_far, name| Ok(so_far && same(&one.join(name), &other.join(name))?));
    }
    if a.is_symlink() {
        return Ok(fs::read_link(one)? == fs::read_link(other)?);
    }
    // Deployments share what they have in common.
    let shared = (a.dev(), a.ino()) == (b.dev(), b.ino());
    Ok(shared || !a.is_file() || a.len() == b.len() && same_bytes(one, other)?)
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (BufReader::new(File::open(one)?).bytes(), BufReader::new(File::open(other)?).bytes());
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (a, b) if a == b => {}
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below the three trees; a name that ends with `/` is an empty directory, and `!` before a text a link to it.
    fn kept(old: &[(&str, &str)], here: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let [old, here, new] = [("old", old), ("here", here), ("new", new)].map(|(name, files)| {
            let tree = dir.path().join(name);
            fs::create_dir(&tree).unwrap();
            for (file, text) in files {
                let path = tree.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                match text.strip_prefix('!') {
                    _ if file.ends_with('/') => fs::create_dir_all(&path).unwrap(),
                    Some(to) => std::os::unix::fs::symlink(to, &path).unwrap(),
                    None => fs::write(&path, text).unwrap(),
                }
            }
            tree
        });
        let mut kept = Vec::new();
        Trees { old, here, new }.compare(Path::new(""), &mut kept).unwrap();
        kept
    }

    #[test]
    fn what_only_one_side_changes_is_not_told() {
        let old = [("a", "1"), ("dir/b", "1"), ("c", "!to")];
        assert_eq!(kept(&old, &old, &[("a", "2"), ("dir/b", "22"), ("new", "1"), ("c", "!on")]), [""; 0]);
        assert_eq!(kept(&old, &[("a", "2"), ("own", "1")], &old), [""; 0]);
        // Both did the same.
        let both = [("a", "2"), ("dir/new", "1")];
        assert_eq!(kept(&old, &both, &both), [""; 0]);
    }

    #[test]
    fn what_both_change_is_told_by_its_path() {
        let old = [("a", "1"), ("dir/b", "1"), ("c", "!to"), ("gone", "1"), ("removed", "1"), ("whole/a", "1")];
        let here = [
            ("a", "2"),
            ("dir/b", "3"),
            ("c", "!off"),
            ("removed", "2"),
            ("own", "1"),
            ("into/", ""),
            ("deep/new", "2"),
        ];
        let new = [
            ("a", "4"),
            ("dir/b", "5"),
            ("c", "!on"),
            ("gone", "2"),
            ("own", "2"),
            ("into", "a file"),
            ("deep/new", "1"),
            ("whole/a", "1"),
            ("whole/b", "1"),
        ];
        // That of another kind cannot be merged at all, which is told then.
        let told = ["a", "c", "deep/new", "dir/b", "gone", "own", "removed", "whole"];
        assert_eq!(kept(&old, &here, &new), told.map(|path| format!("/etc/{path}")));
    }

    #[test]
    fn a_mode_counts_as_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        fs::write(&one, "same").unwrap();
        fs::copy(&one, &other).unwrap();
        assert!(same(&one, &other).unwrap());
        fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(!same(&one, &other).unwrap());
    }
}
