//! Making a bundle: refs become commits, and nothing is announced that devices would refuse.

mod central;
mod plain;

pub use central::{Central, LinkCentral, Resolution, Resolver};

use crate::disk::DiskError;
use crate::link::CentralError;
use crate::manifests::Manifests;
use fullmetal::identity::FleetTrust;
use fullmetal_proto::dispatch::PartWish;
use fullmetal_proto::ostree::{Commit, CommitMetadata, CommitRefusal, Deployable, OstreeError};
use fullmetal_proto::wire::local::CentralObject;
use fullmetal_proto::wire::{BlobRef, Manifest, OpenError, Part, open, seal};
use fullmetal_proto::{AppName, Digest, RefName};

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Central, the peer or the way there does not answer; later it may.
    #[error("central is out of reach: {0}")]
    Unreachable(String),
    /// No such ref.
    #[error("central has no ref {0}; check its spelling, or publish it with `fullmetal publish`")]
    NoRef(RefName),
    /// The ref's file is not a checksum.
    #[error("central's file of ref {0} does not hold a commit checksum; is it an OSTree repo?")]
    BadRef(RefName),
    /// No such commit.
    #[error("central has no commit {commit} (ref {ref_name}); check the checksum, or publish it")]
    NoCommit {
        /// Of which ref.
        ref_name: RefName,
        /// Which commit.
        commit: Digest,
    },
    /// Central gave something else.
    #[error("central's object of commit {0} has another hash: the repo is damaged")]
    WrongHash(Digest),
    /// Devices would refuse it.
    #[error("commit {commit} {source}{}", hint(.source, *.commit))]
    Commit {
        /// Which commit.
        commit: Digest,
        /// Why.
        source: CommitRefusal,
    },
    /// A directory of a plain repo's commit is missing.
    #[error(
        "central lacks directory {tree} of commit {commit}: is the commit still being copied there? else check the repo with `ostree fsck`"
    )]
    NoTree {
        /// Of which commit.
        commit: Digest,
        /// Which dirtree.
        tree: Digest,
    },
    /// Central gave something else for it.
    #[error("central's directory {tree} of commit {commit} has another hash: the repo is damaged")]
    WrongTree {
        /// Of which commit.
        commit: Digest,
        /// Which dirtree.
        tree: Digest,
    },
    /// A directory that no device takes.
    #[error("directory {tree} of commit {commit} is not acceptable: {why}")]
    BadTree {
        /// Of which commit.
        commit: Digest,
        /// Which dirtree.
        tree: Digest,
        /// Why.
        why: OstreeError,
    },
    /// The derived manifest is over a limit.
    #[error("commit {commit} is too large to be described: {source}")]
    TooLarge {
        /// Which commit.
        commit: Digest,
        /// Which limit.
        source: OpenError,
    },
    /// The derived manifest could not be kept.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The manifest is damaged.
    #[error("manifest of commit {commit}: {source}")]
    BadManifest {
        /// Which commit.
        commit: Digest,
        /// Why.
        source: OpenError,
    },
    /// The manifest is of something else.
    #[error("the manifest at central for commit {commit} describes commit {found}: the repo is damaged")]
    OtherManifest {
        /// Which commit.
        commit: Digest,
        /// What the manifest says.
        found: Digest,
    },
    /// No usable name.
    #[error("ref {0}: neither its commit nor its own words give a name; set `name` in the decision")]
    NoName(RefName),
}

/// What to do about a commit that may not be deployed.
fn hint(why: &CommitRefusal, commit: Digest) -> String {
    match why {
        CommitRefusal::Unsigned(_) => format!("; sign it with `fullmetal publish --commit {commit}`"),
        CommitRefusal::OtherName { .. } => "; leave `name` out of the decision".into(),
        CommitRefusal::NoApp => {
            "; say so: kind = \"os\" in the decision, or the type \"os\" of its software module".into()
        }
        CommitRefusal::NotBound { .. } | CommitRefusal::Malformed(_) => String::new(),
    }
}

impl ResolveError {
    /// Whether it may work later without anybody changing the decision.
    pub fn may_pass(&self) -> bool {
        matches!(self, ResolveError::Unreachable(_) | ResolveError::Disk(_) | ResolveError::NoTree { .. })
    }
}

