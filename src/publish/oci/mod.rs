//! An OCI image as an app: its layers flattened to `rootfs/`, its configuration turned into a `config.json`.
//!
//! The image is untrusted until each blob hashed to its name, and its layers never touch the publisher's file system
//! but as nameless temporary files: owners, modes and attributes go from tar headers straight into the commit.

mod arch;
mod choose;
mod config;
mod flatten;
mod layout;
mod user;
mod walk;

pub use arch::Arch;

use super::bundle_config::{self, Process};
use super::error::PublishError;
use super::program;
use super::source::{Dir, Leaf};
use choose::Chosen;
use flatten::{Flat, Limits};
use fullmetal_proto::{Digest, RefName};
use layout::{Layout, Packing, Room};
use oci_spec::image::MediaType;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most layers; Docker writes at most 127.
const LAYERS_MAX: usize = 256;
/// The most bytes of all layers after decompression.
const UNPACKED_LEN_MAX: u64 = 16 << 30;
/// The most members of all layers.
const MEMBERS_MAX: u64 = 1 << 20;
/// The most bytes of their names, link targets and attributes.
const NAMES_LEN_MAX: u64 = 256 << 20;

/// Which image.
#[derive(Clone, Debug)]
pub struct ImageSource {
    /// The image layout's directory.
    pub layout: PathBuf,
    /// Its tag there; none where the layout has one image only.
    pub tag: Option<String>,
    /// The architecture of the devices; none where the ref ends with it.
    pub arch: Option<Arch>,
    /// What runs instead of the image's own command; empty leaves that.
    pub cmd: Vec<String>,
}

/// An image as an app.
pub(super) struct Image {
    /// `config.json` and `rootfs/`.
    pub bundle: Dir,
    /// Its health check; empty when it has none.
    pub health: Vec<String>,
    /// What a device does otherwise than a container engine.
    pub notes: Vec<String>,
}

/// The image layout and tag that `path` means: `DIR`, or `DIR:TAG` as umoci and skopeo write it.
pub fn image_layout(path: &Path) -> Option<(PathBuf, Option<String>)> {
    if layout::is_layout(path) {
        return Some((path.to_owned(), None));
    }
    let text = path.to_str()?;
    let tagged = |at: usize| layout::is_layout(Path::new(&text[..at]));
    let at = text.match_indices(':').map(|(at, _)| at).find(|at| tagged(*at))?;
    Some((text[..at].into(), Some(text[at + 1..].to_owned())))
}

impl ImageSource {
    /// The architecture that was given, or that `name` ends with; both must agree.
    pub(super) fn arch(&self, name: Option<&RefName>) -> Result<Arch, PublishError> {
        let of_ref = name.and_then(Arch::of_ref);
        match (self.arch.clone(), of_ref) {
            (Some(given), Some(of_ref)) if given != of_ref => {
                let name = name.map_or("", |name| name.as_str());
                Err(PublishError::option("--arch", format!("{given} is given, but {name} is for {of_ref}")))
            }
            (Some(arch), _) | (None, Some(arch)) => Ok(arch),
            (None, None) => {
                let problem = "say for which architecture the image must be (amd64, arm64, arm/v7), \
                               or end --ref with it, as in apps/web/x86_64";
                Err(PublishError::option("--arch", problem))
            }
        }
    }

    fn shown(&self) -> String {
        let tag = self.tag.as_ref().map_or_else(String::new, |tag| format!(":{tag}"));
        format!("{}{tag}", self.layout.display())
    }
}

/// Reads the image for `arch` as an app. A `health` check that is not empty replaces the image's own.
pub(super) fn read(source: &ImageSource, arch: &Arch, health: &[String]) -> Result<Image, PublishError> {
    read_within(source, arch, health, UNPACKED_LEN_MAX)
}

