//! Paths inside a root file system that is only in memory: symlinks are followed as the kernel follows them after a
//! `chroot`, so that nothing leads out of it.

use crate::publish::source::{DEPTH_MAX, Dir, Leaf, Meta, Node, S_IFDIR, S_IFLNK, S_IFMT};
use crate::publish::tarball::{Refused, refuse};
use std::collections::VecDeque;

/// As many symlinks as the kernel follows (path_resolution(7)).
const SYMLINKS_MAX: usize = 40;

/// Where `parts` lead after all symlinks, as far as there is something; the rest as it was asked for.
pub(super) fn resolve(root: &Dir, parts: &[String]) -> Result<Vec<String>, Refused> {
    let mut todo: VecDeque<String> = parts.iter().cloned().collect();
    let (mut real, mut links) = (Vec::new(), 0);
    while let Some(part) = todo.pop_front() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                real.pop();
                continue;
            }
            _ => real.push(part),
        }
        let Some(leaf) = leaf_at(root, &real) else { continue };
        if leaf.meta.mode & S_IFMT != S_IFLNK {
            continue;
        }
        links += 1;
        if links > SYMLINKS_MAX {
            return refuse("more than 40 symlinks on the way, or a circle of them");
        }
        real.pop();
        if leaf.target.starts_with('/') {
            real.clear();
        }
        for part in leaf.target.split('/').rev() {
            todo.push_front(part.to_owned());
        }
    }
    if real.len() > DEPTH_MAX {
        return refuse(format!("lies deeper than {DEPTH_MAX} directories"));
    }
    Ok(real)
}

/// What is at a path without symlinks in it.
pub(super) fn node_at<'d>(root: &'d Dir, real: &[String]) -> Option<&'d Node> {
    let (name, parents) = real.split_last()?;
    dir_at(root, parents)?.children.get(name)
}

/// The regular file or symlink there.
pub(super) fn leaf_at<'d>(root: &'d Dir, real: &[String]) -> Option<&'d Leaf> {
    match node_at(root, real)? {
        Node::Leaf(leaf) => Some(leaf),
        Node::Dir(_) => None,
    }
}

/// The directory there.
pub(super) fn dir_at<'d>(root: &'d Dir, real: &[String]) -> Option<&'d Dir> {
    real.iter().try_fold(root, |dir, part| match dir.children.get(part) {
        Some(Node::Dir(next)) => Some(next),
        _ => None,
    })
}

/// The directory there, to be changed; none when there is none.
pub(super) fn dir_at_mut<'d>(root: &'d mut Dir, real: &[String]) -> Option<&'d mut Dir> {
    real.iter().try_fold(root, |dir, part| match dir.children.get_mut(part) {
        Some(Node::Dir(next)) => Some(next),
        _ => None,
    })
}

/// The directory there; what is missing of it is made, root's with mode 0755.
pub(super) fn make_dir<'d>(root: &'d mut Dir, real: &[String]) -> Result<&'d mut Dir, Refused> {
    let mut dir = root;
    for part in real {
        let new = || Node::Dir(Dir::new(Meta::root(S_IFDIR | 0o755)));
        match dir.children.entry(part.clone()).or_insert_with(new) {
            Node::Dir(next) => dir = next,
            Node::Leaf(_) => return refuse("lies beneath a file"),
        }
    }
    Ok(dir)
}
