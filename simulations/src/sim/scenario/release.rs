//! `[release]`: what is to be had, and in which pieces. Several are `[[release]]`: the first says all, a later one what is
//! new in it.

use super::section::Section;
use super::{Group, Layers, Place, ScenarioError, Targets, event, units};
use crate::sim::engine::Moment;
use crate::sim::release::TAIL;
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::plain::{BATCH_BYTES, BATCH_OBJECTS_MAX};
use std::path::{Path, PathBuf};

/// The largest piece in bytes.
const PIECE_MAX: u64 = u32::MAX as u64;
/// The largest manifest in bytes.
const MANIFEST_MAX: u64 = 1_000_000_000;
/// The most objects of a release.
const OBJECTS_MAX: u64 = 1_000_000;
/// The most releases.
const RELEASES_MAX: usize = 16;

/// What is to be had.
#[derive(Clone, Debug)]
pub struct ReleaseSpec {
    /// Which kind of pieces.
    pub kind: Kind,
    /// Its objects or frames.
    pub sizes: Sizes,
    /// Bytes of the manifest, if that is known.
    pub manifest: Option<u64>,
    /// The decision for it.
    pub decision: Decision,
    /// Bytes of one cold pull by one device, where it is not what this release's own pieces take.
    pub one_copy: Option<u64>,
}

/// When a release is decided, for whom, and what comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// When it is decided and announced, in microseconds.
    pub announced: u64,
    /// Whom it is for; all devices without it.
    pub devices: Option<Targets>,
    /// Its app is never healthy, so that devices roll it back.
    pub fails: bool,
}

/// A release after the first.
#[derive(Clone, Debug)]
pub struct Later {
    /// The decision for it.
    pub decision: Decision,
    /// Which share of its pieces is new against the one before, in millionths.
    pub changed: u32,
}

/// Which kind of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames in a pack; a run of them is one Range request.
    Frames,
    /// Batches of neighbouring objects, up to so many bytes unless a single one is longer; each object is one request.
    Plain {
        /// Bytes.
        batch: u64,
        /// Objects.
        batch_objects: u64,
    },
}

/// Lengths of frames or objects as central has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All alike, but for the last.
    Even {
        /// Bytes in all.
        total: u64,
        /// Bytes of each.
        each: u64,
    },
    /// So many, as files are: most small, few large (Pareto with exponent 1), drawn from the seed.
    Drawn {
        /// Bytes in all.
        total: u64,
        /// How many.
        count: u64,
    },
    /// These.
    Given(Vec<u64>),
    /// Those of a commit in an archive-mode repository.
    FromRepo {
        /// Where it is.
        path: PathBuf,
        /// Ref or commit.
        rev: String,
        /// Where the scenario says so.
        place: Place,
    },
}

impl Sizes {
    /// Bytes in all, as far as the scenario says.
    fn total(&self) -> u64 {
        match self {
            Sizes::Even { total, .. } | Sizes::Drawn { total, .. } => *total,
            Sizes::Given(sizes) => sizes.iter().sum(),
            Sizes::FromRepo { .. } => 0,
        }
    }

    /// How many frames or objects, as far as the scenario says.
    fn count(&self) -> u64 {
        match self {
            Sizes::Even { total, each } => total.div_ceil(*each),
            Sizes::Drawn { count, .. } => *count,
            Sizes::Given(sizes) => sizes.len() as u64,
            Sizes::FromRepo { .. } => 0,
        }
    }

    /// How large the largest may be: a drawn one, when all others are as small as can be.
    fn largest(&self) -> u64 {
        match self {
            Sizes::Even { total, each } => *total.min(each),
            Sizes::Drawn { total, count } => {
                let (total, tail) = (u128::from(*total), u128::from(TAIL));
                (total * tail / (tail + u128::from(*count) - 1)) as u64
            }
            Sizes::Given(sizes) => sizes.iter().copied().max().unwrap_or(0),
            Sizes::FromRepo { .. } => 0,
        }
    }
}

impl ReleaseSpec {
    /// How many pieces there may be at most. A batch is full of objects, or together with the next over its bytes.
    fn pieces_max(&self) -> u64 {
        let count = self.sizes.count();
        match self.kind {
            Kind::Frames => count,
            Kind::Plain { batch, batch_objects } => {
                let full = count / batch_objects + 2 * self.sizes.total() / batch.max(1) + 1;
                count.min(full)
            }
        }
    }
}

/// The first release, and those after it; none if the list is empty.
pub(super) fn read_all(
    sections: Vec<Section<'_>>,
    file: &Path,
    groups: &[Group],
    (layers, until): (Layers, Moment),
) -> Result<Option<(ReleaseSpec, Vec<Later>)>, ScenarioError> {
    let mut first: Option<ReleaseSpec> = None;
    let mut later: Vec<Later> = Vec::new();
    let (mut bytes, mut pieces) = (0, 0);
    for mut section in sections {
        let decision = decision(&mut section, groups, layers)?;
        if decision.announced >= until.0 {
            return Err(section.too_late("announced", until));
        }
        let Some(release) = &first else {
            let release = read(section, decision, file)?;
            (bytes, pieces) = (release.sizes.total(), release.pieces_max());
            first = Some(release);
            continue;
        };
        let before = later.last().map_or(&release.decision, |later| &later.decision).announced;
        if layers != Layers::Deployment || later.len() + 1 == RELEASES_MAX {
            return Err(section.bad("changed", &format!("layers = \"deployment\" and at most {RELEASES_MAX} releases")));
        }
        if decision.announced <= before {
            return Err(section.bad("announced", "a time after that of the release before"));
        }
        let changed = section.required("changed", units::share)?;
        let new = |of: u64| (u128::from(of) * u128::from(changed)).div_ceil(1_000_000) as u64;
        (bytes, pieces) = (bytes + new(release.sizes.total()), pieces + new(release.pieces_max()));
        check_all(&section, "changed", bytes, pieces)?;
        section.finish()?;
        later.push(Later { decision, changed });
    }
    Ok(first.map(|first| (first, later)))
}

