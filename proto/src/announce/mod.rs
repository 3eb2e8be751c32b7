//! Which announcement is the newest, whose reports are carried, and who was heard of.
//!
//! Three sans-IO cores, fed by the neighbours' control messages: [`newest`] (hints and pulls of the
//! announcement), [`carried`] (reports and receipts on their way between devices and gateway) and
//! [`liveness`] (when each device was last heard of). Shape: `handle(Input, now)`, then `poll()` until it
//! is `None`, then sleep until `next_wakeup()`.

pub mod carried;
pub mod liveness;
pub mod newest;
