//! The operating system's part of the work on a deployment: its objects go into the sysroot's repository, its steps are had done.

use crate::os::{Os, OsError, Step};
use crate::repo::{StoreError, SystemStore};
use fullmetal_proto::deploy::OsView;
use fullmetal_proto::{DeploymentId, Digest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::info;

/// The operating system of this device.
pub struct System {
    repo: PathBuf,
    os: Option<Arc<dyn Os>>,
}

impl System {
    /// `os` is absent where the root is no deployment of OSTree; else `repo` is what it was deployed from.
    pub fn new(repo: PathBuf, os: Option<Arc<dyn Os>>) -> Self {
        System { repo, os }
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

    /// Stages a commit of its repository.
    pub fn stage(&self, commit: &Digest) -> Result<DeploymentId, OsError> {
        let missing = |what: &str| OsError { reason: format!("{what}; deploy again"), retry: false };
        let os = self.os.as_ref().ok_or_else(|| missing("this device's root is no deployment of OSTree"))?;
        info!(commit = %commit.short(), "staging");
        os.ask(&Step::Room(*commit))?;
        let staged = os.ask(&Step::Stage(*commit))?.and_then(|view| view.staged);
        let staged = staged.filter(|staged| staged.commit == *commit);
        staged.ok_or_else(|| missing(&format!("{commit} was staged and is not there: something else deploys here")))
    }
}
