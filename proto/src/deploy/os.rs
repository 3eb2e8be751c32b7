//! A device's operating system: as whoever looks at the disk and at the boot loader sees it, and the steps that change it.

use super::record::NewPart;
use crate::{DeploymentId, Digest};
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
    /// After [`OsStep::Stage`]: see [`StagedOs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub etc_kept: Vec<String>,
}

/// An operating system that is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedOs {
    /// What becomes the first entry.
    pub id: DeploymentId,
    /// Some of the paths `/etc/…` that it comes with otherwise than what runs did, and that this device had changed by itself: they
    /// stay as the device has them.
    pub etc_kept: Vec<String>,
}

/// One step of an operating system's update. Every one may be asked for again after a power cut in its midst, and does then
/// what was left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OsStep {
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
    /// On trial and failed: the next boot is of the old deployment.
    GiveUp {
        /// What it falls back to.
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

/// The operating system that a deployment brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOs {
    /// What it is; never "in force already".
    #[serde(rename = "p")]
    pub part: NewPart,
    /// What ran when it was judged.
    #[serde(rename = "o")]
    pub old: DeploymentId,
    /// What was staged.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub new: Option<DeploymentId>,
    /// The boot in which its trial was journalled.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
}

/// The kernel's random name of one boot: `/proc/sys/kernel/random/boot_id` without its dashes, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(pub String);

/// The end of a boot, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBoot {
    /// Which.
    pub boot: BootId,
    /// Its last lines.
    pub lines: Vec<String>,
}

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
