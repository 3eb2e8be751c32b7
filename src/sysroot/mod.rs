//! The device's operating system: what libostree has deployed in the sysroot, and what boots next.
//!
//! All is asked of libostree anew each time: a deployment is on the disk or it is not. The boot loader's counter is not
//! touched here; who stages arms it before [`Sysroot::finalize`] makes the new deployment the one that boots. Who writes holds
//! libostree's lock of the sysroot, so that an `ostree admin` beside us does not undo it.
//!
//! | step | on the disk then |
//! |---|---|
//! | [`stage`](Sysroot::stage) | a checkout, and in `/run` that it is staged and locked: neither a shutdown nor a power cut makes it boot |
//! | [`finalize`](Sysroot::finalize) | `/etc` is merged, the kernel lies in `/boot`, the loader's entries are swapped by one rename |
//! | [`check_next`](Sysroot::check_next) | the same, looked at once more as the loader will |
//! | [`drop_all_but`](Sysroot::drop_all_but) | the others are gone, but for what runs, what is pinned and what is not ours; so is what was fetched and not deployed |

mod error;
mod etc;
mod finalize;
mod held;
mod kernel;
mod others;
mod view;

pub use error::SysrootError;
pub use finalize::generator;
pub use kernel::may_fit;
pub(crate) use kernel::{INITRAMFS, MODULES, OLDER, beside_kernel, beside_older_kernel, has_initramfs};

use fullmetal_proto::{DeploymentId, Digest};
use kernel::Kernel;
use ostree::gio::prelude::*;
use ostree::{SysrootDeployTreeOpts, gio, glib};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::{fs, io};
use tracing::{info, warn};
use view::View;

/// There once `ostree-prepare-root` has put a deployment in place as the root.
const BOOTED: &str = "run/ostree-booted";
/// The group of a deployment's origin file that says that it is [ours](OsDeployment::ours).
const OURS: &str = "fullmetal";
/// While it is there, libostree does not finalize what is staged.
const STAGED_LOCK: &str = "run/ostree/staged-deployment-locked";
/// The deployments of the running system.
#[derive(Debug)]
pub struct Sysroot {
    path: PathBuf,
    /// This process has mounts of its own.
    own_mounts: bool,
}

/// One deployment, as libostree lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OsDeployment {
    /// The OSTree commit, and which of several deployments of it.
    #[serde(flatten, serialize_with = "in_two")]
    pub id: DeploymentId,
    /// `version` of the commit's metadata, for people.
    pub version: Option<String>,
    /// It is the running root.
    pub booted: bool,
    /// It will boot next once it is finalized.
    pub staged: bool,
    /// Local root keeps it from being removed.
    pub pinned: bool,
    /// We deployed it, or something beside it while it ran.
    pub ours: bool,
}

/// As `commit` and `serial`.
fn in_two<S: Serializer>(id: &DeploymentId, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Two<'a> {
        commit: &'a Digest,
        serial: u32,
    }
    Two { commit: &id.commit, serial: id.serial }.serialize(to)
}

impl Sysroot {
    /// That of the system which runs at `root` (`/`), unless its root is not deployed by OSTree.
    pub fn of(root: &Path) -> Option<Self> {
        root.join(BOOTED).exists().then(|| Sysroot { path: root.to_owned(), own_mounts: false })
    }

    /// The same for a process of a single thread, to which `/boot` and `/sysroot` become writable: it gets mounts of its own.
    pub fn with_own_mounts(self) -> Self {
        Sysroot { own_mounts: true, ..self }
    }

    /// All deployments, what boots next first. One that is staged comes before.
    ///
    /// # Errors
    /// When libostree cannot read them.
    pub fn deployments(&self) -> Result<Vec<OsDeployment>, SysrootError> {
        let view = self.view()?;
        view.sysroot.deployments().iter().map(|deployment| self.told(&view, deployment)).collect()
    }

    /// Compares the space in `/boot` with what the commit's kernel takes there; the commit must be in the repository. One
    /// that a present deployment has takes none.
    ///
    /// # Errors
    /// When it does not fit, with the figures, or the commit has no kernel.
    pub fn check_boot_space(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.view()?;
        let repo = view.sysroot.repo();
        let new = Kernel::of(&repo, &self.path, commit)?;
        for deployment in view.entries() {
            // One of others may be damaged.
            if Kernel::of(&repo, &self.path, &self.id_of(&deployment)?.commit).is_ok_and(|kernel| kernel == new) {
                return Ok(());
            }
        }
        new.fits(&self.path.join("boot"), commit)
    }

