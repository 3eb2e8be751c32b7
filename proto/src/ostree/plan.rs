//! The manifest of a commit in a plain repo, from its commit object and dirtrees alone.

use super::Commit;
use super::sizes::{Size, sizes};
use super::walk::{WalkError, closure};
use crate::Digest;
use crate::wire::plain::BATCH_RAW_MAX;
use crate::wire::{ObjectId, ObjectKind, PlainManifest, PlainObject};
use std::collections::BTreeMap;

/// Derives the manifest of the commit whose object is given; `load` gives a dirtree's bytes, `earlier` are manifests of what
/// devices may have, the most likely first.
///
/// Everybody who derives it from the same gets the same one.
pub fn plan<E>(
    object: &[u8],
    commit: &Commit,
    earlier: &[PlainManifest],
    load: &mut dyn FnMut(&Digest) -> Result<Vec<u8>, E>,
) -> Result<PlainManifest, WalkError<E>> {
    let sizes = sizes(object);
    let mut trees = BTreeMap::new();
    let reached = closure(commit, &mut |tree: &Digest| {
        let bytes = load(tree)?;
        trees.insert(*tree, bytes.len() as u64);
        Ok(bytes)
    })?;
    let planned = |id: ObjectId| {
        let fits = |s: &&Size| s.archived.max(s.unpacked) <= BATCH_RAW_MAX;
        let said = sizes.get(&id.checksum).filter(fits);
        let known = trees.get(&id.checksum).copied().filter(|_| id.kind == ObjectKind::DirTree);
        let archived = known.or(said.map(|s| s.archived)).unwrap_or(0);
        let unpacked = known.or(said.map(|s| s.unpacked)).unwrap_or(0);
        PlainObject { id, archived, unpacked, spare: false }
    };
    let checksum = Digest::of(object);
    let itself = ObjectId { kind: ObjectKind::Commit, checksum };
    let mut objects: Vec<PlainObject> = reached.into_iter().map(planned).collect();
    let length = object.len() as u64;
    objects.push(PlainObject { id: itself, archived: length, unpacked: length, spare: false });
    Ok(PlainManifest::of(checksum, objects, earlier))
}
