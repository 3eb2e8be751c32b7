//! Peer, agent and publisher of the Fullmetal update system.

#[cfg(feature = "store")]
pub mod agent;
mod batch;
pub mod boot;
pub mod boot_loader;
pub mod config;
pub mod console;
pub mod current;
pub mod durable;
#[cfg(feature = "store")]
pub mod free_space;
pub mod hawkbit;
pub mod host;
pub mod https;
pub mod identity;
mod installed_commit;
pub mod journal;
mod limited;
pub mod local;
#[cfg(feature = "store")]
pub mod os;
pub mod paper;
pub mod peer;
#[cfg(feature = "store")]
pub mod publish;
#[cfg(feature = "store")]
pub mod repo;
#[cfg(feature = "store")]
pub mod status;
#[cfg(feature = "store")]
pub mod sysroot;
pub mod untrusted;
