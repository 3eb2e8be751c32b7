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

pub use fullmetal_proto::deploy::OsStep as Step;

use fullmetal_proto::deploy::OsView;

/// What has steps done.
pub trait Os: Send {
    /// Has a step done, and looks afterwards; `None` where the root is no deployment of OSTree.
    ///
    /// # Errors
    /// What, where and what to do, in one line; also when an unknown or unprepared boot loader booted this device.
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
