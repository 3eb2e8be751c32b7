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
//! | [`drop_all_but`](Sysroot::drop_all_but) | the others are gone, but for what runs, what is pinned and what is not ours |

mod error;
mod finalize;
mod kernel;

pub use error::SysrootError;

use fullmetal_proto::Digest;
use kernel::Kernel;
use ostree::gio::prelude::*;
use ostree::glib::{self, KeyFile};
use ostree::{SysrootDeployTreeOpts, SysrootWriteDeploymentsOpts, gio};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

/// There once `ostree-prepare-root` has put a deployment in place as the root.
const BOOTED: &str = "run/ostree-booted";
/// The group of a deployment's origin file that says that we made it.
const OURS: &str = "fullmetal";
/// While it is there, libostree does not finalize what is staged.
const STAGED_LOCK: &str = "run/ostree/staged-deployment-locked";
/// How long others may hold the sysroot, and how often it is tried again.
const LOCK_MAX: Duration = Duration::from_secs(30);
const LOCK_AGAIN: Duration = Duration::from_millis(200);

/// The deployments of the running system.
#[derive(Debug)]
pub struct Sysroot {
    path: PathBuf,
}

/// One deployment, as libostree lists it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OsDeployment {
    /// The OSTree commit.
    pub commit: Digest,
    /// Which of several deployments of the commit.
    pub serial: i32,
    /// `version` of the commit's metadata, for people.
    pub version: Option<String>,
    /// It is the running root.
    pub booted: bool,
    /// It will boot next once it is finalized.
    pub staged: bool,
    /// Local root keeps it from being removed.
    pub pinned: bool,
    /// We deployed it.
    pub ours: bool,
}

/// libostree's view at one moment; a lock that it holds goes with it.
struct View {
    sysroot: ostree::Sysroot,
    booted: ostree::Deployment,
}

impl View {
    /// What the loader can boot, in its order: without what is staged.
    fn entries(&self) -> Vec<ostree::Deployment> {
        self.sysroot.deployments().into_iter().filter(|deployment| !deployment.is_staged()).collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.sysroot.unlock();
    }
}

