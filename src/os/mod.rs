//! The operating system's updates as the agent has them done: one step at a time, each of which may be asked for again.
//!
//! | step | before it, the machine has journalled | it does |
//! |---|---|---|
//! | [`Look`](Step::Look) | nothing | looks |
//! | [`Room`](Step::Room) | nothing | compares `/boot` with the commit's kernel |
//! | [`Stage`](Step::Stage) | nothing | checks the commit out beside what runs, locked |
//! | [`Arm`](Step::Arm) | that a trial begins | arms the loader, makes the new deployment its first entry, looks at it as the loader will |
//! | [`GiveUp`](Step::GiveUp) | why it failed | has the next boot be of the old deployment |
//! | [`Clear`](Step::Clear) | that it is proven | ends the counting |
//! | [`Clean`](Step::Clean) | that the loader fell back | takes the failed deployment out of the entries, then ends the counting |
//! | [`Keep`](Step::Keep) | nothing | drops what is staged, and our deployments but those |

use fullmetal_proto::deploy::OsView;
use fullmetal_proto::{DeploymentId, Digest};

/// One step. Every one may be asked for again after a power cut in its midst, and does then what was left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looks, and changes nothing.
    Look,
    /// Fails, with the figures, when the kernel of a commit in the repository does not fit into `/boot`.
    Room(Digest),
    /// Stages a commit of the repository, locked.
    Stage(Digest),
    /// Puts `new` on trial: it boots next, counted, and `old`, which runs, is what the loader falls back to.
    Arm {
        /// What runs.
        old: DeploymentId,
        /// What is staged, or an entry of the loader.
        new: DeploymentId,
    },
    /// On trial and failed: the next boot is of `old`.
    GiveUp {
        /// What ran before.
        old: DeploymentId,
        /// What runs, and failed.
        new: DeploymentId,
    },
    /// What runs is proven: it is booted come what may.
    Clear(DeploymentId),
    /// After a fall back to `old`: what failed goes out of the entries, and nothing is counted.
    Clean {
        /// What runs.
        old: DeploymentId,
        /// What failed.
        new: DeploymentId,
    },
    /// Removes what is staged, and our deployments but those of these commits; never what runs or is pinned.
    Keep(Vec<Digest>),
}

/// What has steps done.
pub trait Os: Send {
    /// Has a step done, and looks afterwards; `None` where the root is no deployment of OSTree.
    ///
    /// # Errors
    /// What, where and what to do, in one line. What stands in the way of a trial is no error of [`Step::Look`], which is asked
    /// for in the midst of one, too: see [`OsView::obstacle`].
    fn ask(&self, step: &Step) -> Result<Option<OsView>, OsError>;
}

/// Why a step was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct OsError {
    /// What, where and what to do, in one line.
    pub reason: String,
    /// The same may succeed later: somebody else holds the sysroot, or systemd does not answer.
    pub retry: bool,
}
