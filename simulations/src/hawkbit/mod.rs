//! A Hawkbit server in memory, for tests, the demo and for trying things: [`Server`].
//!
//! It answers devices (DDI) as Hawkbit 1.0.4 does, and the Management API calls that operators and build servers use;
//! [`record`] plays recordings of real servers against it, or against any other server. Faults for tests are kept apart
//! from what it serves: [`Faults`] and the paths below `/standin`.

mod faults;
mod http;
mod model;
pub mod record;
mod serve;
mod server;

pub use faults::{Fault, Faults, Rule, Seen};
pub use server::{Server, run};