    /// Checks the commit out as a deployment that waits for [`finalize`](Self::finalize), with the kernel arguments of the
    /// running one. It is locked: a shutdown before that would boot it, and nothing would count that. What is staged so
    /// already stays; anything else of ours that is staged is dropped.
    ///
    /// # Errors
    /// When libostree cannot, or others have staged something.
    pub fn stage(&self, commit: &Digest) -> Result<DeploymentId, SysrootError> {
        let view = self.locked_view()?;
        if let Some(staged) = view.sysroot.staged_deployment() {
            if staged.csum() == commit.to_string() && self.staged_lock().exists() {
                return self.id_of(&staged);
            }
            if let Some(staged) = self.staged_by_others(&view)? {
                return Err(SysrootError::StagedByOthers { id: staged });
            }
            // Newer libostree takes the lock of what was staged before for its own to remove.
            drop(view);
            self.withdraw_staged()?;
            return self.stage(commit);
        }
        let arguments = view.booted.bootconfig().and_then(|config| config.get("options")).unwrap_or_default();
        let arguments: Vec<&str> = arguments.split_whitespace().filter(|a| !a.starts_with("ostree=")).collect();
        let commit = commit.to_string();
        let origin = view.sysroot.origin_new_from_refspec(&commit);
        origin.set_string(OURS, "commit", &commit);
        let (os, booted) = (view.booted.osname(), Some(&view.booted));
        let options = SysrootDeployTreeOpts {
            locked: true,
            override_kernel_argv: Some(&arguments),
            ..SysrootDeployTreeOpts::default()
        };
        let none = gio::Cancellable::NONE;
        // Older libostree has the lock made by whoever stages, newer takes it away unless it is asked for it.
        let lock = self.staged_lock();
        fs::create_dir_all(lock.parent().unwrap_or(&lock))
            .map_err(SysrootError::io("making the directory of", &lock))?;
        fs::write(&lock, "").map_err(SysrootError::io("making", &lock))?;
        let staged = view.sysroot.stage_tree_with_options(Some(&os), &commit, Some(&origin), booted, &options, none);
        let staged = staged.map_err(self.failed("staging a deployment"))?;
        match lock.try_exists() {
            Ok(true) => self.id_of(&staged),
            other => {
                drop(view);
                self.withdraw_staged()?;
                let gone = other.err().unwrap_or_else(|| io::ErrorKind::NotFound.into());
                Err(SysrootError::io("looking for the lock of what is staged,", &lock)(gone))
            }
        }
    }