fn decision(section: &mut Section<'_>, groups: &[Group], layers: Layers) -> Result<Decision, ScenarioError> {
    let announced = section.text("announced", units::time)?.unwrap_or(0);
    let fails = section.word("app", &[("fails", true), ("works", false)])?.unwrap_or(false);
    let text = section.text("devices", |text| Ok(text.to_owned()))?;
    let devices = text.map(|text| event::targets(section, "devices", &text, groups)).transpose()?;
    if matches!(devices, Some(Targets::Gateway | Targets::Fetcher)) {
        return Err(section.bad("devices", "devices of groups, such as \"hall 0-9\""));
    }
    if layers != Layers::Deployment && (fails || devices.is_some()) {
        return Err(section.bad(if fails { "app" } else { "devices" }, "layers = \"deployment\" with it"));
    }
    Ok(Decision { announced, devices, fails })
}

fn read(mut section: Section<'_>, decision: Decision, file: &Path) -> Result<ReleaseSpec, ScenarioError> {
    let frames = section.word("kind", &[("frames", true), ("plain", false)])?.unwrap_or(true);
    let frame = section.text("frame", piece)?;
    let batch = section.text("batch", piece)?;
    let batch_objects = section.number("batch_objects", 1, OBJECTS_MAX)?;
    let given = section.texts("sizes", piece)?;
    let total = section.text("size", units::size)?;
    let count = section.number("objects", 1, OBJECTS_MAX)?;
    let repo = section.text("from_repo", |path| Ok(PathBuf::from(path)))?;
    let rev = section.text("ref", |rev| Ok(rev.to_owned()))?;
    let manifest = section.text("manifest", |text| size_within(text, 0, MANIFEST_MAX))?;
    let one_copy = section.text("one_copy", |text| size_within(text, 1, units::SIZE_MAX))?;
    let sizes = match (given, repo, total, count) {
        (Some(sizes), None, None, None) if !sizes.is_empty() => Sizes::Given(sizes),
        (None, Some(path), None, None) => {
            let rev = rev.clone().ok_or_else(|| section.bad("ref", "the ref or commit to take"))?;
            let path = file.parent().map_or_else(|| path.clone(), |dir| dir.join(&path));
            Sizes::FromRepo { path, rev, place: section.place_of("from_repo") }
        }
        (None, None, Some(total), Some(count)) if !frames && total >= count => Sizes::Drawn { total, count },
        (None, None, Some(total), None) if frames && total > 0 => Sizes::Even { total, each: frame.unwrap_or(2 << 20) },
        _ if frames => return Err(section.bad("size", "for frames: `size`, or `sizes` of the frames")),
        _ => {
            return Err(section.bad("objects", "for plain: `size` and `objects`, or `sizes`, or `from_repo` and `ref`"));
        }
    };
    if frames && matches!(sizes, Sizes::FromRepo { .. }) {
        return Err(section.bad("from_repo", "kind = \"plain\": a plain repository has no frames"));
    }
    if frames && (batch.is_some() || batch_objects.is_some()) {
        return Err(section.bad("kind", "kind = \"plain\" with `batch` or `batch_objects`"));
    }
    if frame.is_some() && !matches!(sizes, Sizes::Even { .. }) {
        return Err(section.bad("frame", "to be left out: the sizes are given"));
    }
    if rev.is_some() && !matches!(sizes, Sizes::FromRepo { .. }) {
        return Err(section.bad("ref", "`from_repo` with it"));
    }
    let plain = Kind::Plain {
        batch: batch.unwrap_or(BATCH_BYTES),
        batch_objects: batch_objects.unwrap_or(BATCH_OBJECTS_MAX as u64),
    };
    let kind = if frames { Kind::Frames } else { plain };
    let release = ReleaseSpec { kind, sizes, manifest, decision, one_copy };
    let key = if section.has("sizes") { "sizes" } else { "size" };
    check_all(&section, key, release.sizes.total(), release.pieces_max())?;
    if release.sizes.largest() > PIECE_MAX {
        let expected = format!("more `objects`, or less: the largest may be over {}", units::show_size(PIECE_MAX));
        return Err(section.bad("size", &expected));
    }
    section.finish()?;
    Ok(release)
}

/// What all releases up to one make together is bounded; `key` is what makes it more.
fn check_all(section: &Section<'_>, key: &str, bytes: u64, pieces: u64) -> Result<(), ScenarioError> {
    let (bytes_max, pieces_max) = (units::SIZE_MAX, u64::from(Bitmap::LEN_MAX));
    if bytes > bytes_max {
        return Err(section.bad(key, &format!("at most {} in all", units::show_size(bytes_max))));
    }
    if pieces > pieces_max {
        return Err(section.bad(key, &format!("at most {pieces_max} pieces in all, and there may be {pieces}")));
    }
    Ok(())
}

/// A size of a piece, or of an object in one.
fn piece(text: &str) -> Result<u64, String> {
    size_within(text, 1, PIECE_MAX)
}

fn size_within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let expected = || format!("a size from {} to {}", units::show_size(least), units::show_size(most));
    units::size(text).and_then(|size| if (least..=most).contains(&size) { Ok(size) } else { Err(expected()) })
}
