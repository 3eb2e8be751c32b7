//! Everything that a commit reaches.

use super::{Commit, DEPTH_MAX, DirTree, OstreeError, PATHS_MAX};
use crate::Digest;
use crate::wire::{ObjectId, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};

/// Why a commit's closure could not be walked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError<E> {
    /// The object could not be loaded.
    #[error("loading {object}")]
    Load {
        /// Which.
        object: ObjectId,
        /// The loader's error.
        #[source]
        source: E,
    },
    /// The object is not acceptable.
    #[error("object {object}")]
    Object {
        /// Which.
        object: ObjectId,
        /// Why.
        #[source]
        source: OstreeError,
    },
}

/// Everything that `commit` reaches, itself not included.
///
/// `load` gives a dirtree's bytes; nothing else is loaded. Trees that nest deeper than [`DEPTH_MAX`] or would unfold into
/// more than [`PATHS_MAX`] files, because directories share subtrees, are refused.
pub fn closure<E>(
    commit: &Commit,
    load: &mut dyn FnMut(&Digest) -> Result<Vec<u8>, E>,
) -> Result<BTreeSet<ObjectId>, WalkError<E>> {
    let mut walk = Walk { load, reached: BTreeSet::new(), paths: BTreeMap::new() };
    walk.reached.insert(ObjectId { kind: ObjectKind::DirMeta, checksum: commit.root_meta });
    walk.tree(&commit.root, 0)?;
    Ok(walk.reached)
}

struct Walk<'a, E> {
    load: &'a mut dyn FnMut(&Digest) -> Result<Vec<u8>, E>,
    reached: BTreeSet<ObjectId>,
    /// Into how many files each dirtree unfolds, and how deep.
    paths: BTreeMap<Digest, (u64, usize)>,
}

impl<E> Walk<'_, E> {
    /// Files below the tree and levels below it. A tree cannot contain itself: it would need its own hash.
    fn tree(&mut self, tree: &Digest, depth: usize) -> Result<(u64, usize), WalkError<E>> {
        let object = ObjectId { kind: ObjectKind::DirTree, checksum: *tree };
        let too_big = WalkError::Object { object, source: OstreeError::TreeSize };
        if let Some((paths, levels)) = self.paths.get(tree) {
            return if depth + levels > DEPTH_MAX { Err(too_big) } else { Ok((*paths, *levels)) };
        }
        if depth > DEPTH_MAX {
            return Err(too_big);
        }
        let bytes = (self.load)(tree).map_err(|source| WalkError::Load { object, source })?;
        let parsed = DirTree::parse(&bytes).map_err(|source| WalkError::Object { object, source })?;
        self.reached.insert(object);
        self.reach(ObjectKind::File, parsed.files.iter().map(|f| f.content));
        self.reach(ObjectKind::DirMeta, parsed.dirs.iter().map(|d| d.meta));
        let (mut paths, mut levels) = ((parsed.files.len() + parsed.dirs.len()) as u64, 0);
        for dir in &parsed.dirs {
            let below = self.tree(&dir.tree, depth + 1)?;
            paths = paths.saturating_add(below.0);
            levels = levels.max(below.1 + 1);
        }
        if paths > PATHS_MAX {
            return Err(too_big);
        }
        self.paths.insert(*tree, (paths, levels));
        Ok((paths, levels))
    }

    fn reach(&mut self, kind: ObjectKind, checksums: impl Iterator<Item = Digest>) {
        self.reached.extend(checksums.map(|checksum| ObjectId { kind, checksum }));
    }
}
