//! A device's operating system, as whoever looks at the disk and at the boot loader sees it.

use crate::DeploymentId;
use serde::{Deserialize, Serialize};

/// The operating system of a device that libostree deployed, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsView {
    /// What runs.
    pub booted: DeploymentId,
    /// `version` of its commit's metadata, for people; empty when it has none.
    pub version: String,
    /// Which boot this is: another after each.
    pub boot: BootId,
    /// What the boot loader can boot, its first entry first; without what is staged.
    pub entries: Vec<DeploymentId>,
    /// What is checked out and becomes the first entry when it is finalized.
    pub staged: Option<DeploymentId>,
    /// What the boot loader counts.
    pub counted: Option<Counted>,
    /// The entry that was booted, where the boot loader says so.
    pub entry: Option<Entry>,
    /// Why nothing can be put on trial here, in one line: the boot loader is unknown or not prepared, or cannot be read. What
    /// it counts may be unknown then, and `counted` is `None` whatever it is.
    pub obstacle: Option<String>,
}

/// The kernel's random name of one boot, as `/proc/sys/kernel/random/boot_id` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(pub String);

/// What a boot loader counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The deployment on trial; `None` if whoever armed did not say, such as FullMetalUpdate's client.
    pub trial: Option<DeploymentId>,
    /// Boots of the first entry that are left. 0: the next boot is of the second one.
    pub tries_left: u8,
}

/// Which of a boot loader's entries was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// The one that may be on trial.
    First,
    /// The one to fall back to.
    Second,
}
