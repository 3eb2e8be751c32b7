//! What can go wrong with the operating system's deployments.

use fullmetal_proto::{DeploymentId, Digest};
use ostree::glib;
use std::path::{Path, PathBuf};

/// What can go wrong with the operating system's deployments.
#[derive(Debug, thiserror::Error)]
pub enum SysrootError {
    /// libostree failed.
    #[error("{what} in the sysroot {path}: {source}")]
    Libostree {
        /// What was being done, such as "staging a deployment".
        what: &'static str,
        /// The sysroot.
        path: PathBuf,
        /// libostree's answer.
        #[source]
        source: glib::Error,
    },
    /// A system call failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done, such as "reading".
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The running root is no deployment, although the system was booted with OSTree.
    #[error(
        "the system was booted with OSTree, but no deployment of {path} is the running root: look at `ostree admin status`"
    )]
    NotBooted {
        /// The sysroot.
        path: PathBuf,
    },
    /// The commit holds no kernel where libostree looks for one.
    #[error("OS commit {commit} has no kernel: it must be /usr/lib/modules/VERSION/vmlinuz")]
    NoKernel {
        /// Which.
        commit: Digest,
    },
    /// The kernel and what comes with it do not fit beside those that are there.
    #[error(
        "not enough space in {path} for the kernel of OS commit {commit}: it {lack}; `ostree admin status` lists whose kernels are \
         there: undeploy what nobody needs any more, with OSTREE_GRUB2_EXEC set where GRUB boots (docs/integrators-os.md)"
    )]
    BootFull {
        /// Where kernels lie.
        path: PathBuf,
        /// Whose kernel.
        commit: Digest,
        /// The figures.
        lack: String,
    },
    /// Nothing is staged, or something else.
    #[error("OS deployment {id} is not staged: {instead} is")]
    NotStaged {
        /// What should be.
        id: DeploymentId,
        /// What is.
        instead: String,
    },
    /// What the boot loader takes next is not what it should take.
    #[error("the boot loader's first entry is {instead}, not OS deployment {id}")]
    NotNext {
        /// What should be.
        id: DeploymentId,
        /// What is.
        instead: String,
    },
    /// The boot loader would fall back to something else than what runs now.
    #[error(
        "the boot loader's second entry is not OS deployment {booted}, which runs now: unpin or undeploy what comes before it, \
         with OSTREE_GRUB2_EXEC set where GRUB boots (docs/integrators-os.md)"
    )]
    NotSecond {
        /// What runs.
        booted: DeploymentId,
    },
    /// What was staged could not be made to boot next; it is dropped.
    #[error("OS deployment {id} was not made to boot next ({said}): {source}")]
    NotFinalized {
        /// Which.
        id: DeploymentId,
        /// The last words of libostree's unit.
        said: String,
        /// What was found then.
        #[source]
        source: Box<SysrootError>,
    },
    /// It would be dropped.
    #[error("somebody else has staged OS deployment {id}: reboot into it, or undeploy it (`ostree admin undeploy 0`)")]
    StagedByOthers {
        /// What is staged.
        id: DeploymentId,
    },
    /// Something else holds the lock.
    #[error("another program changes the deployments of {path}: wait until its `ostree admin` ends")]
    Busy {
        /// The sysroot.
        path: PathBuf,
    },
    /// A file that the boot loader reads differs from the commit's.
    #[error("{path} differs from the file of OS commit {commit}, or the boot entry names none")]
    Damaged {
        /// The loader's file.
        path: PathBuf,
        /// Whose kernel it should be.
        commit: Digest,
    },
}

impl SysrootError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| SysrootError::Io { what, path, source }
    }
}