    /// Has boot loaders, too, see which entry is the first. They do not replay a file system's journal: where that was changed last
    /// and is not written out yet, they see what was first before.
    ///
    /// # Errors
    /// When libostree cannot.
    pub fn settle(&self) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        // libostree freezes that file system for a moment before it changes what boots, which writes the journal out. It does
        // nothing at all for the deployments that it has, and changes no entry where they are another's reading of the same; only
        // what runs must be its own.
        let (own, other) = (view.entries(), self.view()?.entries());
        if let [_] = &own[..] {
            // What runs alone cannot be another's reading. This writes out what ext4 has in its journal, too, if not for certain.
            rustix::fs::sync();
            return Ok(());
        }
        let same = own.into_iter().zip(other).map(|(own, other)| if own.equal(&view.booted) { own } else { other });
        self.write(&view, &same.collect::<Vec<_>>())
    }

    fn withdraw_staged(&self) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        self.write(&view, &view.entries())
    }

    /// Makes what is staged boot next: stops the unit that would do so at shutdown, and looks at what came of it. What is
    /// so already stays so. Of our own deployments only what runs and what is pinned stays beside it; those of others stay.
    ///
    /// # Errors
    /// When it is not staged, when `/etc` cannot be merged or `/boot` written, or when the loader would not boot it whole: then
    /// it may be the loader's first entry all the same.
    pub fn finalize(&self, id: &DeploymentId) -> Result<(), SysrootError> {
        if self.check_next(id).is_ok() {
            self.try_to_let_go_of_others();
            return Ok(());
        }
        let staged = self.deployments()?.into_iter().find(|deployment| deployment.staged);
        if staged.as_ref().is_none_or(|staged| staged.id != *id) {
            let instead = staged.map_or("nothing".into(), |staged| staged.id.to_string());
            return Err(SysrootError::NotStaged { id: *id, instead });
        }
        let finalized = self.hold_others().and_then(|()| self.finalize_staged()).and_then(|()| self.check_next(id));
        self.try_to_let_go_of_others();
        finalized.map_err(|error| SysrootError::NotFinalized {
            id: *id,
            said: finalize::said(),
            source: Box::new(error),
        })
    }

    /// Else they are pinned until the next [`drop_all_but`](Self::drop_all_but).
    fn try_to_let_go_of_others(&self) {
        if let Err(error) = self.let_go_of_others() {
            warn!(%error, "deployments of others stay pinned for now");
        }
    }

    fn finalize_staged(&self) -> Result<(), SysrootError> {
        let lock = self.staged_lock();
        fs::remove_file(&lock)
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .map_err(SysrootError::io("removing", &lock))?;
        finalize::run()
    }

    /// Takes a deployment that does not run, and what is staged, out of what boots.
    ///
    /// # Errors
    /// When the entries cannot be written.
    pub fn withdraw(&self, id: &DeploymentId) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        let mut stay = Vec::new();
        for deployment in view.entries() {
            if deployment.equal(&view.booted) || self.id_of(&deployment)? != *id {
                stay.push(deployment);
            }
        }
        self.write(&view, &stay)
    }

    /// Whether the boot loader takes this deployment next, would read its kernel whole, and has what runs now as its second
    /// entry, to which it falls back.
    ///
    /// # Errors
    /// When not, with what is there instead.
    pub fn check_next(&self, id: &DeploymentId) -> Result<(), SysrootError> {
        let view = self.view()?;
        let deployments = view.entries();
        let first = deployments.first().map(|first| self.id_of(first)).transpose()?;
        let instead = || first.map_or("nothing".into(), |first| first.to_string());
        let next = deployments.first().filter(|_| first == Some(*id));
        let next = next.ok_or_else(|| SysrootError::NotNext { id: *id, instead: instead() })?;
        if !next.equal(&view.booted) && deployments.get(1).is_none_or(|second| !second.equal(&view.booted)) {
            return Err(SysrootError::NotSecond { booted: self.id_of(&view.booted)? });
        }
        self.check_kernel(&view, next)?;
        // What it falls back to is as good as that.
        match deployments.get(1).filter(|_| !next.equal(&view.booted)) {
            Some(second) => self.check_kernel(&view, second),
            None => Ok(()),
        }
    }

    fn check_kernel(&self, view: &View, deployment: &ostree::Deployment) -> Result<(), SysrootError> {
        let tree = view.sysroot.deployment_directory(deployment).path().unwrap_or_default();
        let (repo, commit) = (view.sysroot.repo(), self.id_of(deployment)?.commit);
        Kernel::of(&repo, &self.path, &commit)?.check(&repo, (&self.path.join("boot"), &tree), deployment, &commit)
    }

    /// Makes these deployments the loader's first entries, in this order; the others follow as they did. What is staged is
    /// dropped, unless all is so already. The loader's counter is for its first entry, whatever that is: who changes it sees
    /// to that.
    ///
    /// # Errors
    /// When one is not among the entries, or they cannot be written.
    pub fn put_first(&self, first: &[DeploymentId]) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        let mut rest = Vec::new();
        for deployment in view.entries() {
            rest.push((self.id_of(&deployment)?, deployment));
        }
        let before: Vec<DeploymentId> = rest.iter().map(|(id, _)| *id).collect();
        if before.starts_with(first) {
            return Ok(());
        }
        let mut order = Vec::new();
        for id in first {
            let place = rest.iter().position(|(other, _)| other == id);
            let instead = || before.first().map_or("nothing".into(), |first| first.to_string());
            let place = place.ok_or_else(|| SysrootError::NotNext { id: *id, instead: instead() })?;
            order.push(rest.remove(place).1);
        }
        order.extend(rest.into_iter().map(|(_, deployment)| deployment));
        self.write(&view, &order)
    }

    /// Removes our deployments but those of these commits, and what is staged; never what runs or is pinned, nor what others
    /// deployed. Where others have staged something, nothing goes for now.
    ///
    /// # Errors
    /// When libostree cannot.
    pub fn drop_all_but(&self, keep: &[Digest]) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        if let Some(staged) = self.staged_by_others(&view)? {
            info!(%staged, "somebody else has staged this: old deployments stay until it has booted");
            return Ok(());
        }
        let mut kept = Vec::new();
        for deployment in view.entries() {
            let told = self.told(&view, &deployment)?;
            if told.booted || told.pinned || !told.ours || keep.contains(&told.id.commit) {
                kept.push(deployment);
            }
        }
        self.write(&view, &kept)?;
        drop(view);
        if self.has_entries_before() {
            // Cleaning up removes them, and what they lead to: a boot loader must not see them any more. Without a block free the
            // disks are synced instead: cleaning up is what frees some.
            self.settle().unwrap_or_else(|_| rustix::fs::sync());
        }
        let view = self.locked_view()?;
        self.let_go_but(&view, keep)?;
        view.sysroot.cleanup(gio::Cancellable::NONE).map_err(self.failed("removing old deployments"))?;
        drop(view);
        // Last: it needs a block, which a full disk has only now.
        self.let_go_of_others()
    }

    fn staged_by_others(&self, view: &View) -> Result<Option<DeploymentId>, SysrootError> {
        let staged = view.sysroot.staged_deployment().map(|staged| self.told(view, &staged)).transpose()?;
        Ok(staged.filter(|staged| !staged.ours).map(|staged| staged.id))
    }

    /// Whether there are entries from before the last change: libostree writes them to one of two directories in turn.
    fn has_entries_before(&self) -> bool {
        let boot = self.path.join("boot");
        let now = fs::read_link(boot.join("loader")).unwrap_or_default();
        ["loader.0", "loader.1"].iter().any(|dir| now != Path::new(dir) && boot.join(dir).exists())
    }

    fn staged_lock(&self) -> PathBuf {
        self.path.join(STAGED_LOCK)
    }

    fn failed(&self, what: &'static str) -> impl Fn(glib::Error) -> SysrootError + '_ {
        move |source| SysrootError::Libostree { what, path: self.path.clone(), source }
    }
}
