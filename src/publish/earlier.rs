//! Finds objects in packs that are there, so that a release adds only what is new in it.
//!
//! A device that has the previous release never fetches a frame of that for what it holds besides, since it fetches frames for
//! missing objects only. A device with an empty store pays for the other content of each frame; so one that has become nearly
//! useless is left alone, and what is still needed of it is packed again, in frames of its own: a device that has these objects
//! does not fetch them with what is new. The bound is low, since the old frames may lie in the caches of a fleet, and the new ones
//! do not.

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

/// A frame of which less than this part (in percent) is needed is not leaned on.
const LIVE_PERCENT_MIN: u64 = 25;
/// The same for one of another ref, which few devices that need the release have: they would pay for the rest.
const FOREIGN_PERCENT_MIN: u64 = 90;
/// Unless it is so short that its other bytes do not count.
const FRAME_LEN_MIN: u32 = 16 << 10;

/// What is known of a release's objects.
pub(super) struct Earlier {
    /// Where those lie that are not packed again.
    pub placed: BTreeMap<ObjectId, Placed>,
    /// What is packed again although devices may have it.
    pub again: BTreeSet<ObjectId>,
}

/// Those of `wanted` that packs hold which the manifests of `starts` and their ancestors, or of what other refs name, lean on.
pub(super) fn find(central: &Central, starts: &[Digest], wanted: &BTreeSet<ObjectId>) -> Result<Earlier, PublishError> {
    let mut found = BTreeMap::new();
    let mut packs: BTreeMap<Digest, bool> = BTreeMap::new();
    let mut own_packs: BTreeSet<Digest> = BTreeSet::new();
    let own = history(central, starts)?.into_iter().map(|commit| (commit, true));
    for (commit, is_own) in own.chain(central.heads()?.into_iter().map(|commit| (commit, false))) {
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
        if is_own {
            own_packs.extend(manifest.packs.iter().map(|pack| pack.sha256));
        }
        for entry in manifest.objects.iter().filter(|o| wanted.contains(&o.id)) {
            if !found.contains_key(&entry.id)
                && let Some(placed) = place(&manifest, entry)
                && placed.frames.iter().all(|(pack, _)| is_there(central, &mut packs, pack))
            {
                found.insert(entry.id, placed);
            }
        }
    }
    let all: BTreeSet<ObjectId> = found.keys().copied().collect();
    let placed = drop_dead(drop_scattered(found), &own_packs);
    let again = all.into_iter().filter(|id| !placed.contains_key(id)).collect();
    Ok(Earlier { placed, again })
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

/// Leaves objects out all of whose frames hold too little that is needed.
fn drop_dead(mut found: BTreeMap<ObjectId, Placed>, own_packs: &BTreeSet<Digest>) -> BTreeMap<ObjectId, Placed> {
    let mut needed: BTreeMap<(Digest, u64), u64> = BTreeMap::new();
    for placed in found.values() {
        let (mut offset, mut left) = (u64::from(placed.offset), placed.length);
        for (pack, frame) in &placed.frames {
            let part = left.min(u64::from(frame.raw_length).saturating_sub(offset));
            *needed.entry((pack.sha256, frame.offset)).or_default() += part;
            (offset, left) = (0, left - part);
        }
    }
    let is_live = |(pack, frame): &(Pack, Frame)| {
        let percent_min = if own_packs.contains(&pack.sha256) { LIVE_PERCENT_MIN } else { FOREIGN_PERCENT_MIN };
        frame.length < FRAME_LEN_MIN
            || needed[&(pack.sha256, frame.offset)] * 100 >= u64::from(frame.raw_length) * percent_min
    };
    found.retain(|_, placed| placed.frames.iter().any(is_live));
    found
}