impl Sysroot {
    /// That of the system which runs at `root` (`/`), unless its root is not deployed by OSTree.
    pub fn of(root: &Path) -> Option<Self> {
        root.join(BOOTED).exists().then(|| Sysroot { path: root.to_owned() })
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
            if Kernel::of(&repo, &self.path, &self.commit_of(&deployment)?)? == new {
                return Ok(());
            }
        }
        new.fits(&self.path.join("boot"), commit)
    }

    /// Checks the commit out as a deployment that waits for [`finalize`](Self::finalize), with the kernel arguments of the
    /// running one. It is locked: a shutdown before that would boot it, and nothing would count that. What is staged so
    /// already stays; anything else that is staged is dropped.
    ///
    /// # Errors
    /// When libostree cannot.
    pub fn stage(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        if let Some(staged) = view.sysroot.staged_deployment() {
            if staged.csum() == commit.to_string() && self.staged_lock().exists() {
                return Ok(());
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
        staged.map_err(self.failed("staging a deployment"))?;
        match lock.try_exists() {
            Ok(true) => Ok(()),
            other => {
                drop(view);
                self.withdraw_staged()?;
                let gone = other.err().unwrap_or_else(|| io::ErrorKind::NotFound.into());
                Err(SysrootError::io("looking for the lock of what is staged,", &lock)(gone))
            }
        }
    }

    fn withdraw_staged(&self) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        self.write(&view, &view.entries())
    }

    /// Makes the staged commit boot next: stops the unit that would do so at shutdown, and looks at what came of it. What is
    /// so already stays so.
    ///
    /// # Errors
    /// When it is not staged, when `/etc` cannot be merged or `/boot` written, or when the loader would not boot it whole.
    /// Then it is neither staged nor an entry of the loader any more.
    pub fn finalize(&self, commit: &Digest) -> Result<(), SysrootError> {
        if self.check_next(commit).is_ok() {
            return Ok(());
        }
        let staged = self.deployments()?.into_iter().find(|deployment| deployment.staged);
        if staged.as_ref().is_none_or(|staged| staged.commit != *commit) {
            let instead = staged.map_or("nothing".into(), |staged| staged.commit.to_string());
            return Err(SysrootError::NotStaged { commit: *commit, instead });
        }
        let finalized = self.finalize_staged().and_then(|()| self.check_next(commit));
        if finalized.is_err() {
            self.withdraw(commit)?;
        }
        finalized.map_err(|error| SysrootError::NotFinalized {
            commit: *commit,
            said: finalize::said(),
            source: Box::new(error),
        })
    }

    fn finalize_staged(&self) -> Result<(), SysrootError> {
        let lock = self.staged_lock();
        fs::remove_file(&lock)
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .map_err(SysrootError::io("removing", &lock))?;
        finalize::run()
    }

    /// Takes a commit that does not run out of what is staged and of the loader's entries.
    ///
    /// # Errors
    /// When the entries cannot be written.
    pub fn withdraw(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        let goes = |d: &ostree::Deployment| d.csum() == commit.to_string() && !d.equal(&view.booted);
        let stay: Vec<_> = view.entries().into_iter().filter(|d| !goes(d)).collect();
        self.write(&view, &stay)
    }

    /// Whether the boot loader takes this commit next, would read its kernel whole, and has what runs now as its second
    /// entry, to which it falls back.
    ///
    /// # Errors
    /// When not, with what is there instead.
    pub fn check_next(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.view()?;
        let deployments = view.entries();
        let next = deployments.first();
        let is_it = next.filter(|next| next.csum() == commit.to_string());
        let instead = || next.map_or("nothing".into(), |next| next.csum().to_string());
        let next = is_it.ok_or_else(|| SysrootError::NotNext { commit: *commit, instead: instead() })?;
        if !next.equal(&view.booted) && deployments.get(1).is_none_or(|second| !second.equal(&view.booted)) {
            let booted = self.commit_of(&view.booted)?;
            return Err(SysrootError::NotSecond { booted });
        }
        let tree = view.sysroot.deployment_directory(next).path().unwrap_or_default();
        let repo = view.sysroot.repo();
        Kernel::of(&repo, &self.path, commit)?.check(&repo, (&self.path.join("boot"), &tree), next, commit)
    }

    /// Makes the booted deployment, or the one that booted before it, boot next again: what `commit` names.
    ///
    /// # Errors
    /// When it is not deployed, or the entries cannot be written.
    pub fn boot_next(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        let mut deployments = view.entries();
        let named = deployments.iter().position(|deployment| deployment.csum() == commit.to_string());
        let instead = || deployments.first().map_or("nothing".into(), |first| first.csum().to_string());
        let named = named.ok_or_else(|| SysrootError::NotNext { commit: *commit, instead: instead() })?;
        deployments[..=named].rotate_right(1);
        self.write(&view, &deployments)
    }

    /// Removes our deployments but those of these commits, and what is staged; never what runs or is pinned, nor what others
    /// deployed.
    ///
    /// # Errors
    /// When libostree cannot.
    pub fn drop_all_but(&self, keep: &[Digest]) -> Result<(), SysrootError> {
        let view = self.locked_view()?;
        let mut kept = Vec::new();
        for deployment in view.entries() {
            let told = self.told(&view, &deployment)?;
            if told.booted || told.pinned || !told.ours || keep.contains(&told.commit) {
                kept.push(deployment);
            }
        }
        self.write(&view, &kept)?;
        view.sysroot.cleanup(gio::Cancellable::NONE).map_err(self.failed("removing old deployments"))
    }

    /// Gives the order in which deployments boot, without those that are not in it.
    fn write(&self, view: &View, order: &[ostree::Deployment]) -> Result<(), SysrootError> {
        // Cleaning up would prune the repository, too, of what was fetched and is not deployed yet.
        let options = SysrootWriteDeploymentsOpts { do_postclean: false };
        let written = view.sysroot.write_deployments_with_options(order, &options, gio::Cancellable::NONE);
        written.map_err(self.failed("writing the boot entries"))
    }

    /// Waits a while for others that write.
    fn locked_view(&self) -> Result<View, SysrootError> {
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

    fn staged_lock(&self) -> PathBuf {
        self.path.join(STAGED_LOCK)
    }

    fn view(&self) -> Result<View, SysrootError> {
        let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(&self.path)));
        sysroot.load(gio::Cancellable::NONE).map_err(self.failed("reading the deployments"))?;
        let booted = sysroot.booted_deployment();
        let booted = booted.ok_or_else(|| SysrootError::NotBooted { path: self.path.clone() })?;
        Ok(View { sysroot, booted })
    }

    fn told(&self, view: &View, deployment: &ostree::Deployment) -> Result<OsDeployment, SysrootError> {
        let commit = self.commit_of(deployment)?;
        let loaded = view.sysroot.repo().load_commit(&commit.to_string());
        let (content, _) = loaded.map_err(self.failed("reading the commit of a deployment"))?;
        let metadata = glib::VariantDict::new(Some(&content.child_value(0)));
        // An origin is handed on to what `ostree admin upgrade` deploys later.
        let has_ours = |origin: KeyFile| origin.string(OURS, "commit").is_ok_and(|ours| ours == deployment.csum());
        Ok(OsDeployment {
            commit,
            serial: deployment.deployserial(),
            version: metadata.lookup::<String>("version").ok().flatten(),
            booted: deployment.equal(&view.booted),
            staged: deployment.is_staged(),
            pinned: deployment.is_pinned(),
            ours: deployment.origin().is_some_and(has_ours),
        })
    }

    fn commit_of(&self, deployment: &ostree::Deployment) -> Result<Digest, SysrootError> {
        let text = deployment.csum();
        text.parse().map_err(|_| SysrootError::NotBooted { path: self.path.clone() })
    }

    fn failed(&self, what: &'static str) -> impl Fn(glib::Error) -> SysrootError + '_ {
        move |source| SysrootError::Libostree { what, path: self.path.clone(), source }
    }
}
