//! What is to be seen of an operating system.

use super::{OsError, Parts};
use crate::boot_loader::{BootLoader, Found, Kind};
use crate::sysroot::{self, OsDeployment};
use fullmetal_proto::DeploymentId;
use fullmetal_proto::deploy::OsView;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

impl Parts {
    pub(super) fn look(&self) -> Result<OsView, OsError> {
        let all = self.deployed.deployments()?;
        let (staged, entries): (Vec<OsDeployment>, Vec<OsDeployment>) = all.into_iter().partition(|d| d.staged);
        let booted = entries.iter().find(|deployment| deployment.booted);
        let booted = booted.ok_or_else(|| OsError::lasting("no deployment runs: look at `ostree admin status`"))?;
        let (counted, obstacle) = match &self.loader {
            Err(error) => (None, Some(error.clone())),
            Ok(found) => match found.loader.counted() {
                Err(error) => (None, Some(error.into())),
                Ok(counted) => (counted, check(found).err()),
            },
        };
        Ok(OsView {
            booted: booted.id,
            version: booted.version.clone().unwrap_or_default(),
            boot: self.boot.clone(),
            entries: entries.iter().map(|entry| entry.id).collect(),
            staged: staged.first().map(|staged| staged.id),
            counted,
            entry: self.entry,
            obstacle: obstacle.map(|error| error.reason),
            etc_kept: Vec::new(),
        })
    }

    /// The loader, whether or not something can be put on trial with it.
    pub(super) fn loader(&self) -> Result<&dyn BootLoader, OsError> {
        self.loader.as_ref().map(|found| &*found.loader).map_err(Clone::clone)
    }

    /// Whether something can be put on trial.
    pub(super) fn ready(&self) -> Result<(), OsError> {
        self.loader.as_ref().map_err(Clone::clone).and_then(check)
    }

    /// The loader's entries, the first one first.
    pub(super) fn entries(&self) -> Result<Vec<DeploymentId>, OsError> {
        let all = self.deployed.deployments()?;
        Ok(all.iter().filter(|deployment| !deployment.staged).map(|deployment| deployment.id).collect())
    }

    /// Whether this runs.
    pub(super) fn runs(&self, id: &DeploymentId) -> Result<(), OsError> {
        let all = self.deployed.deployments()?;
        match all.iter().find(|deployment| deployment.booted) {
            Some(booted) if booted.id == *id => Ok(()),
            Some(booted) => Err(OsError::lasting(format!("OS deployment {} runs, not {id}", booted.id))),
            None => Err(OsError::lasting(format!("no deployment runs, so not {id}"))),
        }
    }
}

/// Whether boots can be counted, and would be with the entries that libostree writes as it finalizes.
fn check(found: &Found) -> Result<(), OsError> {
    found.loader.check()?;
    if found.kind != Kind::Grub {
        return Ok(());
    }
    let is_program = |path: &String| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 1 != 0);
    match sysroot::generator()? {
        Some(program) if is_program(&program) => Ok(()),
        Some(program) => Err(OsError::lasting(format!(
            "OSTREE_GRUB2_EXEC of ostree-finalize-staged.service is {program}, which is no program: name fullmetal-grub"
        ))),
        None => Err(OsError::lasting(
            "ostree-finalize-staged.service would not have fullmetal-grub make GRUB's configuration: \
             set OSTREE_GRUB2_EXEC for it as docs/integrators-os.md says",
        )),
    }
}
