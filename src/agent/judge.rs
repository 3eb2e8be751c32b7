//! Pulls a bundle's blobs through the peer and proves what signatures and hashes can prove.

use super::Agent;
use super::foreign;
use super::link::Link;
use crate::identity::Usage;
use crate::local::read_descriptor;
use fullmetal_proto::deploy::{Candidate, Ticket};
use fullmetal_proto::ostree::{Commit, CommitRefusal, Deployable};
use fullmetal_proto::wire::local::{CentralObject, ToPeer};
use fullmetal_proto::wire::{BlobRef, Bundle, Opened, Part, Pieces, StartOptions, open};
use fullmetal_proto::{AppName, Digest};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Why a bundle does not hold, or not now.
pub struct Verdict {
    /// The same may succeed later.
    pub retry: bool,
    /// What, where, what to do.
    pub reason: String,
}

fn final_(reason: impl Into<String>) -> Verdict {
    Verdict { retry: false, reason: reason.into() }
}

/// What fetching needs of each judged part, by commit.
pub type JudgedParts = BTreeMap<Digest, (BlobRef, Arc<Pieces>)>;

/// A bundle whose blobs are on the way.
pub struct Judging {
    /// Of the effect that asked.
    pub ticket: Ticket,
    bundle: Bundle,
    wanted: BTreeMap<Digest, (BlobRef, CentralObject)>,
    got: BTreeMap<Digest, Vec<u8>>,
}

/// A bundle with all of its blobs.
pub struct Blobs {
    bundle: Bundle,
    bytes: BTreeMap<Digest, Vec<u8>>,
}

impl Judging {
    /// Reads the bundle that was stored when its announcement came.
    pub fn start(ticket: Ticket, path: &Path) -> Result<Self, Verdict> {
        let bytes = std::fs::read(path).map_err(|e| Verdict {
            // One that is gone comes again with its announcement.
            retry: e.kind() == std::io::ErrorKind::NotFound,
            reason: format!("reading {}: {e}", path.display()),
        })?;
        let opened: Opened<Bundle> = open(&bytes).map_err(|e| final_(format!("bundle: {e}")))?;
        let mut wanted = BTreeMap::new();
        for part in &opened.document.parts {
            let blobs = [
                (Some(&part.commit_object), CentralObject::Commit(part.commit)),
                (part.commit_meta.as_ref(), CentralObject::CommitMeta(part.commit)),
                (Some(&part.manifest), CentralObject::Manifest(part.commit)),
            ];
            for (blob, central) in blobs {
                if let Some(blob) = blob {
                    wanted.insert(blob.sha256, (blob.clone(), central));
                }
            }
        }
        Ok(Judging { ticket, bundle: opened.document, wanted, got: BTreeMap::new() })
    }

    /// All that is needed, when that is nothing: of a bundle that only removes.
    pub fn needs_nothing(&self) -> Option<Blobs> {
        self.wanted.is_empty().then(|| Blobs { bundle: self.bundle.clone(), bytes: BTreeMap::new() })
    }

    /// Asks the peer for all that is still missing.
    pub fn ask(&self, link: &Link) {
        for (sha256, (blob, central)) in &self.wanted {
            if !self.got.contains_key(sha256) {
                link.send(&ToPeer::Blob { blob: blob.clone(), central: central.clone() });
            }
        }
    }

    /// Takes one blob; gives all of them when it was the last, or why they cannot be had.
    pub fn take(
        &mut self,
        sha256: Digest,
        got: Result<OwnedFd, String>,
        link: &Link,
    ) -> Option<Result<Blobs, Verdict>> {
        let (blob, _) = self.wanted.get(&sha256)?;
        let fd = match got {
            Ok(fd) => fd,
            Err(reason) => return Some(Err(Verdict { retry: true, reason })),
        };
        match read_descriptor(&fd, blob.length) {
            Ok(bytes) if Digest::of(&bytes) == sha256 => self.got.insert(sha256, bytes),
            Ok(_) => {
                link.send(&ToPeer::Corrupt { sha256 });
                return Some(Err(Verdict { retry: true, reason: format!("blob {sha256} from the peer is corrupt") }));
            }
            Err(e) => return Some(Err(Verdict { retry: true, reason: format!("blob {sha256} from the peer: {e}") })),
        };
        if self.got.len() < self.wanted.len() {
            return None;
        }
        let bytes = std::mem::take(&mut self.got);
        Some(Ok(Blobs { bundle: self.bundle.clone(), bytes }))
    }
}