/// Makes the parts of a bundle from what central has. Manifests of commits that were never framed are derived and kept in
/// `manifests`.
pub fn parts(
    central: &mut dyn Central,
    trust: &FleetTrust,
    manifests: &Manifests,
    wishes: &[PartWish],
) -> Result<Vec<Part>, ResolveError> {
    wishes.iter().map(|wish| part(central, trust, manifests, wish)).collect()
}

fn part(
    central: &mut dyn Central,
    trust: &FleetTrust,
    manifests: &Manifests,
    wish: &PartWish,
) -> Result<Part, ResolveError> {
    let ref_name = &wish.ref_name;
    let commit = match wish.commit {
        Some(commit) => commit,
        None => resolve_ref(central, ref_name)?,
    };
    let object = get(central, CentralObject::Commit(commit))?;
    let object = object.ok_or_else(|| ResolveError::NoCommit { ref_name: ref_name.clone(), commit })?;
    if Digest::of(&object) != commit {
        return Err(ResolveError::WrongHash(commit));
    }
    let meta = get(central, CentralObject::CommitMeta(commit))?;
    let rule = Deployable { trust: &trust.trust, revoked: &trust.revoked, ref_name };
    let refused = |source| ResolveError::Commit { commit, source };
    let judged = rule.judge(&object, meta.as_deref().unwrap_or_default()).map_err(refused)?;
    judged.check_kind(wish.kind).map_err(refused)?;
    let name = name(wish, &judged.metadata)?;
    judged.check_name(&name).map_err(refused)?;
    let manifest = match manifest(central, commit)? {
        Some(manifest) => manifest,
        None => derived(central, &object, &judged, manifests)?,
    };
    let metadata = judged.metadata;
    Ok(Part {
        kind: wish.kind,
        name,
        version: wish.version.clone().or(metadata.version).unwrap_or_else(|| commit.short()),
        ref_name: ref_name.clone(),
        commit,
        commit_object: BlobRef::of(&object),
        commit_meta: meta.as_deref().map(BlobRef::of),
        manifest,
        hardware: metadata.hardware,
        start: wish.start.clone(),
        proof: wish.proof.clone(),
    })
}

/// The object, or `None` when central does not have it.
fn get(central: &mut dyn Central, object: CentralObject) -> Result<Option<Vec<u8>>, ResolveError> {
    match central.get_all(&[object]).pop() {
        Some(Ok(bytes)) => Ok(Some(bytes)),
        Some(Err(CentralError::Missing(_))) | None => Ok(None),
        Some(Err(CentralError::Unreachable(reason))) => Err(ResolveError::Unreachable(reason)),
    }
}

fn resolve_ref(central: &mut dyn Central, ref_name: &RefName) -> Result<Digest, ResolveError> {
    let bytes = get(central, CentralObject::Ref(ref_name.clone()))?;
    let bytes = bytes.ok_or_else(|| ResolveError::NoRef(ref_name.clone()))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    text.trim_end().parse().map_err(|_| ResolveError::BadRef(ref_name.clone()))
}

/// The manifest that `fullmetal publish` made, if it framed the commit.
fn manifest(central: &mut dyn Central, commit: Digest) -> Result<Option<BlobRef>, ResolveError> {
    let Some(bytes) = get(central, CentralObject::Manifest(commit))? else { return Ok(None) };
    let opened = open::<Manifest>(&bytes).map_err(|source| ResolveError::BadManifest { commit, source })?;
    let found = opened.document.commit;
    if found != commit {
        return Err(ResolveError::OtherManifest { commit, found });
    }
    Ok(Some(BlobRef::of(&bytes)))
}

fn derived(
    central: &mut dyn Central,
    object: &[u8],
    commit: &Commit,
    manifests: &Manifests,
) -> Result<BlobRef, ResolveError> {
    let manifest = plain::derive(central, object, commit, &manifests.all())?;
    let too_large = |source| ResolveError::TooLarge { commit: manifest.commit, source };
    let envelope = seal(&manifest, &[]).map_err(too_large)?;
    manifests.keep(&envelope)?;
    tracing::info!(commit = %manifest.commit.short(), batches = manifest.ends.len(), "a plain commit: manifest derived");
    Ok(BlobRef::of(&envelope))
}

fn name(wish: &PartWish, metadata: &CommitMetadata) -> Result<AppName, ResolveError> {
    if let Some(name) = wish.name.clone().or(metadata.name.clone()) {
        return Ok(name);
    }
    let words: Vec<&str> = wish.ref_name.as_str().split('/').collect();
    words[words.len() / 2].parse().map_err(|_| ResolveError::NoName(wish.ref_name.clone()))
}
