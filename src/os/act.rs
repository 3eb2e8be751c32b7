//! The steps that change something. What stands between two lines of one is what a power cut there leaves.

use super::deployed::Write;
use super::{OsError, Parts, Step};
use crate::boot_loader::{BootLoader, Counted, Tries};
use fullmetal_proto::{DeploymentId, Digest};

impl Parts {
    pub(super) fn act(&self, step: &Step) -> Result<(), OsError> {
        match step {
            Step::Look => Ok(()),
            Step::Room(commit) => self.deployed.room(commit),
            Step::Stage(commit) => self.stage(commit),
            Step::Arm { old, new } => self.arm(old, new),
            Step::GiveUp { old, new } => self.give_up(old, new),
            Step::Clear(id) => self.clear(id),
            Step::Clean { old, new } => self.clean(old, new),
            Step::Keep(commits) => self.keep(commits),
        }
    }

    fn stage(&self, commit: &Digest) -> Result<(), OsError> {
        self.ready()?;
        self.deployed.stage(commit).map(drop)
    }

    /// While the loader is armed and `new` is not first, `old` is booted and counted; from the swap on `new` is.
    fn arm(&self, old: &DeploymentId, new: &DeploymentId) -> Result<(), OsError> {
        // Before anything is changed: the same may succeed later.
        self.deployed.write(Write::Nothing)?;
        self.runs(old)?;
        if old == new {
            return Err(OsError::lasting(format!("OS deployment {new} runs already: it cannot be put on trial")));
        }
        let loader = self.loader()?;
        self.counts_none_but(loader, &[new])?;
        let staged = self.deployed.deployments()?.iter().any(|deployment| deployment.staged && deployment.id == *new);
        let begun = loader.counted()?.is_some();
        match self.may_arm((old, new), staged) {
            // Nothing of it is there yet, nor of an earlier try.
            Err(error) if !begun => Err(error),
            Err(error) => Err(self.disarm(loader, old, (new, staged), error)),
            Ok(()) => self
                .try_to_arm(loader, (old, new), staged)
                .map_err(|error| self.disarm(loader, old, (new, staged), error)),
        }
    }

    fn may_arm(&self, (old, new): (&DeploymentId, &DeploymentId), staged: bool) -> Result<(), OsError> {
        self.ready()?;
        let entries = self.entries()?;
        if !staged && !entries.contains(new) {
            return Err(OsError::lasting(format!(
                "OS deployment {new} is neither staged nor an entry of the boot loader"
            )));
        }
        match entries.first().filter(|first| ![old, new].contains(first)) {
            None => Ok(()),
            Some(first) => Err(OsError::lasting(format!(
                "the next boot would be of {first}, which somebody else made first: the loader could not fall back to {old}"
            ))),
        }
    }

    /// What others have put on trial is theirs to end; a trial of what is not there any more is none.
    fn counts_none_but(&self, loader: &dyn BootLoader, ours: &[&DeploymentId]) -> Result<(), OsError> {
        let Some(counted) = loader.counted()? else { return Ok(()) };
        let is_theirs = match &counted.trial {
            None => true,
            Some(trial) if ours.contains(&trial) => false,
            Some(trial) => self.deployed.deployments()?.iter().any(|deployment| deployment.id == *trial),
        };
        match is_theirs {
            false => Ok(()),
            true => {
                Err(OsError::lasting(format!("the boot loader counts {}: that is left alone", told(Some(&counted)))))
            }
        }
    }

    fn try_to_arm(
        &self,
        loader: &dyn BootLoader,
        (old, new): (&DeploymentId, &DeploymentId),
        staged: bool,
    ) -> Result<(), OsError> {
        loader.arm(new, Tries::default())?;
        if staged {
            self.deployed.write(Write::Finalized(new))?;
        } else {
            self.deployed.write(Write::First(&[*new, *old]))?;
            self.deployed.check_next(new)?;
        }
        // The loader's configuration was written anew, and one that counts by names has its count only now.
        self.ready()?;
        match loader.counted()? {
            Some(Counted { trial, tries_left: 1.. }) if trial == Some(*new) => Ok(()),
            counted => Err(OsError::lasting(format!("the boot loader counts {}, not {new}", told(counted.as_ref())))),
        }
    }

