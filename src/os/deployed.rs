//! The deployments as the steps see them: those of the sysroot, or in memory.

use super::OsError;
use crate::sysroot::{OsDeployment, Sysroot};
use fullmetal_proto::{DeploymentId, Digest};
use tracing::warn;

/// What is deployed, and what boots.
pub(super) trait Deployed {
    /// All, what boots next first; one that is staged comes before.
    fn deployments(&self) -> Result<Vec<OsDeployment>, OsError>;
    /// Whether the kernel of a commit fits into `/boot`.
    fn room(&self, commit: &Digest) -> Result<(), OsError>;
    /// Checks a commit out, locked; drops what else is staged.
    fn stage(&self, commit: &Digest) -> Result<DeploymentId, OsError>;
    /// What stays in `/etc` as the device has it, although this deployment changes it; nothing where it is none.
    fn etc_kept(&self, new: &DeploymentId) -> Vec<String>;
    /// Whether this boots next, whole, with what runs behind it.
    fn check_next(&self, id: &DeploymentId) -> Result<(), OsError>;
    /// Changes what boots: whole or not at all. A boot loader, which replays no journal, may see what was changed only after
    /// another change; but which of several entries is first it sees at once. What it counts is written where it lies.
    fn write(&self, what: Write<'_>) -> Result<(), OsError>;
}

/// A change of what boots.
pub(super) enum Write<'a> {
    /// Only waits until nobody else changes anything.
    Nothing,
    /// What is staged is the first entry.
    Finalized(&'a DeploymentId),
    /// This one is no entry, and nothing is staged.
    Without(&'a DeploymentId),
    /// These are the first entries, in this order.
    First(&'a [DeploymentId]),
    /// Nothing is staged, and of our deployments there are only those of these commits.
    Kept(&'a [Digest]),
}

impl Deployed for Sysroot {
    fn deployments(&self) -> Result<Vec<OsDeployment>, OsError> {
        Ok(Sysroot::deployments(self)?)
    }

    fn room(&self, commit: &Digest) -> Result<(), OsError> {
        Ok(self.check_boot_space(commit)?)
    }

    fn stage(&self, commit: &Digest) -> Result<DeploymentId, OsError> {
        Ok(Sysroot::stage(self, commit)?)
    }

    fn etc_kept(&self, new: &DeploymentId) -> Vec<String> {
        // It is only to be told, and no reason not to go on.
        let kept =
            Sysroot::etc_kept(self, new).inspect_err(|error| warn!(%error, "who has changed what in /etc is unknown"));
        kept.iter().flatten().for_each(|path| warn!(path, "changed here and by the release: it stays as here"));
        kept.unwrap_or_default()
    }

    fn check_next(&self, id: &DeploymentId) -> Result<(), OsError> {
        Ok(Sysroot::check_next(self, id)?)
    }

    fn write(&self, what: Write<'_>) -> Result<(), OsError> {
        let written = match what {
            Write::Nothing => self.wait(),
            // Settled also where all was so already: a power cut may have come in between.
            Write::Finalized(id) => self.finalize(id).and_then(|()| self.settle()),
            Write::First(ids) => self.put_first(ids).and_then(|()| self.settle()),
            Write::Without(id) => self.withdraw(id),
            Write::Kept(commits) => self.drop_all_but(commits),
        };
        Ok(written?)
    }
}
