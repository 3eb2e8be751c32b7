//! The manifest of a commit that was never framed, derived from what central has of it.

use super::{Central, ResolveError};
use crate::link::CentralError;
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{Commit, DEPTH_MAX, DirTree, OstreeError, WalkError, plan};
use fullmetal_proto::wire::PlainManifest;
use fullmetal_proto::wire::local::CentralObject;
use std::collections::BTreeMap;

/// Directories that are asked for together.
const TOGETHER: usize = 16;
/// Bytes of all directories of one commit: what the gateway is ready to hold.
const TREES_BYTES_MAX: usize = 64 << 20;

/// Directories of one commit: each is a request.
const TREES_MAX: usize = 100_000;

/// A dirtree's bytes by its checksum.
type Trees = BTreeMap<Digest, Vec<u8>>;

/// Derives it from the commit object and the dirtrees at central, level by level; cut after `earlier` ones.
pub(super) fn derive(
    central: &mut dyn Central,
    object: &[u8],
    commit: &Commit,
    earlier: &[PlainManifest],
) -> Result<PlainManifest, ResolveError> {
    let trees = trees(central, Digest::of(object), commit)?;
    let mut load = |tree: &Digest| trees.get(tree).cloned().ok_or(());
    plan(object, commit, earlier, &mut load).map_err(|error| {
        let (tree, why) = match error {
            WalkError::Load { object, .. } => (object.checksum, OstreeError::TreeSize),
            WalkError::Object { object, source } => (object.checksum, source),
        };
        ResolveError::BadTree { commit: Digest::of(object), tree, why }
    })
}

fn trees(central: &mut dyn Central, id: Digest, commit: &Commit) -> Result<Trees, ResolveError> {
    let mut trees = Trees::new();
    let (mut level, mut bytes) = (vec![commit.root], 0);
    for _ in 0..=DEPTH_MAX {
        let mut next = Vec::new();
        for some in level.chunks(TOGETHER) {
            let objects: Vec<CentralObject> = some.iter().copied().map(CentralObject::DirTree).collect();
            for (tree, got) in some.iter().zip(central.get_all(&objects)) {
                let got = got.map_err(|error| match error {
                    CentralError::Missing(_) => ResolveError::NoTree { commit: id, tree: *tree },
                    CentralError::Unreachable(reason) => ResolveError::Unreachable(reason),
                })?;
                let bad = |why| ResolveError::BadTree { commit: id, tree: *tree, why };
                if Digest::of(&got) != *tree {
                    return Err(ResolveError::WrongTree { commit: id, tree: *tree });
                }
                bytes += got.len();
                if bytes > TREES_BYTES_MAX {
                    return Err(bad(OstreeError::TooLong { len: bytes, max: TREES_BYTES_MAX }));
                }
                if trees.len() == TREES_MAX {
                    return Err(bad(OstreeError::TooMany { count: TREES_MAX + 1, max: TREES_MAX }));
                }
                next.extend(DirTree::parse(&got).map_err(bad)?.dirs.iter().map(|dir| dir.tree));
                trees.insert(*tree, got);
            }
        }
        next.sort_unstable();
        next.dedup();
        next.retain(|tree| !trees.contains_key(tree));
        level = next;
        if level.is_empty() {
            return Ok(trees);
        }
    }
    let tree = level.first().copied().unwrap_or(commit.root);
    Err(ResolveError::BadTree { commit: id, tree, why: OstreeError::TreeSize })
}
