//! Carries out what the core of membership decides.

use super::{Connected, Hub, Input, REASON_LEN_MAX, Told};
use crate::peer::discovery::{Discovery, Presence};
use crate::peer::gossip;
use crate::peer::membership::handshake::{self, Proven};
use crate::peer::membership::neighbour::Neighbour;
use crate::peer::membership::{
    CLOSE_BANNED, CLOSE_DUPLICATE, CLOSE_FULL, CLOSE_SPARE, CLOSE_UNANSWERED, Link, MembershipEvent, OUTBOX_MAX, lock,
    remembered,
};
use fullmetal_proto::DeviceId;
use fullmetal_proto::membership::{Close, ConnectionId, Effect};
use fullmetal_proto::wire::transfer::{Control, KnownPeer};
use fullmetal_proto::wire::{PublicKey, cbor};
use quinn::{FrameStats, VarInt};
use std::net::SocketAddr;
use tokio::sync::mpsc;

impl Hub {
    pub(super) async fn act(&mut self) {
        while let Some(effect) = self.core.poll() {
            match effect {
                Effect::Dial { address } => self.dial(address),
                Effect::Join { connection, others } => self.join(connection, others).await,
                Effect::Close { connection, why } => self.close(connection, why),
                Effect::Tell { connection, others } => self.say(connection, others),
                Effect::Discover(on) => self.discover(on),
                Effect::Remember(peers) => self.remember(&peers),
            }
        }
    }

    fn dial(&mut self, address: SocketAddr) {
        tracing::debug!(%address, "dialing");
        let (endpoint, hello) = (self.endpoint.clone(), self.hello());
        let (credentials, inputs) = (self.credentials.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let result = handshake::dial(&endpoint, address, hello, &credentials).await.map(Box::new);
            let _ = inputs.send(Input::Dialed { address, result }).await;
        });
    }

    async fn join(&mut self, id: ConnectionId, others: Vec<KnownPeer>) {
        let Some(proven) = self.arriving.remove(&id) else { return };
        let Proven { member, peer, connection, hello, send, recv, dialed } = *proven;
        let (device, remote) = (member.device, connection.remote_address());
        if let Some(gossip) = &self.shared.gossip {
            let dial = SocketAddr::new(remote.ip(), hello.gossip_port);
            gossip.admit(peer, device.clone(), Some(dial).filter(|to| dialed && to.port() != 0)).await;
        }
        self.neighbours.insert(device.clone(), Connected { id, peer, connection: connection.clone() });
        let (outbox, outbox_rx) = mpsc::channel(OUTBOX_MAX);
        self.shared.set_link(device.clone(), Some(Link { outbox: outbox.clone(), connection: connection.clone() }));
        tracing::info!(peer = %device, %remote, dialed, neighbours = self.neighbours.len(), "connected");
        let event = MembershipEvent::Connected { device: device.clone(), connection: connection.clone(), hello };
        // An error means that nobody reads events any more: the loop ends by it.
        let _ = self.events.send(event).await;
        if !others.is_empty() {
            // The outbox is fresh and has room.
            let _ = outbox.try_send(Control::Peers(others));
        }
        let hello = (!dialed).then(|| self.hello());
        let (events, hub) = (self.events.clone(), self.inputs.clone());
        tokio::spawn(Neighbour { device, id, connection, send, recv, hello, outbox: outbox_rx, events, hub }.run());
    }

    fn joined(&self, id: ConnectionId) -> Option<(&DeviceId, &Connected)> {
        self.neighbours.iter().find(|(_, n)| n.id == id)
    }

    fn close(&mut self, id: ConnectionId, why: Close) {
        let joined = self.joined(id).map(|(_, n)| n.connection.clone());
        let Some(connection) = self.arriving.remove(&id).map(|proven| proven.connection).or(joined) else { return };
        let (code, reason): (VarInt, Vec<u8>) = match why {
            Close::Duplicate => (CLOSE_DUPLICATE, b"duplicate".into()),
            Close::Full(others) => (CLOSE_FULL, in_a_packet(others)),
            Close::Banned => (CLOSE_BANNED, b"banned".into()),
            Close::Unanswered => (CLOSE_UNANSWERED, b"no answer".into()),
            Close::Spare => (CLOSE_SPARE, b"neighbours enough".into()),
        };
        connection.close(code, &reason);
    }

    fn say(&self, id: ConnectionId, others: Vec<KnownPeer>) {
        let device = self.joined(id).map(|(device, _)| device);
        if let Some(link) = device.and_then(|device| lock(&self.shared.links).get(device).map(|l| l.outbox.clone())) {
            // A full outbox has more urgent things to carry.
            let _ = link.try_send(Control::Peers(others));
        }
    }

    /// Tells the core how much went over each connection.
    pub(super) async fn look(&mut self) {
        let stats = self.neighbours.values().map(|n| (n.id, n.connection.stats()));
        let looks: Vec<_> = stats.map(|(id, s)| (id, need_answers(&s.frame_tx), s.udp_rx.datagrams)).collect();
        for (connection, sent, received) in looks {
            self.tell(Told::Traffic { connection, sent, received }).await;
        }
    }

    fn discover(&mut self, on: bool) {
        self.discovery = None;
        let identity = &self.credentials.identity;
        let Some(peer) = gossip::peer_id(&PublicKey::of(&identity.key)).filter(|_| on) else {
            return tracing::debug!("discovery rests");
        };
        let (listen, interfaces) = (self.endpoint.local, self.settings.interfaces.clone());
        let presence = Presence { fleet: identity.fleet.clone(), peer, listen, interfaces };
        match Discovery::start(&presence, self.found.clone()) {
            Ok(discovery) => self.discovery = Some(discovery),
            Err(error) => tracing::warn!(%error, "members on the same link are not found"),
        }
    }

    pub(super) fn remember(&self, peers: &[KnownPeer]) {
        if let Err(error) = remembered::save(&self.settings.cache, peers) {
            tracing::warn!(%error, cache = %self.settings.cache.display(), "peers not remembered");
        }
    }
}

/// Frames that the other side must acknowledge: all that we send but Ack and Close (RFC 9000, section 13.2). Datagrams
/// would count our own acknowledgements, which nobody answers.
fn need_answers(f: &FrameStats) -> u64 {
    let streams = f.stream + f.reset_stream + f.stop_sending;
    let limits = f.max_data + f.max_stream_data + f.max_streams_bidi + f.max_streams_uni;
    let blocked = f.data_blocked + f.stream_data_blocked + f.streams_blocked_bidi + f.streams_blocked_uni;
    let ids = f.new_connection_id + f.retire_connection_id + f.new_token + f.path_challenge + f.path_response;
    // The last is what quinn probes with when a packet is not acknowledged in time.
    let probes = f.ping + f.ack_frequency + u64::from(f.handshake_done) + f.immediate_ack;
    probes + f.crypto + streams + limits + blocked + ids
}

/// As many of the others as fit a close frame.
fn in_a_packet(mut others: Vec<KnownPeer>) -> Vec<u8> {
    loop {
        let bytes = cbor::to_vec(&others);
        if bytes.len() <= REASON_LEN_MAX || others.pop().is_none() {
            return bytes;
        }
    }
}
