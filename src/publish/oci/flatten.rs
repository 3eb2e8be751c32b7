//! Layers, one over the other, as one root file system.
//!
//! Rules: <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md>. A whiteout hides what lower layers have,
//! wherever in its own layer it stands. What lies beyond a symlink goes to where that leads inside the image, as
//! containerd and umoci have it; the last name of a path is never followed.

use super::walk::{dir_at_mut, leaf_at, make_dir, resolve};
use crate::publish::members::{Member, Members};
use crate::publish::source::{Dir, Meta, Node, S_IFDIR};
use crate::publish::tarball::{Made, Refused, make, refuse, split};
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use tar::EntryType;

/// What a name begins with that hides the rest of it.
const WHITEOUT: &str = ".wh.";
/// Hides everything in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// Other names of aufs, which say nothing about the tree.
const AUFS: &str = ".wh..wh.";
/// Attributes of the publisher's overlay: on a device they would hide files from its own.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// What an image may cost in memory.
pub(super) struct Limits {
    /// Members of all layers.
    pub members: u64,
    /// Bytes of names, link targets and attributes.
    pub bytes: u64,
}

/// A root file system in the making.
pub(super) struct Flat {
    pub root: Dir,
    limits: Limits,
}

/// Why a layer cannot be laid over the others: the member's name, if it is one member's fault, and what is wrong.
pub(super) type Bad = (Option<Vec<u8>>, String);

impl Flat {
    pub fn new(limits: Limits) -> Self {
        Flat { root: Dir::new(Meta::root(S_IFDIR | 0o755)), limits }
    }

    /// Lays the uncompressed tar `file` over what is there.
    pub fn layer(&mut self, file: &Arc<File>) -> Result<(), Bad> {
        let mut own = Own::default();
        let mut members = Members::new(file).map_err(|e| (None, e.to_string()))?;
        while let Some(member) = members.next().map_err(|e| (None, e.to_string()))? {
            let path = member.path.clone();
            self.add(&mut own, member, file).map_err(|Refused(problem)| (Some(path), problem))?;
        }
        Ok(())
    }

    fn add(&mut self, own: &mut Own, mut member: Member, file: &Arc<File>) -> Result<(), Refused> {
        member.xattrs.retain(|(name, _)| !OVERLAY.iter().any(|prefix| name.starts_with(prefix)));
        let xattrs: usize = member.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.spend(member.path.len() + member.link.len() + xattrs)?;
        let parts = split(&member.path)?;
        let Some((name, parents)) = parts.split_last() else {
            let Made::Node(Node::Dir(root)) = make(member, file)? else { return refuse("the root is no directory") };
            self.root.meta = root.meta;
            return Ok(());
        };
        let mut real = resolve(&self.root, parents)?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.hide(own, real, name, hidden);
        }
        if is_device(member.kind) && real.first().is_some_and(|dir| dir == "dev") {
            // The container gets its own /dev, which hides this one.
            return Ok(());
        }
        let node = match make(member, file)? {
            Made::Node(node) => node,
            Made::Link(target) => self.link(&target)?,
        };
        let dir = make_dir(&mut self.root, &real)?;
        match (dir.children.get_mut(name), node) {
            (Some(Node::Dir(there)), Node::Dir(new)) => there.meta = new.meta,
            (_, node) => {
                dir.children.insert(name.clone(), node);
            }
        }
        real.push(name.clone());
        own.paths.insert(real);
        Ok(())
    }

    /// What a hard link to `target` is.
    fn link(&mut self, target: &[String]) -> Result<Node, Refused> {
        let missing = || Refused(format!("hard link to {:?}, which is no file before it", target.join("/")));
        let (name, parents) = target.split_last().ok_or_else(missing)?;
        let mut real = resolve(&self.root, parents)?;
        real.push(name.clone());
        let leaf = leaf_at(&self.root, &real).ok_or_else(missing)?.clone();
        self.spend(leaf.meta.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        Ok(Node::Leaf(leaf))
    }

    fn hide(&mut self, own: &Own, mut real: Vec<String>, name: &str, hidden: &str) -> Result<(), Refused> {
        if name == OPAQUE {
            if let Some(dir) = dir_at_mut(&mut self.root, &real) {
                own.prune(dir, &mut real);
            }
            return Ok(());
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden, "" | "." | "..") {
            return refuse("a whiteout that names no file");
        }
        let Some(dir) = dir_at_mut(&mut self.root, &real) else { return Ok(()) };
        if let Some(node) = dir.children.get_mut(hidden) {
            real.push(hidden.to_owned());
            if !own.keeps(node, &mut real) {
                dir.children.remove(hidden);
            }
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Refused> {
        let left = (self.limits.members.checked_sub(1), self.limits.bytes.checked_sub(bytes as u64));
        let (Some(members), Some(bytes)) = left else {
            return refuse("the image has more files, or longer names and attributes, than can be published");
        };
        self.limits = Limits { members, bytes };
        Ok(())
    }
}

fn is_device(kind: EntryType) -> bool {
    matches!(kind, EntryType::Char | EntryType::Block | EntryType::Fifo)
}

/// What the layer itself has brought, which its whiteouts do not hide.
#[derive(Default)]
struct Own {
    paths: BTreeSet<Vec<String>>,
}

impl Own {
    /// Removes what lower layers brought into `dir`.
    fn prune(&self, dir: &mut Dir, path: &mut Vec<String>) {
        dir.children.retain(|name, node| {
            path.push(name.clone());
            let keeps = self.keeps(node, path);
            path.pop();
            keeps
        });
    }

    fn keeps(&self, node: &mut Node, path: &mut Vec<String>) -> bool {
        if let Node::Dir(dir) = node {
            self.prune(dir, path);
            return !dir.children.is_empty() || self.paths.contains(path);
        }
        self.paths.contains(path)
    }
}
