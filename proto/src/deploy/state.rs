//! The states of a deployment and every allowed move between them.

use std::fmt;

/// Where the machine stands. Each state that ends in "-ing" up to [`State::RollingBack`], except
/// [`State::Proving`], has exactly one work [`Effect`](super::Effect) under way (or waits to retry it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Before [`Input::Start`](super::Input::Start).
    Off,
    /// Nothing to do, or the next wish may not start yet.
    Idle,
    /// The adapter pulls the bundle's blobs and verifies them.
    Judging,
    /// The adapter compares the space needed with the space there is.
    Measuring,
    /// The adapter fetches frames and imports objects.
    Fetching,
    /// The adapter checks the new versions out beside the running ones.
    CheckingOut,
    /// All is ready; mode, locks, inhibitors or validity hold the switch back.
    Staged,
    /// The switch is journalled: the old version may be down.
    Switching,
    /// The new version runs and is watched.
    Proving,
    /// The old version is brought back.
    RollingBack,
    /// After a start in the midst of a trial of an operating system: the adapter looks which one runs.
    Looking,
    /// The trial is journalled: the adapter arms the boot loader and makes the new operating system boot next.
    Arming,
    /// All that is left to do is a reboot, into the trial or back from it.
    Rebooting,
    /// The new operating system is proven: the adapter ends the boot loader's counting.
    Clearing,
    /// The new operating system runs and failed: the adapter has the boot loader boot the old one.
    GivingUp,
    /// The old operating system runs: the adapter takes the other out of the boot loader's entries.
    Cleaning,
    /// The end is journalled; its terminal report is not yet safe in the spool.
    Reporting,
    /// What nobody needs any more is removed; nothing starts meanwhile.
    Pruning,
}

/// What moves the machine from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Start: no deployment is journalled.
    FoundNothing,
    /// Start: an end is journalled whose report may not be spooled.
    FoundEnd,
    /// Start: a deployment is journalled that had not begun to switch.
    FoundStaging,
    /// Start: a switch or probation is journalled.
    FoundSwitch,
    /// Start: a switch or probation is journalled that was interrupted too often.
    FoundWornOut,
    /// Start: a roll back is journalled.
    FoundRollBack,
    /// Start: a trial of an operating system is journalled.
    FoundTrial,
    /// The trial was interrupted before the boot loader's entries were changed, or before the reboot.
    FoundArming,
    /// The power went before the boot loader's entries were changed: what was armed is taken back.
    FoundCut,
    /// The new operating system runs and is proven already.
    FoundProven,
    /// A wish is taken up.
    TakenUp,
    /// Root wants a version back that is here.
    ByHand,
    /// The bundle holds.
    Accepted,
    /// Every part of the bundle is in force already.
    InForce,
    /// There is enough space.
    Fits,
    /// All objects are in the store.
    Imported,
    /// All parts lie beside the running ones.
    CheckedOut,
    /// Nothing holds the switch back.
    Begun,
    /// Nothing holds the trial of an operating system back.
    TrialBegun,
    /// The new operating system boots next.
    Armed,
    /// The boot loader boots come what may what it boots now.
    Cleared,
    /// The boot loader boots the old operating system next, or does so once its tries are used up.
    GaveUp,
    /// What was armed is taken back, and it begins anew.
    TakenBack,
    /// The new versions are in place.
    Switched,
    /// The probation is over and all is well.
    Proven,
    /// The probation is over and all is well, also the operating system.
    TrialProven,
    /// The old apps are in place while the new operating system runs.
    LeavesTrial,
    /// The old apps are in place, and so is the old operating system.
    IsBack,
    /// The switch failed, or a part failed its probation.
    Broken,
    /// The old versions are in place.
    Reverted,
    /// Some of the old versions cannot be brought back.
    GivenUp,
    /// The bundle does not hold, does not fit, or cannot be had: final.
    Refused,
    /// The gateway no longer wishes it.
    Withdrawn,
    /// All terminal reports are in the spool.
    Spooled,
    /// The store holds only what is needed.
    Pruned,
}

