//! The device's operating system: what libostree has deployed in the sysroot, and what boots next.
//!
//! All is asked of libostree anew each time: a deployment is on the disk or it is not. The boot loader's counter is not
//! touched here; who stages arms it before [`Sysroot::finalize`] makes the new deployment the one that boots.
//!
//! | step | on the disk then |
//! |---|---|
//! | [`stage`](Sysroot::stage) | a checkout, and in `/run` that it is staged: a power cut forgets it |
//! | [`finalize`](Sysroot::finalize) | `/etc` is merged, the kernel lies in `/boot`, the loader's entries are swapped by one rename |
//! | [`check_next`](Sysroot::check_next) | the same, looked at once more as the loader will |
//! | [`drop_all_but`](Sysroot::drop_all_but) | the others are gone, but for what runs, what is pinned and what is not ours |

mod error;
mod kernel;

pub use error::SysrootError;

use fullmetal_proto::Digest;
use kernel::Kernel;
use ostree::gio;
use ostree::gio::prelude::*;
use ostree::glib::{self, KeyFile};
use std::path::{Path, PathBuf};
use std::process::Command;

/// There once `ostree-prepare-root` has put a deployment in place as the root.
const BOOTED: &str = "run/ostree-booted";
/// The group of a deployment's origin file that says that we made it.
const OURS: &str = "fullmetal";
/// Runs until shutdown; when it stops, what is staged is made to boot next.
const FINALIZE_UNIT: &str = "ostree-finalize-staged.service";

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

/// libostree's view at one moment.
struct View {
    sysroot: ostree::Sysroot,
    booted: ostree::Deployment,
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
        for deployment in view.sysroot.deployments().iter().filter(|deployment| !deployment.is_staged()) {
            if Kernel::of(&repo, &self.path, &self.commit_of(deployment)?)? == new {
                return Ok(());
            }
        }
        new.fits(&self.path.join("boot"), commit)
    }

    /// Checks the commit out as a deployment that waits for [`finalize`](Self::finalize), with the kernel arguments of the
    /// running one. What is staged already stays; something else that is staged is dropped.
    ///
    /// # Errors
    /// When libostree cannot.
    pub fn stage(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.view()?;
        let staged = view.sysroot.staged_deployment();
        if staged.is_some_and(|staged| staged.csum() == commit.to_string()) {
            return Ok(());
        }
        let arguments = view.booted.bootconfig().and_then(|config| config.get("options")).unwrap_or_default();
        let arguments: Vec<&str> = arguments.split_whitespace().filter(|a| !a.starts_with("ostree=")).collect();
        let commit = commit.to_string();
        let origin = view.sysroot.origin_new_from_refspec(&commit);
        origin.set_boolean(OURS, "deployed", true);
        let (os, booted) = (view.booted.osname(), Some(&view.booted));
        let staged =
            view.sysroot.stage_tree(Some(&os), &commit, Some(&origin), booted, &arguments, gio::Cancellable::NONE);
        staged.map(drop).map_err(self.failed("staging a deployment"))
    }

    /// Makes the staged commit boot next: stops the unit that would do so at shutdown, and looks at what came of it.
    ///
    /// # Errors
    /// When it is not staged, when `/etc` cannot be merged or `/boot` written, or when the loader would not boot it whole.
    pub fn finalize(&self, commit: &Digest) -> Result<(), SysrootError> {
        let staged = self.deployments()?.into_iter().find(|deployment| deployment.staged);
        if staged.as_ref().is_none_or(|staged| staged.commit != *commit) {
            let instead = staged.map_or("nothing".into(), |staged| staged.commit.to_string());
            return Err(SysrootError::NotStaged { commit: *commit, instead });
        }
        let stopped = Command::new("systemctl").args(["stop", FINALIZE_UNIT]).output();
        let stopped = stopped.map_err(SysrootError::io("running systemctl for", Path::new(FINALIZE_UNIT)))?;
        if !stopped.status.success() {
            let said = String::from_utf8_lossy(&stopped.stderr).trim().to_owned();
            let said = std::io::Error::other(format!("{}: {said}", stopped.status));
            return Err(SysrootError::io("stopping", Path::new(FINALIZE_UNIT))(said));
        }
        self.check_next(commit)
    }

    /// Whether the boot loader takes this commit next, and would read its kernel whole.
    ///
    /// # Errors
    /// When not, with what is there instead.
    pub fn check_next(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.view()?;
        let deployments = view.sysroot.deployments();
        let next = deployments.iter().find(|deployment| !deployment.is_staged());
        let is_it = next.filter(|next| next.csum() == commit.to_string());
        let instead = || next.map_or("nothing".into(), |next| next.csum().to_string());
        let next = is_it.ok_or_else(|| SysrootError::NotNext { commit: *commit, instead: instead() })?;
        let tree = view.sysroot.deployment_directory(next).path().unwrap_or_default();
        let repo = view.sysroot.repo();
        Kernel::of(&repo, &self.path, commit)?.check(&repo, (&self.path.join("boot"), &tree), next, commit)
    }

    /// Makes the booted deployment, or the one that booted before it, boot next again: what `commit` names.
    ///
    /// # Errors
    /// When it is not deployed, or the entries cannot be written.
    pub fn boot_next(&self, commit: &Digest) -> Result<(), SysrootError> {
        let view = self.view()?;
        let deployments: Vec<_> = view.sysroot.deployments().into_iter().filter(|d| !d.is_staged()).collect();
        let named = deployments.iter().position(|deployment| deployment.csum() == commit.to_string());
        let instead = || deployments.first().map_or("nothing".into(), |first| first.csum().to_string());
        let named = named.ok_or_else(|| SysrootError::NotNext { commit: *commit, instead: instead() })?;
        let mut order = deployments.clone();
        order[..=named].rotate_right(1);
        self.write(&view, &order)
    }

    /// Removes our deployments but those of these commits, and what is staged; never what runs or is pinned, nor what others
    /// deployed.
    ///
    /// # Errors
    /// When libostree cannot.
    pub fn drop_all_but(&self, keep: &[Digest]) -> Result<(), SysrootError> {
        let view = self.view()?;
        let mut kept = Vec::new();
        for deployment in view.sysroot.deployments() {
            let told = self.told(&view, &deployment)?;
            let stays = told.booted || told.pinned || !told.ours || keep.contains(&told.commit);
            if stays && !told.staged {
                kept.push(deployment);
            }
        }
        self.write(&view, &kept)?;
        view.sysroot.cleanup(gio::Cancellable::NONE).map_err(self.failed("removing old deployments"))
    }

    /// Gives the order in which deployments boot, without those that are not in it.
    fn write(&self, view: &View, order: &[ostree::Deployment]) -> Result<(), SysrootError> {
        let written = view.sysroot.write_deployments(order, gio::Cancellable::NONE);
        written.map_err(self.failed("writing the boot entries"))
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
        let has_ours = |origin: KeyFile| origin.has_group(OURS);
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
