//! What goes into and comes out of the rules.

use crate::dispatch::{self, Wish};
use crate::wire::Report;
use crate::{DeviceId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the rules are told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// A device is polled only when the fleet heard it within this time.
    pub heard_within: Duration,
    /// Who confirms what waits for confirmation.
    pub confirm: Confirm,
}

/// Who confirms what waits for confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// A local operator, action by action.
    Ask,
    /// The gateway, at once.
    Auto,
}

/// What the server has for a device: at most one of these at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Nothing.
    Nothing,
    /// A deployment of this action.
    Deployment(u64),
    /// A deployment of this action that waits for its confirmation.
    Confirmation(u64),
    /// A cancel of this number.
    Cancel(u64),
}

/// A deployment, read and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is asked for, for one device and under the server's number.
    pub wish: Wish,
    /// Staging is all that is asked for.
    pub final_when_staged: bool,
    /// Nothing is to be announced yet.
    pub hold: Option<Hold>,
    /// What was passed over in it, for the operator.
    pub notes: Vec<String>,
}

/// Why a deployment is not announced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The server does not want it fetched.
    NoDownload,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// When the fleet last heard devices that the server may steer.
    Heard(Vec<(DeviceId, Timestamp)>),
    /// Answer to [`Question::Base`].
    Polled {
        /// Which device.
        device: DeviceId,
        /// What is open.
        open: Open,
        /// The server's mark of an open deployment's content; another one means that it has to be read again.
        revision: Option<i64>,
        /// Whether the server asks for attributes.
        wants_attributes: bool,
        /// When to poll again, with the jitter.
        next: Duration,
    },
    /// Answer to [`Question::Deployment`].
    Offered {
        /// Which device.
        device: DeviceId,
        /// Which action.
        action: u64,
        /// What it asks for, or why it can never be done.
        order: Result<Box<Order>, String>,
    },
    /// Answer to [`Question::Cancel`].
    Cancelling {
        /// Which device.
        device: DeviceId,
        /// The cancel's number.
        cancel: u64,
        /// The action that is to be stopped.
        stops: u64,
    },
    /// A durable report; it is answered by `Delivered` to the gateway's core.
    Report(Box<Report>),
    /// A message was taken or not, or a question could not be asked.
    Replied {
        /// Which device.
        device: DeviceId,
        /// How the server answered.
        reply: Reply,
    },
    /// A local operator's word on an action that waits for its confirmation.
    Confirm {
        /// Which action.
        action: u64,
        /// Whether it may be done.
        yes: bool,
    },
    /// [`super::Steering::next_wakeup`] has come.
    Wakeup,
    /// The gateway's state has changed, and is durable.
    Changed,
}

/// How the server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Taken.
    Done,
    /// The action is over, or the server does not know it: nobody waits for this word.
    Gone,
    /// Somebody says that there is no such thing, and not in the server's words: it may be something between us and the
    /// server. What is open tells.
    Unknown,
    /// The action has no room for more words.
    Quota,
    /// Not now: try again after this time.
    Later(Duration),
}

/// What the adapter is to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask the server; answered by the question's own input, or [`Input::Replied`] when it failed.
    Ask {
        /// For which device.
        device: DeviceId,
        /// What.
        question: Question,
    },
    /// Tell the server; answered by [`Input::Replied`].
    Tell {
        /// For which device.
        device: DeviceId,
        /// What.
        message: Message,
    },
    /// Hand this to the gateway's core.
    Dispatch(Box<dispatch::Input>),
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What is open.
    Base,
    /// A deployment.
    Deployment(u64),
    /// A cancel.
    Cancel(u64),
}

/// What the server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// How far an action is.
    Progress {
        /// Which.
        action: u64,
        /// How far.
        stage: Stage,
        /// How much of the fetch under way is done, and of how much, in one unit.
        done: Option<(u32, u32)>,
        /// Lines for the operator.
        details: Vec<String>,
    },
    /// The cancel was carried out.
    CancelAccepted {
        /// The cancel's number.
        cancel: u64,
    },
    /// The cancel comes too late.
    CancelRejected {
        /// The cancel's number.
        cancel: u64,
        /// Why.
        reason: String,
    },
    /// Whether an action may be done.
    Confirmation {
        /// Which.
        action: u64,
        /// The word.
        yes: bool,
    },
    /// What is known of the device.
    Attributes(BTreeMap<String, String>),
}

/// How far an action is, in the server's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Under way.
    Proceeding,
    /// Fetching.
    Download,
    /// Staged, and that was all that was asked for: final.
    Downloaded,
    /// Proven and kept: final.
    Succeeded,
    /// Refused, failed or rolled back: final.
    Failed,
}

impl Stage {
    /// Whether the action ends with it.
    pub fn is_final(self) -> bool {
        matches!(self, Stage::Downloaded | Stage::Succeeded | Stage::Failed)
    }
}
