//! U-Boot: boots are counted by a script of its own shell, in its environment; `CONFIG_BOOTCOUNT_LIMIT` is not needed.
//!
//! | variable of `boot/u-boot/fullmetal.cmd` | is |
//! |---|---|
//! | `fullmetal_trial` | the deployment on trial; boots are counted while it is there |
//! | `fullmetal_tries` | boots of the first entry that are left, counted down with `saveenv`. Anything but 1 to 5: the second entry |
//! | `fullmetal_saved` | `1` once U-Boot itself has saved the environment |
//!
//! FullMetalUpdate's script on its i.MX boards (`uEnv.txt` of its layer) has others. It boots the first entry where `success` is 1;
//! else it counts `trials` up to 5 before it boots that one, then boots the second; without `init_var` it sets `success` and `trials` to
//! 0. Its client deletes `init_var` to arm, and sets `success` to prove. We keep to that, and note the trial beside it.

use super::fw_env::FwEnv;
use super::{BootLoader, BootLoaderError, Counted, DeploymentId, Places, Tries, cmdline, grub, u_env};
use std::collections::BTreeMap;

const NAME: &str = "U-Boot";
const TRIAL: &str = "fullmetal_trial";
/// How `uEnv.txt` becomes what it should be.
const REMAKE: &str = "have libostree write it: an empty /boot/loader/uEnv.txt and no grub.cfg, then deploy again";
/// To what FullMetalUpdate's script counts.
const TRIALS_MAX: u8 = 5;

/// Which script counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Ours.
    Fullmetal,
    /// That of FullMetalUpdate's layer.
    FullMetalUpdate,
}

/// U-Boot with a script that counts.
pub struct UBoot {
    places: Places,
    env: FwEnv,
    script: Script,
}

impl UBoot {
    /// The U-Boot whose environment `etc/fw_env.config` describes.
    pub fn new(places: Places, script: Script) -> Self {
        let env = FwEnv::new(places.fw_env_config());
        UBoot { places, env, script }
    }

    /// Whether FullMetalUpdate's script has run here: nothing else makes both.
    pub(super) fn is_full_metal_updates(places: &Places) -> Result<bool, BootLoaderError> {
        let env = FwEnv::new(places.fw_env_config()).read()?;
        Ok(env.contains_key("trials") && env.contains_key("success"))
    }

    /// An environment that was lost reads as the one that is built in: as if nothing were counted.
    fn is_saved(&self, env: &Env) -> Result<(), BootLoaderError> {
        if env.get("fullmetal_saved").map(String::as_str) == Some("1") {
            return Ok(());
        }
        let problem =
            format!("`saveenv` has not reached what {} names, or it was lost since", self.env.config().display());
        Err(unprepared(problem, "build U-Boot with an environment that it can save, name its place, and reboot"))
    }

    fn count(&self, trial: &DeploymentId, tries: u8) -> Result<(), BootLoaderError> {
        let trial = trial.to_string();
        match self.script {
            Script::Fullmetal => self.env.set(&[(TRIAL, &trial), ("fullmetal_tries", &tries.to_string())]),
            Script::FullMetalUpdate => {
                let trials = (TRIALS_MAX - tries).to_string();
                self.env.set(&[(TRIAL, &trial), ("trials", &trials), ("success", "0"), ("init_var", "1")])
            }
        }
    }
}

fn unprepared(problem: String, remedy: &'static str) -> BootLoaderError {
    BootLoaderError::Unprepared { loader: NAME, problem, remedy }
}

impl BootLoader for UBoot {
    fn check(&self) -> Result<Option<&'static str>, BootLoaderError> {
        let env = self.env.read()?;
        if self.script == Script::Fullmetal {
            if cmdline::loader(&self.places)?.as_deref() != Some("u-boot") {
                return Err(unprepared("this boot did not go through fullmetal.cmd".into(), "install it, and reboot"));
            }
            self.is_saved(&env)?;
            // libostree writes none where it finds none, or where it sees another loader: U-Boot could boot nothing then.
            let named = u_env::names_the_entries(&self.places);
            if !named.map_err(|e| unprepared(e.to_string(), REMAKE))? {
                let problem = format!("{} is not of libostree's entries", u_env::path(&self.places).display());
                return Err(unprepared(problem, REMAKE));
            }
        }
        let one = "the environment has one copy, which a power cut may destroy: use CONFIG_SYS_REDUNDAND_ENVIRONMENT";
        Ok((self.env.copies()? < 2).then_some(one))
    }

    fn arm(&self, trial: &DeploymentId, tries: Tries) -> Result<(), BootLoaderError> {
        self.count(trial, tries.get())
    }

    fn counted(&self) -> Result<Option<Counted>, BootLoaderError> {
        let env = self.env.read()?;
        match self.script {
            Script::Fullmetal => self.is_saved(&env).map(|()| ours(&env)),
            Script::FullMetalUpdate => Ok(full_metal_updates(&env)),
        }
    }

    fn give_up(&self, trial: &DeploymentId) -> Result<(), BootLoaderError> {
        self.count(trial, 0)
    }

    fn clear(&self) -> Result<(), BootLoaderError> {
        match self.script {
            Script::Fullmetal => self.env.set(&[(TRIAL, ""), ("fullmetal_tries", "")]),
            Script::FullMetalUpdate => {
                self.env.set(&[(TRIAL, ""), ("trials", "0"), ("success", "1"), ("init_var", "1")])
            }
        }
    }
}

type Env = BTreeMap<String, String>;

fn trial(env: &Env) -> Option<DeploymentId> {
    env.get(TRIAL)?.parse().ok()
}

fn ours(env: &Env) -> Option<Counted> {
    env.get(TRIAL).filter(|trial| !trial.is_empty())?;
    Some(Counted { trial: trial(env), tries_left: grub::tries(env.get("fullmetal_tries").map(String::as_str)) })
}

fn full_metal_updates(env: &Env) -> Option<Counted> {
    let has = |name: &str, value: &str| env.get(name).is_some_and(|v| v == value);
    let armed = !env.contains_key("init_var");
    if !armed && has("success", "1") {
        return None;
    }
    let trials = env.get("trials").and_then(|text| text.parse().ok()).unwrap_or(TRIALS_MAX);
    let tries_left = if armed { TRIALS_MAX } else { TRIALS_MAX.saturating_sub(trials) };
    Some(Counted { trial: trial(env), tries_left })
}
