//! Boot loaders that count the boots of an operating system on trial, behind one port.
//!
//! The way of an update, each step the last line before which the power may go:
//! 1. before anything is fetched: [`detect`] says which loader booted this device, [`BootLoader::check`] whether it can count;
//! 2. before libostree puts the new deployment first among the loader's entries: [`BootLoader::arm`];
//!    Where the deployment is finished before the reboot, [`BootLoader::counted`] must still say so after it, or it is undone;
//! 3. after each boot: [`State::of`] what [`BootLoader::counted`] says and the deployment that is [`booted`];
//! 4. after the proof: [`BootLoader::clear`]; after a failed one [`BootLoader::give_up`], and a reboot;
//! 5. after a fall back: the failed deployment is taken out of the entries, then [`BootLoader::clear`]. In the other order
//!    the next boot would be of the failed one again, uncounted.
//!
//! The loader counts whenever it is armed, whatever its first entry is: a release with the kernel of its predecessor
//! changes no entry (libostree swaps `/ostree/boot.N` alone), so that no loader could tell the two apart. A cut between 2
//! and the swap therefore counts boots of the old version; the agent sees that and arms anew or clears. Which entry was
//! booted is said by [`entry`], where one of our scripts booted it.

mod cmdline;
mod deployment;
mod detect;
mod entries;
mod error;
mod fw_env;
mod grub;
mod grub_env;
mod memory;
mod places;
mod systemd_boot;
#[cfg(test)]
mod tests;
mod u_boot;
mod u_env;

pub use cmdline::{boot_id, entry};
pub use deployment::booted;
pub use detect::{Found, Kind, detect};
pub use error::BootLoaderError;
pub use fullmetal_proto::DeploymentId;
pub use fullmetal_proto::deploy::{Counted, Entry};
pub use grub::Grub;
pub use memory::MemoryLoader;
pub use places::Places;
pub use systemd_boot::SystemdBoot;
pub use u_boot::{Script, UBoot};

/// A boot loader with two entries, the first of which may be on trial.
///
/// Every method may be called again after a power cut in its middle, and does then what was left to do. What one writes is
/// there whole or not at all, and synced when it returns.
pub trait BootLoader {
    /// Whether boots can be counted here; an error says what to do first. What could be better is returned.
    fn check(&self) -> Result<Option<&'static str>, BootLoaderError>;

    /// Has the loader boot its first entry `tries` times, and the second from then on.
    fn arm(&self, trial: &DeploymentId, tries: Tries) -> Result<(), BootLoaderError>;

    /// What is being counted; `None` when the first entry is booted come what may.
    fn counted(&self) -> Result<Option<Counted>, BootLoaderError>;

    /// Has the next boot be of the second entry, as if all tries were used up.
    fn give_up(&self, trial: &DeploymentId) -> Result<(), BootLoaderError>;

    /// Ends the counting: the first entry is booted from now on.
    fn clear(&self) -> Result<(), BootLoaderError>;
}

/// How often a deployment on trial is booted: 1 to 5 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries(u8);

impl Tries {
    /// What the loaders' scripts count to.
    pub const MAX: u8 = 5;

    /// `None` for anything but 1 to 5.
    pub fn new(tries: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&tries).then_some(Tries(tries))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Tries {
    fn default() -> Self {
        Tries(3)
    }
}

/// Where a trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is counted.
    Cleared,
    /// Counted, but what runs is another deployment than the one on trial, or it is not known which.
    Armed(Counted),
    /// What runs is on trial.
    OnTrial(Counted),
    /// The loader has given the trial up: another deployment runs, and goes on being booted until it is cleared.
    FellBack(Counted),
}

impl State {
    /// What `counted` means while `booted` runs. `entry` is the one that was booted if the trial was armed before this boot,
    /// else `None`: a loader that cannot load the first entry goes on to the second, whatever tries are left.
    pub fn of(counted: Option<Counted>, booted: Option<&DeploymentId>, entry: Option<Entry>) -> Self {
        let Some(counted) = counted else { return State::Cleared };
        match (&counted.trial, booted) {
            (Some(trial), Some(booted)) if trial == booted => State::OnTrial(counted),
            (Some(_), Some(_)) if counted.tries_left == 0 || entry == Some(Entry::Second) => State::FellBack(counted),
            _ => State::Armed(counted),
        }
    }
}