    /// Nothing is counted any more only once `old` is first: else `new` would be booted come what may. And `new` goes only then: a
    /// boot loader may not see at once that it has gone.
    fn disarm(
        &self,
        loader: &dyn BootLoader,
        old: &DeploymentId,
        (new, was_staged): (&DeploymentId, bool),
        error: OsError,
    ) -> OsError {
        let restored = self.end_counting(loader, old).and_then(|()| match was_staged {
            true => self.deployed.write(Write::Without(new)),
            false => Ok(()),
        });
        match restored {
            Ok(()) => OsError { retry: false, ..error },
            Err(then) => OsError::lasting(format!("{error}; then what ran was not made to boot next again: {then}")),
        }
    }

    /// Makes `first` boot, come what may.
    fn end_counting(&self, loader: &dyn BootLoader, first: &DeploymentId) -> Result<(), OsError> {
        self.deployed.write(Write::First(&[*first]))?;
        // A loader that counts by names is cleared in entries that were written anew, too.
        loader.clear()?;
        match loader.counted()? {
            None => Ok(()),
            counted => Err(OsError::lasting(format!("the boot loader still counts {}", told(counted.as_ref())))),
        }
    }

    fn give_up(&self, old: &DeploymentId, new: &DeploymentId) -> Result<(), OsError> {
        self.runs(new)?;
        let loader = self.loader()?;
        self.counts_none_but(loader, &[new, old])?;
        // A third one may have come in between; what is counted is booted as before.
        self.deployed.write(Write::First(&[*new, *old]))?;
        loader.give_up(new)?;
        match loader.counted()? {
            Some(Counted { trial, tries_left: 0 }) if trial == Some(*new) => Ok(()),
            counted => Err(OsError::lasting(format!("the boot loader counts {}", told(counted.as_ref())))),
        }
    }

    fn clear(&self, id: &DeploymentId) -> Result<(), OsError> {
        self.runs(id)?;
        let loader = self.loader()?;
        // A script that counts from the beginning, as FullMetalUpdate's does, names nothing.
        let unnamed = loader.counted()?.is_some_and(|counted| counted.trial.is_none());
        if !(unnamed && self.entries()?.first() == Some(id)) {
            self.counts_none_but(loader, &[id])?;
        }
        self.end_counting(loader, id)
    }

    /// The tries of what failed are used up: the second entry is booted, which would be what failed once `old` is first. So the
    /// first is counted meanwhile: what failed until `old` is before it, and that from then on.
    fn clean(&self, old: &DeploymentId, new: &DeploymentId) -> Result<(), OsError> {
        // Also makes /boot writable, where the loader's variables are.
        self.deployed.write(Write::Nothing)?;
        self.runs(old)?;
        let loader = self.loader()?;
        self.counts_none_but(loader, &[new, old])?;
        let is_entry = self.entries()?.contains(new);
        if is_entry && loader.counted()?.is_some() {
            self.deployed.write(Write::First(&[*new, *old]))?;
            loader.arm(old, Tries::default())?;
        }
        if let Err(error) = self.end_counting(loader, old) {
            // What failed must not boot again because what ran could not be put before it.
            if is_entry && self.entries()?.first() == Some(new) {
                loader.give_up(new)?;
            }
            return Err(error);
        }
        // A boot loader may not see at once that it has gone.
        self.deployed.write(Write::Without(new))
    }

    fn keep(&self, commits: &[Digest]) -> Result<(), OsError> {
        if let Some(counted) = self.loader()?.counted()? {
            let told = told(Some(&counted));
            return Err(OsError::lasting(format!("the boot loader counts {told}: what it may need is kept")));
        }
        self.deployed.write(Write::Kept(commits))
    }
}

fn told(counted: Option<&Counted>) -> String {
    match counted {
        None => "nothing".into(),
        Some(Counted { trial: Some(trial), tries_left }) => format!("{trial}, {tries_left} boots left"),
        Some(Counted { trial: None, tries_left }) => format!("a trial that nobody named, {tries_left} boots left"),
    }
}
