//! What the machine asks for.

use super::{Agent, bundles, judge, notify, watch, worker};
use fullmetal_proto::Digest;
use fullmetal_proto::deploy::{Effect, Input, State, Ticket};
use fullmetal_proto::wire::local::ToPeer;
use tracing::info;

impl Agent {
    /// Does it, or has it done by the thread whose work it is.
    pub(super) fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { seq, record } => self.persist(seq, record),
            Effect::Judge { ticket, action, bundle } => {
                info!(action, bundle = %bundle.short(), "judging");
                self.judge(ticket, bundle);
            }
            Effect::CheckSpace { ticket, moves, os, .. } => {
                // The peer must not drop what it has of it before it is fetched, and after that serves it on.
                self.link.send(&ToPeer::Retain { manifests: self.machine.manifests() });
                self.fetch = Some(self.worker.check_space(ticket, worker::Parts::of(&moves, os, &self.judged)));
            }
            Effect::Fetch { ticket, moves, os, .. } => {
                self.fetch = Some(self.worker.fetch(ticket, worker::Parts::of(&moves, os, &self.judged)));
            }
            Effect::Checkout { ticket, moves, os, .. } => {
                self.look_at_os();
                self.worker.checkout(ticket, moves, os);
            }
            Effect::Switch { ticket, moves } => {
                self.listen();
                self.tell_switch();
                self.containers.switch(ticket, moves);
            }
            Effect::Revert { ticket, moves } => {
                self.watch = None;
                self.notify = None;
                self.containers.revert(ticket, moves);
            }
            Effect::Os { ticket, step } => self.os.step(ticket, step),
            Effect::Reboot { ticket, force } => self.os.reboot(ticket, force),
            Effect::Cancel { ticket } => self.cancel(ticket),
            Effect::Report { report, parts } => self.report(report, parts),
            Effect::Prune { ticket, commits, os, manifests, mut bundles } => {
                self.link.send(&ToPeer::Retain { manifests });
                // It may have waited for a record while the next bundle came.
                bundles.extend(self.machine.bundles());
                bundles::prune(&self.settings.paths, &bundles);
                self.worker.prune(ticket, commits, os);
            }
            Effect::Ignored { rank, why } => info!(epoch = rank.0, counter = rank.1, %why, "announcement not followed"),
        }
    }

    fn judge(&mut self, ticket: Ticket, bundle: Digest) {
        match judge::Judging::start(ticket, &self.settings.paths.bundle(&bundle)) {
            Ok(judging) => match judging.needs_nothing() {
                Some(blobs) => {
                    if let Some(verdict) = self.verdict(ticket, Ok(blobs)) {
                        self.later(verdict);
                    }
                }
                None => {
                    judging.ask(&self.link);
                    self.judging = Some(judging);
                }
            },
            Err(judge::Verdict { retry, reason }) => {
                if retry {
                    // The peer tells its announcement again, which has the bundle.
                    self.link.reconnect();
                }
                self.later(Input::Failed { ticket, retry, reason });
            }
        }
    }

    fn cancel(&mut self, ticket: Ticket) {
        if self.judging.as_ref().is_some_and(|j| j.ticket == ticket) {
            self.judging = None;
        }
        if let Some(fetch) = self.fetch.take_if(|f| f.ticket == ticket) {
            fetch.tell(worker::FetchEvent::Cancel);
        }
    }

    /// Apps are watched from the switch to the end of the probation.
    pub(super) fn watch_if_needed(&mut self) {
        match self.machine.state() {
            State::Proving if self.watch.is_none() => {
                if self.notify.is_none() {
                    self.listen();
                }
                let deployment = self.machine.record().deployment.as_ref();
                let apps = watch::watched(&self.settings.paths, deployment.iter().flat_map(|d| d.parts.iter()));
                let note = watch::Note::leave(&self.settings.paths, deployment.map_or(0, |d| d.wish.action));
                self.watch = Some(watch::Watch::start(|| self.host.open(), apps, self.started, &self.events, note));
            }
            State::Proving => {}
            State::Switching => self.watch = None,
            _ => (self.watch, self.notify) = (None, None),
        }
    }

    /// Before the apps start, so that no word is lost.
    fn listen(&mut self) {
        // The old sockets go first: they have the same names.
        self.notify = None;
        let deployment = self.machine.record().deployment.as_ref();
        self.notify = deployment.map(|d| notify::Sockets::open(&self.settings.paths, d, &self.events));
    }
}
