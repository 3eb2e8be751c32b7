//! Trust file and revocation list, as they change while the peer runs.

use super::Node;
use crate::config::Paths;
use fullmetal_proto::Timestamp;
use std::time::Duration;

/// Between two looks at the files; a look is two calls of `stat`.
const LOOK_MS: u64 = 3_000;

/// Where the files lie and when to look at them.
pub(super) struct Watch {
    paths: Paths,
    next: Timestamp,
}

impl Watch {
    pub fn new(paths: Paths) -> Self {
        Watch { paths, next: Timestamp::ZERO }
    }

    /// When to look.
    pub fn next(&self) -> Option<Timestamp> {
        Some(self.next)
    }
}

impl Node {
    /// Takes up newer files. From then on documents are judged by them, and members that are revoked are disconnected.
    pub(super) fn look_at_trust(&mut self, now: Timestamp) {
        self.trust.next = now.after(Duration::from_millis(LOOK_MS));
        if self.credentials.trust.refresh(&self.trust.paths) {
            self.credentials.clock.raise(self.credentials.trust.get().trust.issued);
            self.membership.recheck();
        }
    }
}
