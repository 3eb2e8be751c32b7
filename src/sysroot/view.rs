//! libostree's view of the deployments at one moment, and its lock.

use super::{OURS, OsDeployment, Sysroot, SysrootError};
use fullmetal_proto::DeploymentId;
use ostree::glib::{self, KeyFile};
use ostree::{SysrootWriteDeploymentsOpts, gio};
use std::time::{Duration, Instant};

/// How long others may hold the sysroot, and how often it is tried again.
const LOCK_MAX: Duration = Duration::from_secs(30);
const LOCK_AGAIN: Duration = Duration::from_millis(200);

/// libostree's view at one moment; a lock that it holds goes with it.
pub(super) struct View {
    pub(super) sysroot: ostree::Sysroot,
    pub(super) booted: ostree::Deployment,
}

impl View {
    /// What the loader can boot, in its order: without what is staged.
    pub(super) fn entries(&self) -> Vec<ostree::Deployment> {
        self.sysroot.deployments().into_iter().filter(|deployment| !deployment.is_staged()).collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.sysroot.unlock();
    }
}

impl Sysroot {
    /// Waits until nobody else changes the deployments; with mounts of its own, `/boot` and `/sysroot` are writable then.
    ///
    /// # Errors
    /// When others do so for too long, or libostree cannot.
    pub fn wait(&self) -> Result<(), SysrootError> {
        self.locked_view().map(drop)
    }

    /// Gives the order in which deployments boot, without those that are not in it.
    pub(super) fn write(&self, view: &View, order: &[ostree::Deployment]) -> Result<(), SysrootError> {
        // Cleaning up would prune the repository, too, of what was fetched and is not deployed yet.
        let options = SysrootWriteDeploymentsOpts { do_postclean: false };
        let written = view.sysroot.write_deployments_with_options(order, &options, gio::Cancellable::NONE);
        written.map_err(self.failed("writing the boot entries"))
    }

    /// Waits a while for others that write.
    pub(super) fn locked_view(&self) -> Result<View, SysrootError> {
        let began = Instant::now();
        loop {
            let view = self.view()?;
            if view.sysroot.try_lock().map_err(self.failed("locking"))? {
                let changed = view.sysroot.load_if_changed(gio::Cancellable::NONE);
                changed.map_err(self.failed("reading the deployments"))?;
                return Ok(view);
            }
            if began.elapsed() > LOCK_MAX {
                return Err(SysrootError::Busy { path: self.path.clone() });
            }
            std::thread::sleep(LOCK_AGAIN);
        }
    }

    pub(super) fn view(&self) -> Result<View, SysrootError> {
        if self.own_mounts {
            // Which has own mounts made holds the root as it was mounted before: across that libostree could link no file, and
            // would copy the whole system.
            drop(self.opened()?);
        }
        let sysroot = self.opened()?;
        sysroot.load(gio::Cancellable::NONE).map_err(self.failed("reading the deployments"))?;
        let booted = sysroot.booted_deployment();
        let booted = booted.ok_or_else(|| SysrootError::NotBooted { path: self.path.clone() })?;
        Ok(View { sysroot, booted })
    }

    fn opened(&self) -> Result<ostree::Sysroot, SysrootError> {
        let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(&self.path)));
        if self.own_mounts {
            let own = sysroot.initialize_with_mount_namespace(gio::Cancellable::NONE);
            own.map_err(self.failed("making mounts of its own"))?;
        }
        Ok(sysroot)
    }

    pub(super) fn told(&self, view: &View, deployment: &ostree::Deployment) -> Result<OsDeployment, SysrootError> {
        let id = self.id_of(deployment)?;
        // A deployment whose commit cannot be read is one all the same.
        let content = view.sysroot.repo().load_commit(&id.commit.to_string()).ok().map(|(content, _)| content);
        let metadata = content.map(|content| glib::VariantDict::new(Some(&content.child_value(0))));
        // An origin is handed on to what `ostree admin upgrade` deploys later.
        let has_ours = |origin: KeyFile| origin.string(OURS, "commit").is_ok_and(|ours| ours == deployment.csum());
        Ok(OsDeployment {
            id,
            version: metadata.and_then(|metadata| metadata.lookup::<String>("version").ok().flatten()),
            booted: deployment.equal(&view.booted),
            staged: deployment.is_staged(),
            pinned: deployment.is_pinned(),
            ours: deployment.origin().is_some_and(has_ours),
        })
    }

    pub(super) fn id_of(&self, deployment: &ostree::Deployment) -> Result<DeploymentId, SysrootError> {
        let (commit, serial) = (deployment.csum(), deployment.deployserial());
        let id = commit.parse().ok().zip(u32::try_from(serial).ok());
        let id = id.map(|(commit, serial)| DeploymentId { commit, serial });
        id.ok_or_else(|| SysrootError::NotBooted { path: self.path.clone() })
    }
}
