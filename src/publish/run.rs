//! `publish` from beginning to end.

use super::bundle_config::{self, Commands};
use super::central::Central;
use super::commit::{self, Commit};
use super::error::{Asked, Doing, PublishError, on};
use super::manifest;
use super::oci::ImageSource;
use super::options::{Options, Source};
use super::os_tree::{self, Os};
use super::source::Dir;
use super::tree::{self, Tree};
use super::{framing, oci, sign, signer, source, tarball, writer};
use crate::identity::system_time;
use fullmetal_proto::wire::{KeyId, Manifest, Opened, PartKind, PublicKey};
use fullmetal_proto::{AppName, Digest, RefName, Timestamp, ostree};
use serde::Serialize;
use std::path::Path;
use tracing::debug;

/// What `publish` is busy with, for a progress display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Reading and hashing the source; no counts.
    Reading,
    /// Writing objects to the repo; counts objects.
    Writing,
    /// Compressing frames; counts raw bytes.
    Packing,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The commit.
    pub commit: Digest,
    /// The ref that points at it, if one was set or named.
    #[serde(rename = "ref")]
    pub ref_name: Option<RefName>,
    /// Operating system or app.
    pub kind: PartKind,
    /// The version of an operating system's kernel, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Its name, where the commit says one.
    pub name: Option<AppName>,
    /// Version for people, where the commit says one.
    pub version: Option<String>,
    /// Release number, where the commit has one.
    pub release: Option<u64>,
    /// Nothing was written: the same release was there, signed and framed.
    pub unchanged: bool,
    /// The key that signed it, now or in an earlier publish; none when it was left as it is.
    pub signed_by: Option<KeyId>,
    /// Ed25519 signatures on the commit.
    pub signatures: usize,
    /// SHA-256 of the manifest's envelope, which names the release's content on the network.
    pub manifest: Digest,
    /// Bytes of the manifest's envelope.
    pub manifest_bytes: u64,
    /// Packs that the commit needs, earlier ones included.
    pub packs: usize,
    /// Frames that it needs.
    pub frames: usize,
    /// Objects of its closure.
    pub objects: usize,
    /// Bytes of all object streams.
    pub raw_bytes: u64,
    /// Bytes of all frames: what a device with an empty store fetches.
    pub packed_bytes: u64,
    /// Bytes of the pack that was added; 0 when there was none to add.
    pub new_packed_bytes: u64,
    /// Objects in that pack.
    pub new_objects: usize,
    /// What a plain `ostree pull` by a device with an empty store transfers.
    pub plain_bytes: u64,
    /// What devices do otherwise than the image asks for, and what may be missing in an operating system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Publishes; `progress` gets the stage, how much is done, and of how much (0 when not known).
pub fn run(options: &Options, progress: &mut dyn FnMut(Stage, u64, u64)) -> Result<Published, PublishError> {
    options.check()?;
    signer::check(options, options.ref_name.as_ref())?;
    let (central, release) = match &options.source {
        Source::Tree { path, cmd } => {
            progress(Stage::Reading, 0, 0);
            let dir = read_source(path, &options.repo)?;
            let (dir, os) = if options.os {
                let os = os_tree::check(&dir, &path.display().to_string(), options.needs_initramfs)?;
                (dir, Some(os))
            } else {
                let run = Commands { cmd, health: &options.info.health };
                (bundle_config::bundle(dir, run, path)?, None)
            };
            let tree = tree::hash(&dir)?;
            let central = Central::open_or_create(&options.repo)?;
            let release = publish_tree(&central, options, (&tree, os), progress)?;
            (central, release)
        }
        Source::Image(image) => return run_image(options, image, progress),
        Source::Commit(rev) => {
            let central = Central::open(&options.repo)?;
            let release = existing(&central, options, rev)?;
            (central, release)
        }
        Source::Recommit(rev) => {
            let central = Central::open(&options.repo)?;
            let release = recommit(&central, options, rev)?;
            (central, release)
        }
    };
    finish(&central, options, release, progress)
}

