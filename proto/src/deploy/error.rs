//! What the machine does not take, and what holds it back.

use super::by_hand::NoComeback;
use super::state::Illegal;

/// The adapter broke the contract, or root asked for what cannot be; the machine stands as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeployError {
    /// An input came before [`Input::Start`].
    #[error("the deployment machine was not started: hand in the journal's record first")]
    NotStarted,
    /// [`Input::Start`] came twice.
    #[error("the deployment machine was started before: it takes one record, at its start")]
    StartedTwice,
    /// An answer that does not fit what was asked.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// [`Input::ComeBack`] cannot begin: for whoever asked for it.
    #[error(transparent)]
    NoComeback(#[from] NoComeback),
    /// A record was acknowledged that was not handed out.
    #[error("record {seq} was acknowledged, but only {last} was handed out")]
    NeverPersisted {
        /// What was acknowledged.
        seq: u64,
        /// The newest handed out.
        last: u64,
    },
}

/// What holds a switch back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The gateway wishes no more yet.
    #[error("staged only: waits for the gateway to release it")]
    StageOnly,
    /// Local root locked the device.
    #[error("locked by local root: `fullmetal unlock` lets it go on")]
    Locked,
    /// An inhibitor or a local window, in mode `when-idle`.
    #[error("held back by an inhibitor or a local window; a reboot also by those of `systemd-inhibit --list`")]
    Inhibited,
    /// The row's validity is over.
    #[error("the time in which it may begin is over: waits for the gateway to renew it")]
    Closed,
    /// The announcement expired.
    #[error("the announcement has expired: waits for a newer one")]
    Expired,
}