/// A bundle that holds.
pub struct Judged {
    pub candidates: Vec<Candidate>,
    /// Apps that leave. The gateway's word is enough for that.
    pub removed: Vec<AppName>,
    pub parts: JudgedParts,
}

/// Judges every part: signatures, binding, hardware, manifest.
pub fn judge(agent: &Agent, blobs: &Blobs) -> Result<Judged, Verdict> {
    let now = agent.clock.now();
    // An expired trust file or certificate stops the start of an install, never what runs.
    let later = |reason: String| Verdict { retry: true, reason };
    agent.trust.trust.check_time(now).map_err(|e| later(format!("{e}; give this device a newer one")))?;
    agent
        .identity
        .check(&agent.trust, &agent.clock, Usage::Agent)
        .map_err(|e| later(format!("{e}; enroll this device again")))?;
    let mut judged = JudgedParts::new();
    let mut candidates = Vec::new();
    for part in &blobs.bundle.parts {
        let (candidate, manifest) = judge_part(agent, part, &blobs.bytes)
            .map_err(|reason| final_(format!("{} {}: {reason}", part.name, part.version)))?;
        judged.insert(part.commit, (part.manifest.clone(), Arc::new(manifest)));
        candidates.push(candidate);
    }
    Ok(Judged { candidates, removed: blobs.bundle.removed.clone(), parts: judged })
}

fn judge_part(agent: &Agent, part: &Part, bytes: &BTreeMap<Digest, Vec<u8>>) -> Result<(Candidate, Pieces), String> {
    let blob = |blob: &BlobRef| bytes.get(&blob.sha256).map(Vec::as_slice).unwrap_or_default();
    let object = blob(&part.commit_object);
    let meta = part.commit_meta.as_ref().map(blob).unwrap_or_default();
    let (trust, revoked) = (&agent.trust.trust, &agent.trust.revoked);
    let rule = Deployable { trust, revoked, ref_name: &part.ref_name };
    let judged = rule.judge(object, meta).and_then(|commit| {
        commit.check_kind(part.kind)?;
        commit.check_name(&part.name)?;
        Ok(commit)
    });
    let commit = judged.map_err(|e| refusal(part, &e))?;
    check_hardware(agent, part, &commit)?;
    let pieces = Pieces::open(blob(&part.manifest)).map_err(|e| format!("manifest: {e}"))?;
    if pieces.commit() != part.commit {
        return Err(format!("its manifest is for commit {}", pieces.commit()));
    }
    let metadata = commit.metadata;
    // What is in force was found to be one when it was checked out: the same again is no other version.
    let ends = foreign::ends_by_itself(&agent.settings.paths, &part.name, &part.commit);
    let start = StartOptions { job: part.start.job || ends, ..part.start.clone() };
    let candidate = Candidate {
        kind: part.kind,
        name: part.name.clone(),
        version: part.version.clone(),
        commit: part.commit,
        manifest: part.manifest.sha256,
        start,
        release: metadata.release,
        floor: metadata.floor,
        probation: metadata.probation.or(part.proof.seconds).map(|s| Duration::from_secs(s.into())),
        health: !metadata.health.is_empty(),
        notify: part.proof.notify,
        unsigned: !rule.is_signed(object, meta),
    };
    Ok((candidate, pieces))
}

fn refusal(part: &Part, why: &CommitRefusal) -> String {
    let commit = part.commit;
    match why {
        CommitRefusal::Unsigned(_) => {
            format!("commit {commit} {why}; sign it with `fullmetal publish --commit {commit}`")
        }
        _ => format!("commit {commit} {why}"),
    }
}

fn check_hardware(agent: &Agent, part: &Part, commit: &Commit) -> Result<(), String> {
    let ours = &agent.settings.device.hardware;
    for made_for in [&part.hardware, &commit.metadata.hardware] {
        if !made_for.is_empty() && !made_for.iter().any(|h| ours.contains(h)) {
            return Err(format!("made for hardware {made_for:?}, this device is {ours:?}"));
        }
    }
    Ok(())
}
