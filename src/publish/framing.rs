//! From a commit to its pack and manifest.

use super::central::Central;
use super::closure;
use super::commit::Commit;
use super::earlier::Earlier;
use super::error::PublishError;
use super::manifest::{self, Placed};
use super::options::Options;
use super::run::Stage;
use super::{earlier, frames, os_tree, pack};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{ObjectId, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};

/// What framing added.
#[derive(Default)]
pub(super) struct Added {
    /// Length of the new pack.
    pub bytes: u64,
    /// Objects in it.
    pub objects: usize,
}

/// Packs what no earlier pack has, then writes the manifest.
pub(super) fn frame(
    central: &Central,
    options: &Options,
    (commit, is_os): (Digest, bool),
    earlier_commits: &[Digest],
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Added, PublishError> {
    let mut members = vec![ObjectId { kind: ObjectKind::Commit, checksum: commit }];
    let loaded = Commit::load(central, commit)?;
    members.extend(closure::of_commit(central, &loaded)?);
    let wanted: BTreeSet<ObjectId> = members.iter().copied().collect();
    let Earlier { mut placed, again } = earlier::find(central, earlier_commits, &wanted)?;
    let mut new: Vec<ObjectId> = members.iter().copied().filter(|id| !placed.contains_key(id)).collect();
    new.sort_by_key(|id| group(id, &again));
    let added = match new.is_empty() {
        true => None,
        false => Some(pack_new(central, options, (&new, &again), &mut placed, progress)?),
    };
    let tree = os_tree::Committed { central, root: (loaded.parsed.root, loaded.parsed.root_meta) };
    let boot = if is_os { tree.boot_files()? } else { BTreeSet::new() };
    let manifest = manifest::assemble(commit, &placed, added.as_ref().map(|a| &a.pack), &boot);
    manifest::write(central, &manifest)?;
    Ok(added.map_or_else(Added::default, |a| Added { bytes: a.pack.length, objects: new.len() }))
}

/// Frames hold objects of one group: metadata before files, what is new before what devices may have.
fn group(id: &ObjectId, again: &BTreeSet<ObjectId>) -> usize {
    2 * usize::from(id.kind == ObjectKind::File) + usize::from(again.contains(id))
}

fn pack_new(
    central: &Central,
    options: &Options,
    (new, again): (&[ObjectId], &BTreeSet<ObjectId>),
    placed: &mut BTreeMap<ObjectId, Placed>,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<pack::Packed, PublishError> {
    let lengths = new.iter().map(|id| closure::checked_len(central, id)).collect::<Result<Vec<u64>, _>>()?;
    let of = |number: usize| {
        let [start, end] = [number, number + 1].map(|n| new.partition_point(|id| group(id, again) < n));
        &lengths[start..end]
    };
    let plan = frames::cut(&[0, 1, 2, 3].map(of), options.frame_len);
    let total = plan.raw_len();
    let packed = pack::write(central, new, &plan, options.level, |done| progress(Stage::Packing, done, total))?;
    placed.extend(new.iter().copied().zip(packed.places(&plan, &lengths)));
    Ok(packed)
}
