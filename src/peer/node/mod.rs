//! The composition root of the peer: wires membership, cores, data plane, cache and local socket.
//!
//! One task owns all decisions: it takes one event at a time, hands it to the cores, and carries out their
//! effects. Transfers, uploads and clients are tasks of their own that talk to it over bounded channels.

mod announcements;
mod answers;
mod carrier;
mod clients;
mod notes;
mod start;
#[cfg(test)]
mod tests;
mod trust;
mod verify;
mod wishes;

pub use start::{run, run_until, runtime};

use super::cache::{CacheError, Key};
use super::fetch::{self, Fetcher, Output};
use super::membership::{Credentials, Membership, MembershipEvent};
use super::serve::{Uploads, serve};
use super::socket::SocketEvent;
use super::transfer::{Data, Neighbour, Notice};
use announcements::Announcements;
use answers::{Answers, Finished};
use carrier::Carrier;
use clients::Clients;
use fullmetal_proto::announce::liveness::{self, Liveness};
use fullmetal_proto::announce::{carried, newest};
use fullmetal_proto::swarm::limits::BAN;
use fullmetal_proto::wire::transfer::Control;
use fullmetal_proto::{DeviceId, Timestamp};
use notes::Notes;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use wishes::Wishes;

/// Between two syncs of the cache's directories and notes, when there is something to sync.
const SYNC_MS: u64 = 1_000;

/// Everything the peer decides with.
struct Node {
    started: Instant,
    data: Arc<Data>,
    uploads: Arc<Uploads>,
    membership: Membership,
    credentials: Credentials,
    fetcher: Fetcher,
    announcements: Announcements,
    carrier: Carrier,
    liveness: Liveness,
    wishes: Wishes,
    clients: Clients,
    answers: Answers,
    notes: Notes,
    sync_at: Option<Timestamp>,
    trust: trust::Watch,
}

/// What the node listens to.
struct Inbox {
    membership: mpsc::Receiver<MembershipEvent>,
    reports: mpsc::Receiver<fetch::Report>,
    notices: mpsc::Receiver<Notice>,
    socket: mpsc::Receiver<SocketEvent>,
    finished: mpsc::Receiver<Finished>,
}

