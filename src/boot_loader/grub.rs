//! GRUB: boots are counted by the script that `boot/grub/fullmetal-grub` makes, in GRUB's environment block.
//!
//! | variable | is |
//! |---|---|
//! | `fullmetal_trial` | the deployment on trial; boots are counted while it is there |
//! | `fullmetal_tries` | boots of the first entry that are left; GRUB counts it down with `save_env` before it boots. Anything but 1 to 5: the second entry |
//! | `fullmetal_saved` | `1` once GRUB itself has written the block. It cannot on btrfs, ZFS, LVM or RAID: <https://www.gnu.org/software/grub/manual/grub/html_node/Environment-block.html> |

use super::grub_env::GrubEnv;
use super::{BootLoader, BootLoaderError, Counted, DeploymentId, Places, Tries, cmdline};
use std::fs;

const NAME: &str = "GRUB";
/// The first line of a configuration whose counting is known here.
const MADE_BY: &str = "# fullmetal-grub 1";

/// GRUB with our script.
pub struct Grub {
    places: Places,
}

impl Grub {
    /// The GRUB whose files are at `places`.
    pub fn new(places: Places) -> Self {
        Grub { places }
    }

    fn env(&self) -> Result<GrubEnv, BootLoaderError> {
        GrubEnv::read(&self.places.grub_env())
    }

    fn count(&self, trial: &DeploymentId, tries: u8) -> Result<(), BootLoaderError> {
        let (trial, tries) = (trial.to_string(), tries.to_string());
        self.env()?.set(&[("fullmetal_tries", Some(&tries)), ("fullmetal_trial", Some(&trial))])
    }
}

fn unprepared(problem: impl Into<String>, remedy: &'static str) -> BootLoaderError {
    BootLoaderError::Unprepared { loader: NAME, problem: problem.into(), remedy }
}

impl BootLoader for Grub {
    fn check(&self) -> Result<Option<&'static str>, BootLoaderError> {
        let config = self.places.loader().join("grub.cfg");
        let text = fs::read_to_string(&config).unwrap_or_default();
        if text.lines().next() != Some(MADE_BY) {
            let problem = format!("{} was not made by fullmetal-grub", config.display());
            return Err(unprepared(problem, "have libostree call it (OSTREE_GRUB2_EXEC) and deploy again"));
        }
        // A copy would go on naming deployments that are gone.
        let read = self.places.grub_env().with_file_name("grub.cfg");
        let at = |path: &std::path::Path| fs::canonicalize(path).ok();
        if at(&read).is_none_or(|read| Some(read) != at(&config)) {
            let problem = format!("{} is no link to {}", read.display(), config.display());
            return Err(unprepared(problem, "make it the link ../loader/grub.cfg, as docs/integrators-os.md has it"));
        }
        if cmdline::loader(&self.places)?.as_deref() != Some("grub") {
            return Err(unprepared("this boot did not go through that configuration", "reboot once"));
        }
        let env =
            self.env().map_err(|e| unprepared(e.to_string(), "make the block with `grub-editenv FILE create`"))?;
        if env.get("fullmetal_saved") != Some("1") {
            let remedy = "put /boot on a plain partition with ext4: GRUB writes to none on btrfs, ZFS, LVM or RAID";
            return Err(unprepared("it booted this, but could not write its environment block", remedy));
        }
        Ok(None)
    }

    fn arm(&self, trial: &DeploymentId, tries: Tries) -> Result<(), BootLoaderError> {
        self.count(trial, tries.get())
    }

    fn counted(&self) -> Result<Option<Counted>, BootLoaderError> {
        let env = self.env()?;
        let trial = env.get("fullmetal_trial").filter(|trial| !trial.is_empty());
        Ok(trial.map(|trial| Counted { trial: trial.parse().ok(), tries_left: tries(env.get("fullmetal_tries")) }))
    }

    fn give_up(&self, trial: &DeploymentId) -> Result<(), BootLoaderError> {
        self.count(trial, 0)
    }

    fn clear(&self) -> Result<(), BootLoaderError> {
        self.env()?.set(&[("fullmetal_trial", None), ("fullmetal_tries", None)])
    }
}

/// What our scripts make of it: anything but a number that they know is used up.
pub(super) fn tries(text: Option<&str>) -> u8 {
    let known = text.and_then(|text| text.parse().ok()).and_then(Tries::new);
    known.map_or(0, Tries::get)
}