/// The same, with at most `unpacked_max` bytes of all layers after decompression.
pub(super) fn read_within(
    source: &ImageSource,
    arch: &Arch,
    health: &[String],
    unpacked_max: u64,
) -> Result<Image, PublishError> {
    let (layout, index) = Layout::open(&source.layout)?;
    let chosen = choose::choose(&layout, &index, (&source.layout, source.tag.as_deref()), arch)?;
    let mut rootfs = flatten(&layout, &chosen, source, unpacked_max)?;
    let bad = |problem| PublishError::source(source.shown(), problem);
    let running = chosen.configuration.running(&mut rootfs, &source.cmd).map_err(bad)?;
    check_program(&rootfs, &running.process, arch, source)?;
    let (option, health) = match health {
        [] => ("HEALTHCHECK of the image", running.health),
        given => ("--health", given.to_vec()),
    };
    program::check(&rootfs, option, &health, running.process.search())?;
    let bundle = bundle_config::wrap(rootfs, &running.process);
    Ok(Image { bundle, health, notes: running.notes })
}

fn flatten(layout: &Layout, chosen: &Chosen, source: &ImageSource, unpacked_max: u64) -> Result<Dir, PublishError> {
    let bad = |problem: String| PublishError::source(source.shown(), problem);
    let (layers, diff_ids) = (chosen.manifest.layers(), &chosen.configuration.rootfs.diff_ids);
    if chosen.configuration.rootfs.kind != "layers" || layers.len() != diff_ids.len() || layers.len() > LAYERS_MAX {
        let counts = format!("{} layers, {} in its configuration", layers.len(), diff_ids.len());
        return Err(bad(format!("has {counts}; both must be the same, and at most {LAYERS_MAX}")));
    }
    let mut flat = Flat::new(Limits { members: MEMBERS_MAX, bytes: NAMES_LEN_MAX });
    let mut room = Room { total: unpacked_max, left: unpacked_max };
    for (number, (descriptor, diff_id)) in (1..).zip(layers.iter().zip(diff_ids)) {
        let kind = descriptor.media_type();
        let Some(packing) = packing(kind) else {
            return Err(bad(format!("layer {number} is of type {kind}; only tar, tar+gzip and tar+zstd are read")));
        };
        let digest = diff_id.strip_prefix("sha256:").and_then(|hex| hex.parse::<Digest>().ok());
        let digest = digest.ok_or_else(|| bad(format!("{diff_id:?} in its configuration is no sha256 digest")))?;
        let file = Arc::new(layout.layer(descriptor, packing, digest, &mut room)?);
        flat.layer(&file).map_err(|(member, problem)| {
            let member = member.map(|m| format!(": {}", String::from_utf8_lossy(&m).escape_default()));
            let path = format!("{}: layer {number}{}", source.shown(), member.unwrap_or_default());
            PublishError::source(path, problem)
        })?;
    }
    Ok(flat.root)
}

/// How a layer of that type is packed; none for what is no layer of files.
fn packing(kind: &MediaType) -> Option<Packing> {
    use MediaType as M;
    match kind {
        M::ImageLayer | M::ImageLayerNonDistributable => Some(Packing::Plain),
        M::ImageLayerGzip | M::ImageLayerNonDistributableGzip => Some(Packing::Gzip),
        M::ImageLayerZstd | M::ImageLayerNonDistributableZstd => Some(Packing::Zstd),
        M::Other(docker) => match docker.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar" => Some(Packing::Plain),
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Packing::Gzip),
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => Some(Packing::Zstd),
            _ => None,
        },
        _ => None,
    }
}

/// The program must be there, and be one for the architecture: what an image says of itself is easily wrong.
fn check_program(rootfs: &Dir, process: &Process, arch: &Arch, source: &ImageSource) -> Result<(), PublishError> {
    let option = if source.cmd.is_empty() { "Entrypoint or Cmd of the image" } else { "--cmd" };
    let Some(leaf) = program::check(rootfs, option, &process.args, process.search())? else { return Ok(()) };
    match arch.foreign_program(&head(leaf)) {
        None => Ok(()),
        Some(other) => {
            let program = process.args.first().map_or("", String::as_str);
            let problem = format!("says that it is for {arch}, but its program {program} is one for {other}");
            Err(PublishError::source(source.shown(), problem))
        }
    }
}

/// The first bytes of a file; none when it cannot be read, which hashing it will tell.
fn head(leaf: &Leaf) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(reader) = leaf.content.open(leaf.length) {
        let _ = std::io::Read::read_to_end(&mut std::io::Read::take(reader, 20), &mut bytes);
    }
    bytes
}
