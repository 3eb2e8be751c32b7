//! The clients of the local socket and what they ask.

use super::Node;
use crate::peer::central::Uplink;
use crate::peer::socket::{ClientId, Outbox, Reply, SocketEvent};
use fullmetal_proto::Timestamp;
use fullmetal_proto::announce::{carried, newest};
use fullmetal_proto::wire::local::{Client, FromPeer, PeerReport, ToPeer};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tracing::{info, warn};

/// Between two tellings of who was heard, without news.
const HEARD_MS: u64 = 30_000;
/// How long news of that wait for company.
const HEARD_NEWS_MS: u64 = 1_000;
/// Devices in one message; it fits a packet whatever their names.
const HEARD_DEVICES_MAX: usize = 1_024;

/// All connected clients.
#[derive(Default)]
pub(super) struct Clients {
    entries: BTreeMap<ClientId, Entry>,
    heard_at: Option<Timestamp>,
}

struct Entry {
    client: Client,
    /// Gone once the client proved unfit; its connection then ends.
    outbox: Option<Outbox>,
}

impl Clients {
    pub fn ids(&self) -> Vec<ClientId> {
        let told = self.entries.iter().filter(|(_, entry)| entry.client != Client::Observer);
        told.map(|(id, _)| *id).collect()
    }

    pub fn has(&self, client: Client) -> bool {
        self.entries.values().any(|entry| entry.client == client)
    }

    pub fn kind(&self, id: ClientId) -> Option<Client> {
        self.entries.get(&id).map(|entry| entry.client)
    }

    pub fn send(&mut self, id: ClientId, reply: Reply) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(outbox) = &entry.outbox
            && outbox.send(reply).is_err()
        {
            entry.outbox = None;
        }
    }

    pub fn say(&mut self, id: ClientId, message: FromPeer) {
        self.send(id, Reply::Message(message, None));
    }

    /// Sends to all clients of a kind.
    pub fn send_to(&mut self, client: Client, reply: impl Fn() -> Reply) {
        let ids: Vec<ClientId> = self.entries.iter().filter(|(_, e)| e.client == client).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.send(id, reply()));
    }

    pub fn close(&mut self, id: ClientId, why: &str) {
        warn!(client = id, why, "local client closed");
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.outbox = None;
        }
    }

    pub fn heard_at(&self) -> Option<Timestamp> {
        self.heard_at
    }

    /// Somebody was heard: gateways learn of it soon.
    pub fn heard_news(&mut self, now: Timestamp) {
        let soon = now.after(Duration::from_millis(HEARD_NEWS_MS));
        self.heard_at = self.heard_at.map(|at| at.min(soon));
    }
}

/// The carried core's name for a client that it serves.
fn carried_client(client: Client) -> Option<carried::Client> {
    match client {
        Client::Agent => Some(carried::Client::Agent),
        Client::Gateway => Some(carried::Client::Gateway),
        Client::Observer => None,
    }
}

impl Node {
    pub(super) fn on_socket(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Opened { id, client, outbox } => self.on_opened(id, client, outbox),
            SocketEvent::Message { id, message, descriptor } => self.on_message(id, message, descriptor),
            SocketEvent::Closed { id } => self.on_closed(id),
        }
    }

    fn on_opened(&mut self, id: ClientId, client: Client, outbox: Outbox) {
        let now = self.now();
        self.clients.entries.insert(id, Entry { client, outbox: Some(outbox) });
        let Some(carried) = carried_client(client) else { return };
        info!(?client, "local client connected");
        self.tell_announcement(id);
        self.carrier.core.handle(carried::Input::Attached(carried), now);
        if client == Client::Gateway {
            self.tell_heard(now);
        } else {
            self.clients.heard_news(now);
        }
    }

    fn on_closed(&mut self, id: ClientId) {
        let now = self.now();
        let Some(entry) = self.clients.entries.remove(&id) else { return };
        let Some(carried) = carried_client(entry.client) else { return };
        info!(client = ?entry.client, "local client gone");
        self.forget_client(id, now);
        if !self.clients.has(entry.client) {
            self.carrier.core.handle(carried::Input::Detached(carried), now);
        }
        if !self.clients.has(Client::Gateway) {
            self.clients.heard_at = None;
        }
    }

    fn on_message(&mut self, id: ClientId, message: ToPeer, descriptor: Option<OwnedFd>) {
        let now = self.now();
        match message {
            ToPeer::Hello { .. } => {}
            ToPeer::Blob { blob, central } => self.answer_blob(id, blob, central),
            ToPeer::Want { manifest, commit, need } => self.want(id, manifest, commit, need, now),
            ToPeer::Offer { manifest, commit } => self.offer(id, (manifest, commit), descriptor, now),
            ToPeer::Unwant { manifest } => self.unwant(id, &manifest, now),
            ToPeer::Frame { manifest, index } => self.answer_frame(id, manifest, index),
            ToPeer::Corrupt { sha256 } => self.on_corrupt(sha256),
            ToPeer::Retain { manifests } => self.retain(id, manifests, now),
            ToPeer::Report(bytes) => self.on_handed(bytes.into_vec(), true),
            ToPeer::Receipt(bytes) => self.on_handed(bytes.into_vec(), false),
            ToPeer::Announce(hint) => self.on_announce(id, hint, descriptor),
            ToPeer::Central(object) => self.answer_central(id, object),
            ToPeer::CheckNow => self.announcements.core.handle(newest::Input::CheckNow, self.now()),
            ToPeer::Status => {
                let report = FromPeer::Status(self.status());
                self.clients.say(id, report);
            }
        }
    }

    /// Tells gateways whom the fleet has heard; this device too, when it has an agent.
    pub(super) fn tell_heard(&mut self, now: Timestamp) {
        if !self.clients.has(Client::Gateway) {
            self.clients.heard_at = None;
            return;
        }
        self.clients.heard_at = Some(now.after(Duration::from_millis(HEARD_MS)));
        let mut heard = self.liveness.heard(now);
        if self.clients.has(Client::Agent) {
            heard.push((self.data.me.clone(), 0));
        }
        for part in heard.chunks(HEARD_DEVICES_MAX) {
            self.clients.send_to(Client::Gateway, || Reply::Message(FromPeer::Heard(part.to_vec()), None));
        }
    }

    fn status(&self) -> PeerReport {
        let (bytes_from_peers, bytes_from_central, bytes_to_peers) = self.data.counters.read();
        let trouble = self.announcements.trouble().or_else(|| self.fetcher.trouble()).unwrap_or_default();
        PeerReport {
            neighbours: self.membership.neighbours(),
            newest: self.announcements.core.newest().copied(),
            cache_bytes: self.data.cache.bytes(),
            bytes_from_peers,
            bytes_from_central,
            bytes_to_peers,
            sources: self.fetcher.sources(),
            central: self.data.uplink().and_then(Uplink::share).map(Box::new),
            trouble,
        }
    }
}
