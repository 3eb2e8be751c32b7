//! Places at the socket: each role has its own, and strangers to this device have none of its users'.
//!
//! Who sits in a place that he does not need keeps out only others like him: whatever ordinary users do, agent, gateway
//! and the operator get in.

use super::Policy;
use fullmetal_proto::wire::local::Client;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Agents at once: one, and those before it that are not known to be gone.
pub const AGENTS_MAX: usize = 4;
/// Gateways at once.
pub const GATEWAYS_MAX: usize = 4;
/// Observers at once of root, our own user and the gateway's.
pub const OWN_OBSERVERS_MAX: usize = 8;
/// Observers at once of all other users together.
pub const OTHER_OBSERVERS_MAX: usize = 16;
/// Connections at once of either kind of user that have not said Hello.
pub const GREETINGS_MAX: usize = 16;
/// Connections at once that are told that there is no place; more are just closed.
pub const REFUSALS_MAX: usize = 32;

/// All places; cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    greetings: [Arc<Semaphore>; 2],
    observers: [Arc<Semaphore>; 2],
    agents: Arc<Semaphore>,
    gateways: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

/// A place that is taken, until dropped.
pub type Place = OwnedSemaphorePermit;

impl Places {
    /// All free.
    pub fn new() -> Self {
        let of = |n| Arc::new(Semaphore::new(n));
        Places {
            greetings: [of(GREETINGS_MAX), of(GREETINGS_MAX)],
            observers: [of(OTHER_OBSERVERS_MAX), of(OWN_OBSERVERS_MAX)],
            agents: of(AGENTS_MAX),
            gateways: of(GATEWAYS_MAX),
            refusals: of(REFUSALS_MAX),
        }
    }

    /// A place to say Hello in; `None`: too many others of such users are at it.
    pub fn greeting(&self, policy: &Policy, uid: u32) -> Option<Place> {
        free(&self.greetings[usize::from(policy.is_ours(uid))])
    }

    /// A place to stay in; `None`: all of this role are taken.
    pub fn role(&self, policy: &Policy, uid: u32, client: Client) -> Option<Place> {
        free(match client {
            Client::Agent => &self.agents,
            Client::Gateway => &self.gateways,
            Client::Observer => &self.observers[usize::from(policy.is_ours(uid))],
        })
    }

    /// A place to be told in that there is none.
    pub fn refusal(&self) -> Option<Place> {
        free(&self.refusals)
    }
}

fn free(places: &Arc<Semaphore>) -> Option<Place> {
    places.clone().try_acquire_owned().ok()
}
