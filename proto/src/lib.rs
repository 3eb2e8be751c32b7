//! Formats and decisions of the Fullmetal update system.
//!
//! Everything here is deterministic: the same inputs, times and seed give the same outputs. There is
//! no socket, file, clock, thread or ambient randomness in this crate; adapters act, `proto` decides.
//! The peer, the agent, the gateway and the simulator drive the same state machines.

pub mod announce;
pub mod bitmap;
pub mod deploy;
mod deployment_id;
pub mod digest;
pub mod dispatch;
mod draw;
pub mod membership;
pub mod names;
pub mod ostree;
pub mod steering;
pub mod swarm;
pub mod time;
pub mod wire;

pub use bitmap::Bitmap;
pub use deployment_id::{DeploymentId, ParseDeploymentError};
pub use digest::Digest;
pub use names::{AppName, DeviceId, FleetId, HardwareId, NameError, RefName};
pub use time::Timestamp;