impl Node {
    /// Runs until `shutdown` is ready or membership ends.
    async fn run(&mut self, mut inbox: Inbox, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        self.drain();
        loop {
            let wakeup = self.instant(self.next_wakeup());
            tokio::select! {
                () = &mut shutdown => return,
                event = inbox.membership.recv() => match event {
                    Some(event) => self.on_membership(event),
                    None => return warn!("membership has ended"),
                },
                Some(report) = inbox.reports.recv() => {
                    let now = self.now();
                    self.fetcher.report(report, now);
                    self.sync_soon();
                }
                Some(notice) = inbox.notices.recv() => self.on_notice(notice),
                Some(event) = inbox.socket.recv() => self.on_socket(event),
                Some(finished) = inbox.finished.recv() => self.on_finished(finished),
                () = sleep_until(wakeup) => self.on_wakeup(),
            }
            self.drain();
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO.after(self.started.elapsed())
    }

    fn instant(&self, at: Option<Timestamp>) -> Instant {
        let at = at.map_or(Duration::from_secs(3600), |at| at.since(Timestamp::ZERO));
        self.started + at.min(self.started.elapsed() + Duration::from_secs(3600))
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        let cores = [
            self.fetcher.next_wakeup(),
            self.announcements.core.next_wakeup(),
            self.carrier.core.next_wakeup(),
            self.liveness.next_wakeup(),
        ];
        let own = [self.wishes.next_wakeup(), self.clients.heard_at(), self.sync_at, self.trust.next()];
        cores.into_iter().chain(own).flatten().min()
    }

    fn on_wakeup(&mut self) {
        let now = self.now();
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if due(self.fetcher.next_wakeup()) {
            self.fetcher.wakeup(now);
        }
        if due(self.announcements.core.next_wakeup()) {
            self.announcements.core.handle(newest::Input::Wakeup, now);
        }
        if due(self.carrier.core.next_wakeup()) {
            self.carrier.core.handle(carried::Input::Wakeup, now);
        }
        if due(self.liveness.next_wakeup()) {
            self.liveness.handle(liveness::Input::Wakeup, now);
        }
        if due(self.wishes.next_wakeup()) {
            self.tend_wishes(now);
        }
        if due(self.clients.heard_at()) {
            self.tell_heard(now);
        }
        if due(self.trust.next()) {
            self.look_at_trust(now);
        }
        if due(self.sync_at) {
            self.sync_at = None;
            self.sync();
        }
    }

    fn sync_soon(&mut self) {
        let at = self.now().after(Duration::from_millis(SYNC_MS));
        self.sync_at.get_or_insert(at);
    }

    /// Makes names and notes durable, off the reactor.
    fn sync(&mut self) {
        if let Some(note) = self.carrier.take_note() {
            self.notes.write(carrier::NOTE, note);
        }
        self.notes.flush_now();
    }

    fn on_membership(&mut self, event: MembershipEvent) {
        let now = self.now();
        match event {
            MembershipEvent::Connected { device: peer, connection, hello } => {
                info!(%peer, origin = hello.origin, "neighbour connected");
                let address = SocketAddr::new(connection.remote_address().ip(), hello.data_port);
                self.data.neighbours.insert(peer.clone(), Neighbour { connection, origin: hello.origin });
                self.announcements.core.handle(newest::Input::Connected { peer: peer.clone() }, now);
                self.carrier.core.handle(carried::Input::Connected { peer: peer.clone() }, now);
                self.liveness.handle(liveness::Input::Connected { peer: peer.clone() }, now);
                self.fetcher.connected(peer, address, now);
                self.clients.heard_news(now);
            }
            MembershipEvent::Disconnected { device: peer } => {
                info!(%peer, "neighbour gone");
                self.data.neighbours.remove(&peer);
                self.announcements.core.handle(newest::Input::Disconnected { peer: peer.clone() }, now);
                self.carrier.core.handle(carried::Input::Disconnected { peer: peer.clone() }, now);
                self.liveness.handle(liveness::Input::Disconnected { peer: peer.clone() }, now);
                self.fetcher.disconnected(peer, now);
            }
            MembershipEvent::Control { device, message } => self.on_control(device, message, now),
            MembershipEvent::Gossip { device: from, hint } => {
                self.announcements.core.handle(newest::Input::Hint { from, hint }, now);
            }
            MembershipEvent::Request { device, send, recv } => {
                drop(tokio::spawn(serve(self.uploads.clone(), device, send, recv)));
            }
        }
    }

    fn on_control(&mut self, from: DeviceId, message: Control, now: Timestamp) {
        match message {
            Control::Hint(hint) => self.announcements.core.handle(newest::Input::Hint { from, hint }, now),
            Control::Swarm(update) => self.fetcher.update(from, update, now),
            Control::Stock(items) => self.carrier.core.handle(carried::Input::Stock { from, items }, now),
            Control::Heard(devices) => {
                self.liveness.handle(liveness::Input::Heard { from, devices }, now);
                self.clients.heard_news(now);
            }
            Control::Peers(_) => {}
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Room { length, reply } => {
                let made = self.make_room(length);
                let _ = reply.send(made);
            }
            Notice::Rotten(key) => self.lost(&[key]),
            Notice::Liar(device) => self.membership.ban(&device, BAN),
        }
    }

    /// Evicts until `length` bytes fit; the have-maps first.
    fn make_room(&mut self, length: u64) -> Result<(), CacheError> {
        let victims = self.data.cache.victims(length)?;
        self.evict(&victims);
        Ok(())
    }

    fn evict(&mut self, keys: &[Key]) {
        let now = self.now();
        self.fetcher.evict(keys, now);
        self.drain();
        keys.iter().for_each(|key| self.data.cache.remove(*key));
    }

    /// What must stay in the cache: announcement, wanted and retained manifests with their frames, what is carried.
    fn keep(&self) {
        let keys = self.announcements.keys().chain(self.carrier.keys()).chain(self.wishes.keys());
        self.data.cache.keep(keys.collect());
    }

    /// Carries out what the cores decided.
    fn drain(&mut self) {
        while let Some(effect) = self.announcements.core.poll() {
            self.on_announcement_effect(effect);
        }
        while let Some(effect) = self.carrier.core.poll() {
            self.on_carried_effect(effect);
        }
        while let Some(liveness::Effect::Send { peer, devices }) = self.liveness.poll() {
            self.membership.send(&peer, Control::Heard(devices));
        }
        while let Some(output) = self.fetcher.poll() {
            match output {
                Output::Send { peer, update } => drop(self.membership.send(&peer, Control::Swarm(update))),
                Output::Ban { peer, duration } => self.membership.ban(&peer, duration),
                Output::Seek(wanted) => self.membership.seek(wanted),
                Output::Have { manifest, complete } => self.on_have(manifest, complete),
                Output::Trouble { manifest, reason } => self.want_failed(&manifest, &reason),
            }
        }
    }
}
