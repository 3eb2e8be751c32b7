//! What is still needed of what was fetched, and when the rest goes.

use super::record::App;
use super::{Deploy, Effect, NOBODY, State, Ticket};
use crate::Digest;

impl Deploy {
    /// The manifests whose frames stay in the peer's cache: of all that is in force and of what is coming.
    pub fn manifests(&self) -> Vec<Digest> {
        let under_way = self.record.deployment.iter();
        let coming =
            under_way.flat_map(|d| d.os.iter().map(|os| &os.part).chain(&d.parts)).map(|p| p.installed.manifest);
        let in_force = self.record.apps.values().chain(self.record.os.iter().map(|os| &os.app));
        let mut all: Vec<_> = in_force.map(|a| a.current.manifest).chain(coming).collect();
        all.sort();
        all.dedup();
        // Of an operating system that came with the device.
        all.retain(|manifest| *manifest != Digest::default());
        all
    }

    /// The bundles that are needed: of what is under way, of the next wish, and of an announcement that is looked at
    /// once the last end is safe.
    pub fn bundles(&self) -> Vec<Digest> {
        let under_way = self.record.deployment.iter().filter(|d| !d.by_hand).map(|d| d.wish.bundle);
        let next = self.record.next.iter().map(|w| w.bundle);
        under_way.chain(next).chain(self.deferred.iter().filter_map(|a| a.row.map(|row| row.bundle))).collect()
    }

    /// The disk takes no record or report. What is not needed may be what fills it, and goes at once; a deployment that
    /// fetches does so when it fails.
    pub(super) fn unwritten(&mut self) {
        self.unwritten = true;
        if self.state != State::Fetching {
            let fetched = self.state.is_after_switch() || matches!(self.state, State::CheckingOut | State::Staged);
            self.queue.emit_first(self.prune(NOBODY, fetched));
        }
    }

    /// Keeps what is in force and before it, and on demand what the deployment under way brings.
    pub(super) fn prune(&self, ticket: Ticket, coming: bool) -> Effect {
        let versions = |a: &App| [Some(a.current.commit), a.previous.as_ref().map(|p| p.commit)];
        let parts = self.record.deployment.iter().filter(|_| coming).flat_map(|d| &d.parts);
        let commits = self.record.apps.values().flat_map(versions).flatten();
        let left = self.left.iter().filter(|_| ticket == NOBODY).copied();
        let commits = commits.chain(parts.map(|p| p.installed.commit)).chain(left).collect();
        let os = self.record.os.as_ref().filter(|_| !coming && !self.is_on_trial() && self.unknown_os().is_none());
        let os = os.map(|os| versions(&os.app).into_iter().flatten().collect());
        Effect::Prune { ticket, commits, os, manifests: self.manifests(), bundles: self.bundles() }
    }
}