fn run_image(
    options: &Options,
    source: &ImageSource,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Published, PublishError> {
    progress(Stage::Reading, 0, 0);
    let arch = source.arch(options.ref_name.as_ref())?;
    let image = oci::read(source, &arch, &options.info.health)?;
    let tree = tree::hash(&image.bundle)?;
    let mut options = options.clone();
    options.info.health = image.health;
    let central = Central::open_or_create(&options.repo)?;
    let release = publish_tree(&central, &options, (&tree, None), progress)?;
    let published = finish(&central, &options, release, progress)?;
    Ok(Published { notes: image.notes, ..published })
}

/// A commit that is in the repo and what is left to be done about it.
struct Release {
    commit: Digest,
    ref_name: Option<RefName>,
    /// Commits whose packs may be used.
    earlier: Vec<Digest>,
    /// Whether the commit object was there before.
    known: bool,
    /// What was found out about an operating system.
    os: Option<Os>,
}

/// Signs, frames, and sets the ref, each unless done already.
fn finish(
    central: &Central,
    options: &Options,
    release: Release,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Published, PublishError> {
    let commit = release.commit;
    signer::check(options, release.ref_name.as_ref())?;
    let signed = options.key.as_ref().map_or(Ok(false), |key| sign::sign(central, commit, key))?;
    let found = manifest::read(central, &commit)?;
    let framed = found.is_none();
    let added = match &found {
        Some((opened, _)) => check_packs(central, opened).map(|()| framing::Added::default())?,
        None => framing::frame(central, options, (commit, release.os.is_some()), &release.earlier, progress)?,
    };
    let moved = match &release.ref_name {
        Some(name) if central.resolve(name.as_str())? != Some(commit) => {
            central.set_ref(name, &commit).map(|()| true)?
        }
        _ => false,
    };
    let Some((opened, manifest_bytes)) = manifest::read(central, &commit)? else {
        let problem = "it vanished while it was used".to_owned();
        return Err(PublishError::Manifest { path: manifest::path(central, &commit), problem });
    };
    let unchanged = release.known && !signed && !framed && !moved;
    debug!(%commit, unchanged, signed, framed, moved, "published");
    let mut published = describe(central, &opened, manifest_bytes)?;
    published.ref_name = release.ref_name;
    published.signed_by = options.key.as_ref().map(|key| PublicKey::of(key).id());
    published.unchanged = unchanged;
    published.new_packed_bytes = added.bytes;
    published.new_objects = added.objects;
    if let Some(os) = release.os {
        published.kind = PartKind::Os;
        published.kernel = os.kernel;
        published.notes = os.notes;
    }
    Ok(published)
}

fn describe(central: &Central, opened: &Opened<Manifest>, manifest_bytes: u64) -> Result<Published, PublishError> {
    let manifest = &opened.document;
    let mut plain_bytes = 0;
    for object in &manifest.objects {
        plain_bytes += central.stored_len(&object.id)?;
    }
    let metadata = Commit::load(central, manifest.commit)?.parsed.metadata;
    Ok(Published {
        commit: manifest.commit,
        ref_name: None,
        kind: PartKind::App,
        kernel: None,
        name: metadata.name,
        version: metadata.version,
        release: metadata.release,
        unchanged: false,
        signed_by: None,
        signatures: sign::count(central, manifest.commit)?,
        manifest: opened.digest,
        manifest_bytes,
        packs: manifest.packs.len(),
        frames: manifest.frames.len(),
        objects: manifest.objects.len(),
        raw_bytes: manifest.objects.iter().map(|o| o.length).sum(),
        packed_bytes: manifest.frames.iter().map(|f| u64::from(f.length)).sum(),
        new_packed_bytes: 0,
        new_objects: 0,
        plain_bytes,
        notes: Vec::new(),
    })
}

fn read_source(path: &Path, repo: &Path) -> Result<Dir, PublishError> {
    let path = path.canonicalize().doing(|| on("opening", path))?;
    if !path.is_dir() {
        return tarball::read_tarball(&path);
    }
    let inside = |dir: &Path| dir.canonicalize().is_ok_and(|dir| dir.starts_with(&path));
    if repo.ancestors().find(|dir| dir.exists()).is_some_and(inside) {
        return Err(PublishError::RepoInSource(repo.to_owned()));
    }
    source::read_dir(&path)
}

fn publish_tree(
    central: &Central,
    options: &Options,
    (tree, os): (&Tree, Option<Os>),
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Release, PublishError> {
    let name = options.ref_name.clone().ok_or_else(|| PublishError::option("--ref", "is missing"))?;
    let found = Found { tree: (tree.contents, tree.meta), os, earlier: Vec::new() };
    commit_tree(central, options, name, found, || {
        let objects: Vec<_> = tree.objects.iter().collect();
        writer::write(central.path(), &objects, |done| progress(Stage::Writing, done, objects.len() as u64))
    })
}

fn existing(central: &Central, options: &Options, rev: &str) -> Result<Release, PublishError> {
    let commit = resolve(central, rev)?;
    let (loaded, name) = (Commit::load(central, commit)?, options.ref_name.as_ref());
    if let Some(name) = name
        && !loaded.parsed.allows_ref(name)
    {
        return Err(PublishError::NotBound { commit, name: name.clone() });
    }
    let ref_name = name.cloned().or_else(|| as_ref_name(central, rev));
    let os = committed_os(central, options, commit, &loaded)?;
    Ok(Release { commit, ref_name, earlier: loaded.parsed.parent.into_iter().collect(), known: true, os })
}

fn recommit(central: &Central, options: &Options, rev: &str) -> Result<Release, PublishError> {
    let commit = resolve(central, rev)?;
    let name = options.ref_name.clone().or_else(|| as_ref_name(central, rev));
    let name = name.ok_or_else(|| PublishError::option("--ref", "say which ref the new commit is for"))?;
    let loaded = Commit::load(central, commit)?;
    let os = committed_os(central, options, commit, &loaded)?;
    let found = Found { tree: (loaded.parsed.root, loaded.parsed.root_meta), os, earlier: vec![commit] };
    commit_tree(central, options, name, found, || Ok(()))
}

/// What is found in a commit's tree that is said to be an operating system, now or by the commit itself.
fn committed_os(
    central: &Central,
    options: &Options,
    commit: Digest,
    loaded: &Commit,
) -> Result<Option<Os>, PublishError> {
    if !options.os && !loaded.parsed.metadata.bootable {
        return Ok(None);
    }
    let tree = os_tree::Committed { central, root: (loaded.parsed.root, loaded.parsed.root_meta) };
    os_tree::check(&tree, &format!("commit {}", commit.short()), options.needs_initramfs).map(Some)
}

fn resolve(central: &Central, rev: &str) -> Result<Digest, PublishError> {
    let missing = || PublishError::NoSuchCommit { rev: rev.to_owned(), repo: central.path().to_owned() };
    central.resolve(rev)?.ok_or_else(missing)
}

/// A revision may also be a checksum, a part of one, or `REF^`.
fn as_ref_name(central: &Central, rev: &str) -> Option<RefName> {
    rev.parse().ok().filter(|name| central.is_ref(name))
}

/// A tree to be committed.
struct Found {
    /// Dirtree and dirmeta of its root.
    tree: (Digest, Digest),
    /// What was found out about an operating system.
    os: Option<Os>,
    /// Commits whose packs may be used.
    earlier: Vec<Digest>,
}

/// The ref's commit if it says the same, else a new one after `write` has put the tree's objects there.
fn commit_tree(
    central: &Central,
    options: &Options,
    name: RefName,
    Found { tree, os, mut earlier }: Found,
    write: impl FnOnce() -> Result<(), PublishError>,
) -> Result<Release, PublishError> {
    let metadata = commit::metadata(&name, &options.info, os.as_ref());
    let parent = central.resolve(name.as_str())?;
    if let Some(parent) = parent {
        let loaded = Commit::load(central, parent)?;
        if loaded.says(tree, &metadata) {
            earlier.extend(loaded.parsed.parent);
            return Ok(Release { commit: parent, ref_name: Some(name), earlier, known: true, os });
        }
        check_release(options, &name, (parent, &loaded.parsed), tree)?;
        earlier.insert(0, parent);
    }
    write()?;
    let time = options.timestamp.map_or_else(now, Timestamp::from_secs);
    let commit = commit::write(central, parent, tree, metadata, time)?;
    Ok(Release { commit, ref_name: Some(name), earlier, known: false, os })
}

/// A ref goes up: what devices run is not given another tree under the same number, nor a lower one, by mistake.
fn check_release(
    options: &Options,
    name: &RefName,
    (commit, parsed): (Digest, &ostree::Commit),
    tree: (Digest, Digest),
) -> Result<(), PublishError> {
    let Some(published) = parsed.metadata.release else { return Ok(()) };
    let same_tree = (parsed.root, parsed.root_meta) == tree;
    let follows = options.info.release.is_some_and(|new| new > published || (new == published && same_tree));
    if follows || options.allow_lower_release {
        return Ok(());
    }
    Err(PublishError::Release { name: name.clone(), published, commit, release: Asked(options.info.release) })
}

fn now() -> Timestamp {
    Timestamp::from_secs(system_time().as_secs())
}

/// A manifest is never rewritten, so its packs must be there.
fn check_packs(central: &Central, opened: &Opened<Manifest>) -> Result<(), PublishError> {
    match opened.document.packs.iter().find(|pack| !manifest::has_pack(central, pack)) {
        None => Ok(()),
        Some(pack) => Err(PublishError::Manifest {
            path: manifest::path(central, &opened.document.commit),
            problem: format!("its pack {} is missing or cut", pack.sha256),
        }),
    }
}
