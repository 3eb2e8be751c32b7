//! The members that can be asked for content right now.

use fullmetal_proto::{DeviceId, Digest};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A connected member.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// For request streams.
    pub connection: quinn::Connection,
    /// Whether it can fetch from central.
    pub origin: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Neighbours {
    members: Mutex<BTreeMap<DeviceId, Neighbour>>,
    joined: Notify,
}

impl Neighbours {
    /// Adds or replaces one, and wakes those who wait in [`Neighbours::joined`].
    pub fn insert(&self, device: DeviceId, neighbour: Neighbour) {
        self.members().insert(device, neighbour);
        self.joined.notify_waiters();
    }

    /// Removes one.
    pub fn remove(&self, device: &DeviceId) {
        self.members().remove(device);
    }

    /// One of them.
    pub fn get(&self, device: &DeviceId) -> Option<Neighbour> {
        self.members().get(device).cloned()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// All, in an order that differs from content to content, so that not all ask the same first.
    pub fn in_turn(&self, content: &Digest) -> Vec<(DeviceId, Neighbour)> {
        let mut all: Vec<_> = self.members().iter().map(|(d, n)| (d.clone(), n.clone())).collect();
        all.sort_by_cached_key(|(device, _)| rank(content, device));
        all
    }

    /// How many of those that can fetch from central come before `me` for this content: who asks central
    /// first when nobody has it.
    pub fn turn_of(&self, me: &DeviceId, content: &Digest) -> u32 {
        let mine = rank(content, me);
        let members = self.members();
        let before = members.iter().filter(|(device, n)| n.origin && rank(content, device) < mine).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Waits until somebody connects.
    pub async fn joined(&self) {
        self.joined.notified().await;
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Neighbour>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): everybody ranks the same devices alike.
fn rank(content: &Digest, device: &DeviceId) -> Digest {
    Digest::of_parts(&[content.as_bytes(), device.as_str().as_bytes()])
}
