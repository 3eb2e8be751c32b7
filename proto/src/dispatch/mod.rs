//! The gateway's decisions: wishes become bundles, rows and counters; reports become states and receipts.
//!
//! * **Inputs** ([`Input`]) are wishes, what the fleet says, and confirmations of effects.
//! * **Effects** ([`Effect`]) are drained with [`Dispatch::poll`] after each [`Dispatch::handle`].
//! * **Queries** ([`Dispatch::state`], [`Dispatch::is_settled`], [`Dispatch::is_connected`]) change nothing.
//!
//! Invariants: a counter is durable before its announcement leaves and never goes back. A report is
//! durable before its receipt leaves, and a receipt covers a report that never arrived only if the device said that
//! it no longer keeps it. What was answered to a person is durable, and so is a refusal before anybody can see it.
//! Everything else that a crash only has asked for again is gathered into one snapshot a second, and the rows and
//! withdrawals that nobody waits for into one announcement a second, however many they are. After a crash at any
//! effect the restored core does what is left to do; consumers see a repeated [`Effect::Feedback`] or
//! [`Effect::Audit`] only under the key of the first.
//!
//! A gateway that starts waits for [`Config::settle`] after its peer is there, to learn the newest
//! announcement. It takes that one's rows over as its own. Later a newer one that is not its own, or an
//! equal counter with other content, is an [`Alarm`]: it stops acting until a person resumes it.

mod alarm;
mod announce;
mod decide;
mod fit;
mod io;
mod machine;
mod reports;
mod seen;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub use alarm::Alarm;
pub use io::{Config, Effect, Input, NOBODY, Newest, Outcome, PartWish, Targets, Wish};
pub use machine::Dispatch;
pub use seen::Seen;
pub use state::{
    Action, Announced, Device, Entry, Event, Label, Phase, Progress, STATE_LEN_MAX, State, StateError, Wanted,
};
