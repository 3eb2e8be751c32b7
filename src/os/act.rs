//! The steps that change something. What stands between two lines of one is what a power cut there leaves.

use super::{OsError, Parts, Step};
use crate::boot_loader::{BootLoader, Counted, Tries, detect};
use fullmetal_proto::{DeploymentId, Digest};

impl Parts {
    pub(super) fn act(&self, step: &Step) -> Result<(), OsError> {
        match step {
            Step::Look => Ok(()),
            Step::Room(commit) => Ok(self.sysroot.check_boot_space(commit)?),
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
        Ok(self.sysroot.stage(commit).map(drop)?)
    }

    /// While the loader is armed and `new` is not first, `old` is booted and counted; from the swap on `new` is.
    fn arm(&self, old: &DeploymentId, new: &DeploymentId) -> Result<(), OsError> {
        // Before anything is changed: the same may succeed later.
        self.sysroot.wait()?;
        self.runs(old)?;
        if old == new {
            return Err(OsError::lasting(format!("OS deployment {new} runs already: it cannot be put on trial")));
        }
        let loader = detect(&self.places)?.loader;
        self.counts_none_but(&*loader, &[new])?;
        let staged = self.sysroot.deployments()?.iter().any(|deployment| deployment.staged && deployment.id == *new);
        let armed = self.try_to_arm(&*loader, new, staged);
        armed.map_err(|error| self.disarm(&*loader, old, (new, staged), error))
    }

    /// What others have put on trial is theirs to end; a trial of what is not there any more is none.
    fn counts_none_but(&self, loader: &dyn BootLoader, ours: &[&DeploymentId]) -> Result<(), OsError> {
        let Some(counted) = loader.counted()? else { return Ok(()) };
        let is_theirs = match &counted.trial {
            None => true,
            Some(trial) if ours.contains(&trial) => false,
            Some(trial) => self.sysroot.deployments()?.iter().any(|deployment| deployment.id == *trial),
        };
        match is_theirs {
            false => Ok(()),
            true => {
                Err(OsError::lasting(format!("the boot loader counts {}: that is left alone", told(Some(&counted)))))
            }
        }
    }

    fn try_to_arm(&self, loader: &dyn BootLoader, new: &DeploymentId, staged: bool) -> Result<(), OsError> {
        self.ready()?;
        if !staged && !self.entries()?.contains(new) {
            return Err(OsError::lasting(format!(
                "OS deployment {new} is neither staged nor an entry of the boot loader"
            )));
        }
        loader.arm(new, Tries::default())?;
        if staged {
            self.sysroot.finalize(new)?;
        } else {
            self.sysroot.put_first(&[*new])?;
            self.sysroot.check_next(new)?;
        }
        // The loader's configuration was written anew, and one that counts by names has its count only now.
        self.ready()?;
        match loader.counted()? {
            Some(Counted { trial, tries_left: 1.. }) if trial == Some(*new) => Ok(()),
            counted => Err(OsError::lasting(format!("the boot loader counts {}, not {new}", told(counted.as_ref())))),
        }
    }

    /// Nothing is counted any more only once `old` is first: else `new` would be booted come what may.
    fn disarm(
        &self,
        loader: &dyn BootLoader,
        old: &DeploymentId,
        (new, was_staged): (&DeploymentId, bool),
        error: OsError,
    ) -> OsError {
        let restored = match was_staged {
            true => self.sysroot.withdraw(new),
            false => Ok(()),
        };
        let restored = restored.map_err(OsError::from).and_then(|()| self.end_counting(loader, old));
        match restored {
            Ok(()) => OsError { retry: false, ..error },
            Err(then) => OsError::lasting(format!("{error}; then what ran was not made to boot next again: {then}")),
        }
    }

    /// Makes `first` boot, come what may.
    fn end_counting(&self, loader: &dyn BootLoader, first: &DeploymentId) -> Result<(), OsError> {
        self.sysroot.put_first(&[*first])?;
        // A loader that counts by names is cleared in entries that were written anew, too.
        loader.clear()?;
        match loader.counted()? {
            None => Ok(()),
            counted => Err(OsError::lasting(format!("the boot loader still counts {}", told(counted.as_ref())))),
        }
    }

    fn give_up(&self, old: &DeploymentId, new: &DeploymentId) -> Result<(), OsError> {
        self.runs(new)?;
        let loader = detect(&self.places)?.loader;
        self.counts_none_but(&*loader, &[new, old])?;
        // A third one may have come in between; what is counted is booted as before.
        self.sysroot.put_first(&[*new, *old])?;
        loader.give_up(new)?;
        match loader.counted()? {
            Some(Counted { trial, tries_left: 0 }) if trial == Some(*new) => Ok(()),
            counted => Err(OsError::lasting(format!("the boot loader counts {}", told(counted.as_ref())))),
        }
    }

    fn clear(&self, id: &DeploymentId) -> Result<(), OsError> {
        self.runs(id)?;
        let loader = detect(&self.places)?.loader;
        self.counts_none_but(&*loader, &[id])?;
        self.end_counting(&*loader, id)
    }

    /// The tries of what failed are used up: the second entry is booted. With a third deployment that would be another once
    /// the failed one is gone, so that the first is counted meanwhile: what failed until it goes, what runs from then on.
    fn clean(&self, old: &DeploymentId, new: &DeploymentId) -> Result<(), OsError> {
        self.runs(old)?;
        let loader = detect(&self.places)?.loader;
        self.counts_none_but(&*loader, &[new, old])?;
        let entries = self.entries()?;
        if loader.counted()?.is_some() {
            if entries.contains(new) {
                self.sysroot.put_first(&[*new, *old])?;
            }
            if let Some(tries) = Tries::new(Tries::MAX) {
                loader.arm(old, tries)?;
            }
        }
        self.sysroot.withdraw(new)?;
        self.end_counting(&*loader, old)
    }

    fn keep(&self, commits: &[Digest]) -> Result<(), OsError> {
        if let Some(counted) = detect(&self.places)?.loader.counted()? {
            let told = told(Some(&counted));
            return Err(OsError::lasting(format!("the boot loader counts {told}: what it may need is kept")));
        }
        Ok(self.sysroot.drop_all_but(commits)?)
    }
}

fn told(counted: Option<&Counted>) -> String {
    match counted {
        None => "nothing".into(),
        Some(Counted { trial: Some(trial), tries_left }) => format!("{trial}, {tries_left} boots left"),
        Some(Counted { trial: None, tries_left }) => format!("a trial that nobody named, {tries_left} boots left"),
    }
}
