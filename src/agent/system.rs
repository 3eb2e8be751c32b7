//! The operating system's part of the work on a deployment: its objects go into the sysroot's repository, its steps are had done.

use super::space::same_disk;
use crate::config::Paths;
use crate::os::{Os, OsError, Step};
use crate::repo::{Objects as _, StoreError, SystemStore};
use crate::sysroot;
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{OsView, StagedOs};
use fullmetal_proto::wire::{ObjectId, Pieces};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

/// What a file's object has besides the file, as a rule much less.
const HEAD_LEN_MAX: u64 = 4096;

/// The operating system of this device.
pub struct System {
    repo: PathBuf,
    boot: PathBuf,
    os: Option<Arc<dyn Os>>,
}

impl System {
    /// `os` is absent where the root is no deployment of OSTree.
    pub fn new(paths: &Paths, os: Option<Arc<dyn Os>>) -> Self {
        System { repo: paths.system_repo(), boot: paths.root().join("boot"), os }
    }

    /// Where its objects are.
    pub fn repo(&self) -> &Path {
        &self.repo
    }

    /// Opens its repository.
    pub fn store(&self) -> Result<SystemStore, StoreError> {
        SystemStore::open(&self.repo)
    }

    /// What there is now. Without knowing what runs nothing is deployed, also no app.
    ///
    /// # Errors
    /// Why it cannot be told; it may be later.
    pub fn look(&self) -> Result<Option<OsView>, OsError> {
        let looked = self.os.as_ref().map_or(Ok(None), |os| os.ask(&Step::Look));
        looked.map_err(|error| OsError { retry: true, ..error })
    }

    /// Whether `/boot` can take what is to be fetched. What fits here may still not fit, see [`Step::Room`]. Deployments are whole: a
    /// kernel of which something is missing is that of none. On one disk with the repository it is the same file in both.
    pub fn may_boot(&self, commit: &Digest, pieces: &Pieces) -> Result<(), String> {
        let files = pieces.boot_files();
        if files.is_empty() || same_disk(&self.boot, &self.repo) {
            return Ok(());
        }
        let ids: Vec<ObjectId> = files.iter().map(|(id, _)| *id).collect();
        let missing = self.store().and_then(|store| store.missing(&ids)).map_err(|e| e.to_string())?;
        if missing.is_empty() {
            return Ok(());
        }
        let least = files.iter().map(|(_, length)| length.saturating_sub(HEAD_LEN_MAX));
        sysroot::may_fit(&self.boot, least, commit).map_err(|e| e.to_string())
    }

    /// Removes our deployments but those of these commits. What does not go goes next time.
    pub fn keep(&self, commits: Vec<Digest>) {
        let Some(os) = &self.os else { return };
        info!("removing what is not needed any more");
        let kept = os.ask(&Step::Keep(commits));
        if let Err(error) = kept {
            warn!(%error, "old deployments of the operating system not removed");
        }
    }

    /// Stages a commit of its repository.
    pub fn stage(&self, commit: &Digest) -> Result<StagedOs, OsError> {
        let missing = |what: &str| OsError { reason: format!("{what}; deploy again"), retry: false };
        let os = self.os.as_ref().ok_or_else(|| missing("this device's root is no deployment of OSTree"))?;
        info!(commit = %commit.short(), "staging");
        os.ask(&Step::Room(*commit))?;
        let view = os.ask(&Step::Stage(*commit))?;
        let staged = view.and_then(|view| view.staged.map(|id| StagedOs { id, etc_kept: view.etc_kept }));
        let staged = staged.filter(|staged| staged.id.commit == *commit);
        staged.ok_or_else(|| missing(&format!("{commit} was staged and is not there: something else deploys here")))
    }
}
