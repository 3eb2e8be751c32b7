//! Hawkbit's Direct Device Integration API (<https://eclipse.dev/hawkbit/apis/ddi_api/>), asked for many devices over one
//! connection pool.
//!
//! * [`Ddi`] asks and answers; it keeps no state of actions. A pause after the server's failures and the quotas of
//!   actions are shared by its clones.
//! * [`mapping`] turns a deployment into a wish of ours, without asking anybody.
//! * [`Pace`] says when to poll a device next.
//!
//! Invariants: a token goes to the origin of `[hawkbit] url` only, since every URL is built here from tenant, device and
//! action, and no redirect is followed. Every answer is bounded in bytes and time. An answer about another device,
//! tenant or action than asked for is an error.

mod answer;
mod backoff;
mod client;
mod error;
mod exchange;
mod feedback;
mod link;
pub mod mapping;
mod random;
mod sleep;
mod token;

pub use answer::{ActionId, AnswerError, Base, Cancel, Chunk, Deployment, Handling, History, Window};
pub use backoff::{PAUSE_MS_MAX, PAUSE_MS_MIN, RETRY_AFTER_S_MAX};
pub use client::{Ddi, Etag, Options, Polled};
pub use error::{DdiError, Verdict};
pub use exchange::{BASE_LEN_MAX, DEPLOYMENT_LEN_MAX, IN_FLIGHT_MAX, REQUEST_MS_MAX};
pub use feedback::{
    ATTRIBUTE_LEN_MAX, ATTRIBUTES_MAX, AttributeMode, Attributes, Confirmation, DETAIL_LEN_MAX, DETAILS_MAX, Execution,
    Feedback, Finished,
};
pub use link::Asked;
pub use random::Random;
pub use sleep::{Pace, SLEEP_DEFAULT, SLEEP_S_MAX, parse_sleep};
pub use token::{TokenError, Tokens};
