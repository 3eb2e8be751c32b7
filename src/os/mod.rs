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
//!
//! [`act`] does a step in a process of its own, `fullmetal os`, which has the mounts and the means for it.
//! At every moment of a step the power may go: what boots then is either counted, or the deployment that ran.

mod act;
mod deployed;
mod error;
mod look;
mod memory;
mod reboot;
#[cfg(test)]
mod tests;
mod unit;

pub use error::OsError;
pub use fullmetal_proto::deploy::OsStep as Step;
pub use memory::MemoryOs;
pub use reboot::{reboot, shutdown_inhibited};
pub use unit::UnitOs;

use crate::boot_loader::{self, Entry, Found, Places};
use crate::sysroot::Sysroot;
use deployed::Deployed;
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{BootId, OsView};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The arguments of `fullmetal os` that have it done.
pub fn words(step: &Step) -> Vec<String> {
    let (name, ids): (&str, Vec<String>) = match step {
        Step::Look => ("look", vec![]),
        Step::Room(commit) => ("room", vec![commit.to_string()]),
        Step::Stage(commit) => ("stage", vec![commit.to_string()]),
        Step::Arm { old, new } => ("arm", vec![old.to_string(), new.to_string()]),
        Step::GiveUp { old, new } => ("give-up", vec![old.to_string(), new.to_string()]),
        Step::Clear(id) => ("clear", vec![id.to_string()]),
        Step::Clean { old, new } => ("clean", vec![old.to_string(), new.to_string()]),
        Step::Keep(commits) => ("keep", commits.iter().map(Digest::to_string).collect()),
    };
    [vec![name.to_owned()], ids].concat()
}

/// What has steps done.
pub trait Os: Send + Sync {
    /// Has a step done, and looks afterwards; `None` where the root is no deployment of OSTree.
    ///
    /// # Errors
    /// What, where and what to do, in one line. What stands in the way of a trial is no error of [`Step::Look`], which is asked
    /// for in the midst of one, too: see [`OsView::obstacle`].
    fn ask(&self, step: &Step) -> Result<Option<OsView>, OsError>;
}

/// What `fullmetal os` says of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done; what is to be seen then.
    View(Option<Box<OsView>>),
    /// It is not.
    Error(OsError),
}

/// What a step looks at and changes.
struct Parts {
    deployed: Box<dyn Deployed>,
    loader: Result<Found, OsError>,
    boot: BootId,
    entry: Option<Entry>,
}

impl Parts {
    fn do_and_look(&self, step: &Step) -> Result<OsView, OsError> {
        self.act(step)?;
        let view = self.look()?;
        let etc_kept = match (step, &view.staged) {
            (Step::Stage(_), Some(staged)) => self.deployed.etc_kept(staged),
            _ => Vec::new(),
        };
        Ok(OsView { etc_kept, ..view })
    }
}

/// Does a step in this process, which gets mounts of its own for that, and looks afterwards; `None` where the root is no
/// deployment of OSTree. Where GRUB boots, `OSTREE_GRUB2_EXEC` must be set to [`GENERATOR`].
///
/// # Errors
/// As [`Os::ask`] has them.
pub fn act(step: &Step, root: &Path) -> Result<Option<OsView>, OsError> {
    let Some(sysroot) = Sysroot::of(root) else { return Ok(None) };
    let places = Places::below(root);
    let parts = Parts {
        deployed: Box::new(sysroot.with_own_mounts()),
        loader: boot_loader::detect(&places).map_err(OsError::from),
        boot: boot_loader::boot_id(&places)?,
        entry: boot_loader::entry(&places)?,
    };
    parts.do_and_look(step).map(Some)
}

/// Where libostree finds what makes GRUB's configuration.
pub const GENERATOR: (&str, &str) = ("OSTREE_GRUB2_EXEC", "/usr/lib/fullmetal/fullmetal-grub");
