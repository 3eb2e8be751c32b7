//! Which manifest of a layout is meant: by the tag in its index, then by architecture.

use super::arch::Arch;
use super::config::Configuration;
use super::layout::Layout;
use crate::publish::error::PublishError;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use std::path::Path;

/// How a descriptor in `index.json` says its tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How deep indexes may nest.
const DEPTH_MAX: usize = 4;
/// The most manifests that are looked at.
const MANIFESTS_MAX: usize = 256;
/// Docker's names of the same documents.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The image that was meant.
pub(super) struct Chosen {
    pub manifest: ImageManifest,
    pub configuration: Configuration,
}

/// Finds the image of `layout` that is tagged `tag`, or its only one, for `arch`. `shown` is the layout, for messages.
pub(super) fn choose(
    layout: &Layout,
    index: &ImageIndex,
    (shown, tag): (&Path, Option<&str>),
    arch: &Arch,
) -> Result<Chosen, PublishError> {
    let bad = |problem: String| PublishError::source(shown.display().to_string(), problem);
    let mut found = Vec::new();
    for top in tagged(index, tag).map_err(bad)? {
        gather(layout, top, 0, &mut found)?;
    }
    let mut offered: Vec<(Arch, Chosen)> = Vec::new();
    for descriptor in found {
        let manifest: ImageManifest = layout.json(&descriptor)?;
        let configuration: Configuration = layout.json(manifest.config())?;
        let said = descriptor.platform().as_ref();
        let said = said.map(|p| Arch::new(&p.architecture().to_string(), p.variant().as_deref()));
        let own = Arch::new(&configuration.architecture, configuration.variant.as_deref());
        if configuration.os == "linux" && said.as_ref().is_none_or(|said| *said == own) {
            offered.push((own, Chosen { manifest, configuration }));
        } else if said.as_ref().is_some_and(|said| said == arch) {
            return Err(bad(format!("is listed for {arch}, but its configuration says {}/{own}", configuration.os)));
        }
    }
    let names = offered.iter().map(|(arch, _)| arch.to_string()).collect::<Vec<_>>().join(", ");
    let mut fitting = offered.into_iter().filter(|(own, _)| own == arch);
    match (fitting.next(), fitting.next()) {
        (Some((_, chosen)), None) => Ok(chosen),
        (Some(_), Some(_)) => Err(bad(format!("has more than one image for {arch}; name one by its tag, DIR:TAG"))),
        (None, _) if names.is_empty() => Err(bad("has no image for Linux".into())),
        (None, _) => Err(bad(format!("is for {names}, but {arch} is to be published; take the image for {arch}"))),
    }
}

fn tagged<'i>(index: &'i ImageIndex, tag: Option<&str>) -> Result<Vec<&'i Descriptor>, String> {
    let name = |d: &'i Descriptor| d.annotations().as_ref().and_then(|a| a.get(REF_NAME)).map(String::as_str);
    let mut names: Vec<&str> = index.manifests().iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    let there = || if names.is_empty() { "it has no tags".to_owned() } else { format!("it has {}", names.join(", ")) };
    match tag {
        Some(tag) => {
            let found: Vec<_> = index.manifests().iter().filter(|d| name(d) == Some(tag)).collect();
            if found.is_empty() { Err(format!("has no image tagged {tag:?}; {}", there())) } else { Ok(found) }
        }
        None if names.len() > 1 => Err(format!("has several images; name one as DIR:TAG: {}", there())),
        None if index.manifests().is_empty() => Err("has no image".into()),
        None => Ok(index.manifests().iter().collect()),
    }
}

/// The manifests of images below `descriptor`, each once.
fn gather(
    layout: &Layout,
    descriptor: &Descriptor,
    depth: usize,
    out: &mut Vec<Descriptor>,
) -> Result<(), PublishError> {
    let bad = |problem: String| PublishError::source(descriptor.digest().to_string(), problem);
    let kind = descriptor.media_type();
    if *kind == MediaType::ImageIndex || kind.as_ref() == DOCKER_INDEX {
        if depth >= DEPTH_MAX {
            return Err(bad(format!("indexes nest deeper than {DEPTH_MAX}")));
        }
        let index: ImageIndex = layout.json(descriptor)?;
        return index.manifests().iter().try_for_each(|below| gather(layout, below, depth + 1, out));
    }
    if *kind != MediaType::ImageManifest && kind.as_ref() != DOCKER_MANIFEST {
        return Ok(());
    }
    // Attestations lie beside images, for a platform that does not exist.
    let unknown = descriptor.platform().as_ref().is_some_and(|p| p.os().to_string() == "unknown");
    if unknown || out.iter().any(|known| known.digest() == descriptor.digest()) {
        return Ok(());
    }
    if out.len() == MANIFESTS_MAX {
        return Err(bad(format!("more than {MANIFESTS_MAX} manifests")));
    }
    out.push(descriptor.clone());
    Ok(())
}
