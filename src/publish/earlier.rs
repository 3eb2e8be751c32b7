//! Finds objects in the packs of earlier releases, so that a release adds only what is new in it.
//!
//! A frame that holds anything needed is used as it is, however little that is: a device that has the
//! previous release never fetches it, since it fetches frames for missing objects only. A device with an
//! empty store pays for the frame's other content; publishing into a new repo packs everything afresh.

use super::central::Central;
use super::commit::Commit;
use super::error::PublishError;
use super::manifest::{self, Placed};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{Frame, Manifest, ObjectEntry, ObjectId, Pack};
use std::collections::{BTreeMap, BTreeSet};
use tracing::warn;

/// How many commits back a ref's history is followed.
const HISTORY_MAX: usize = 64;
/// How many earlier packs one manifest leans on; what lies in others is packed again.
const PACKS_MAX: usize = 256;

/// Where those of `wanted` lie that packs named by manifests of `starts` and their ancestors hold.
pub(super) fn find(
    central: &Central,
    starts: &[Digest],
    wanted: &BTreeSet<ObjectId>,
) -> Result<BTreeMap<ObjectId, Placed>, PublishError> {
    let mut found = BTreeMap::new();
    let mut packs: BTreeMap<Digest, bool> = BTreeMap::new();
    for commit in history(central, starts)? {
        if found.len() == wanted.len() {
            break;
        }
        let manifest = match manifest::read(central, &commit) {
            Ok(Some((opened, _))) => opened.document,
            Ok(None) => continue,
            Err(error) => {
                warn!(%commit, %error, "earlier manifest not used");
                continue;
            }
        };
        for entry in manifest.objects.iter().filter(|o| wanted.contains(&o.id)) {
            if !found.contains_key(&entry.id)
                && let Some(placed) = place(&manifest, entry)
                && placed.frames.iter().all(|(pack, _)| is_there(central, &mut packs, pack))
            {
                found.insert(entry.id, placed);
            }
        }
    }
    Ok(drop_scattered(found))
}

fn is_there(central: &Central, known: &mut BTreeMap<Digest, bool>, pack: &Pack) -> bool {
    *known.entry(pack.sha256).or_insert_with(|| {
        let there = manifest::has_pack(central, pack);
        if !there {
            warn!(pack = %pack.sha256, "earlier pack is missing or cut; its objects are packed again");
        }
        there
    })
}

/// `starts` and their ancestors, nearest first.
fn history(central: &Central, starts: &[Digest]) -> Result<Vec<Digest>, PublishError> {
    let mut out: Vec<Digest> = Vec::new();
    for start in starts {
        let mut next = Some(*start);
        while let Some(commit) = next
            && out.len() < HISTORY_MAX
            && !out.contains(&commit)
        {
            out.push(commit);
            // A pruned history ends early; that is no error.
            next = match central.resolve(&commit.to_string())? {
                Some(commit) => Commit::load(central, commit)?.parsed.parent,
                None => None,
            };
        }
    }
    Ok(out)
}

/// The place of `entry`, if its frames lie one after another in one pack, as publish writes them.
fn place(manifest: &Manifest, entry: &ObjectEntry) -> Option<Placed> {
    let (first, last) = manifest.starts().frames_of(entry).into_inner();
    let frames = manifest.frames.get(first as usize..=last as usize)?;
    let joined = |a: &Frame, b: &Frame| a.pack == b.pack && a.offset + u64::from(a.length) == b.offset;
    if !frames.iter().zip(&frames[1..]).all(|(a, b)| joined(a, b)) {
        return None;
    }
    let pack = manifest.packs.get(frames.first()?.pack as usize)?;
    let frames = frames.iter().map(|f| (pack.clone(), *f)).collect();
    Some(Placed { frames, offset: entry.offset, length: entry.length })
}

/// Keeps to the packs that hold most, when the history is scattered over too many.
fn drop_scattered(mut found: BTreeMap<ObjectId, Placed>) -> BTreeMap<ObjectId, Placed> {
    let mut bytes: BTreeMap<Digest, u64> = BTreeMap::new();
    for placed in found.values() {
        *bytes.entry(placed.frames[0].0.sha256).or_default() += placed.length;
    }
    let mut ranked: Vec<_> = bytes.into_iter().collect();
    ranked.sort_by_key(|(pack, bytes)| (std::cmp::Reverse(*bytes), *pack));
    let kept: BTreeSet<Digest> = ranked.into_iter().take(PACKS_MAX).map(|(pack, _)| pack).collect();
    found.retain(|_, placed| kept.contains(&placed.frames[0].0.sha256));
    found
}