/// Every allowed move: from, event, to. All else is [`Illegal`].
pub const TABLE: &[(State, Event, State)] = {
    use Event::*;
    use State::*;
    &[
        (Off, FoundNothing, Pruning),
        (Off, FoundEnd, Reporting),
        (Off, FoundStaging, Judging),
        (Off, FoundSwitch, Switching),
        (Off, FoundWornOut, RollingBack),
        (Off, FoundRollBack, RollingBack),
        (Off, FoundTrial, Looking),
        (Looking, FoundArming, Arming),
        (Looking, FoundCut, Cleaning),
        (Looking, FoundSwitch, Switching),
        (Looking, FoundWornOut, RollingBack),
        (Looking, FoundRollBack, RollingBack),
        (Looking, FoundProven, Clearing),
        (Idle, TakenUp, Judging),
        (Idle, ByHand, CheckingOut),
        (Idle, Withdrawn, Reporting),
        (Judging, Accepted, Measuring),
        (Judging, InForce, Reporting),
        (Judging, Refused, Reporting),
        (Judging, Withdrawn, Reporting),
        (Measuring, Fits, Fetching),
        (Measuring, Refused, Reporting),
        (Measuring, Withdrawn, Reporting),
        (Fetching, Imported, CheckingOut),
        (Fetching, Refused, Reporting),
        (Fetching, Withdrawn, Reporting),
        (CheckingOut, CheckedOut, Staged),
        (CheckingOut, Refused, Reporting),
        (CheckingOut, Withdrawn, Reporting),
        (Staged, Begun, Switching),
        (Staged, TrialBegun, Arming),
        (Staged, Withdrawn, Reporting),
        (Arming, Armed, Rebooting),
        (Arming, Broken, Cleaning),
        (Rebooting, Withdrawn, Cleaning),
        (Switching, Switched, Proving),
        (Switching, Broken, RollingBack),
        (Proving, Proven, Reporting),
        (Proving, TrialProven, Clearing),
        (Proving, Broken, RollingBack),
        (Clearing, Cleared, Reporting),
        (Clearing, Broken, RollingBack),
        (RollingBack, Reverted, Reporting),
        (RollingBack, GivenUp, Reporting),
        (RollingBack, LeavesTrial, GivingUp),
        (RollingBack, IsBack, Cleaning),
        (GivingUp, GaveUp, Rebooting),
        (Cleaning, Cleared, Reporting),
        (Cleaning, GivenUp, Reporting),
        (Cleaning, TakenBack, Judging),
        (Reporting, Spooled, Pruning),
        (Pruning, Pruned, Idle),
    ]
};

/// An event that the table does not allow in this state: an adapter broke the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event:?} is not allowed in state {state}: the adapter answered work that was not asked for")]
pub struct Illegal {
    /// Where the machine stands; it stays there.
    pub state: State,
    /// What was not allowed.
    pub event: Event,
}

impl State {
    /// Where `event` leads.
    pub fn on(self, event: Event) -> Result<State, Illegal> {
        let row = TABLE.iter().find(|(from, on, _)| *from == self && *on == event);
        row.map(|(_, _, to)| *to).ok_or(Illegal { state: self, event })
    }

    /// Whether a deployment is under way whose switch has not been journalled.
    pub fn is_before_switch(self) -> bool {
        use State::*;
        matches!(self, Judging | Measuring | Fetching | CheckingOut | Staged)
    }

    /// Whether the switch is journalled and its end is not.
    pub fn is_after_switch(self) -> bool {
        matches!(self, State::Switching | State::Proving | State::RollingBack) || self.is_of_trial()
    }

    /// Whether only trials of operating systems come by here.
    pub fn is_of_trial(self) -> bool {
        use State::*;
        matches!(self, Looking | Arming | Rebooting | Clearing | GivingUp | Cleaning)
    }

    /// The name shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Off => "off",
            State::Idle => "idle",
            State::Judging => "judging",
            State::Measuring => "measuring",
            State::Fetching => "fetching",
            State::CheckingOut => "checking-out",
            State::Staged => "staged",
            State::Switching => "switching",
            State::Proving => "proving",
            State::RollingBack => "rolling-back",
            State::Looking => "looking",
            State::Arming => "arming",
            State::Rebooting => "rebooting",
            State::Clearing => "clearing",
            State::GivingUp => "giving-up",
            State::Cleaning => "cleaning",
            State::Reporting => "reporting",
            State::Pruning => "pruning",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
