//! The libp2p swarm: whom it may talk to comes before what it talks about.

use super::GossipError;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::SigningKey;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, Swarm, allow_block_list, connection_limits, identity, multiaddr::Protocol};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

/// The longest gossipsub message in bytes, envelope included.
const TRANSMIT_LEN_MAX: usize = 4 << 10;
/// Messages that wait for one neighbour.
const QUEUE_MAX: usize = 64;
/// How often gossipsub tends its mesh.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Heartbeats for which it remembers messages.
const HISTORY: usize = 5;
/// A silent connection is kept alive this often, more or less: with equal times both sides would do it.
const KEEP_ALIVE: Duration = Duration::from_secs(40);
const KEEP_ALIVE_SLACK_MS: u32 = 10_000;
const IDLE_MS_MAX: u32 = 120_000;
/// The most connections.
const CONNECTIONS_MAX: u32 = 48;

pub(super) fn address(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1)
}

/// The order matters: the allow-list refuses a stranger before gossipsub queues a message for it.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) allowed: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) gossip: gossipsub::Behaviour<gossipsub::IdentityTransform, Subscriptions>,
}

pub(super) type Subscriptions = gossipsub::MaxCountSubscriptionFilter<gossipsub::WhitelistSubscriptionFilter>;

/// Makes it, subscribed to `topic` and not listening yet.
pub(super) fn swarm(key: &SigningKey, topic: &IdentTopic) -> Result<Swarm<Behaviour>, GossipError> {
    let failed = |e: &dyn std::fmt::Display| GossipError(e.to_string());
    let keypair = identity::Keypair::ed25519_from_bytes(key.to_bytes()).map_err(|e| failed(&e))?;
    let mut behaviour = behaviour(&keypair, topic)?;
    behaviour.gossip.subscribe(topic).map_err(|e| failed(&e))?;
    let swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_quic_config(|mut quic| {
            let slack = getrandom::u32().unwrap_or(0) % KEEP_ALIVE_SLACK_MS;
            quic.keep_alive_interval = KEEP_ALIVE + Duration::from_millis(u64::from(slack));
            quic.max_idle_timeout = IDLE_MS_MAX;
            quic.max_concurrent_stream_limit = 8;
            quic.max_stream_data = 64 << 10;
            quic.max_connection_data = 256 << 10;
            quic
        })
        .with_behaviour(|_| behaviour)
        .map_err(|e| failed(&e))?
        // Membership decides when a connection ends, not its silence.
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(u64::from(u32::MAX))))
        .build();
    Ok(swarm)
}

fn behaviour(keypair: &identity::Keypair, topic: &IdentTopic) -> Result<Behaviour, GossipError> {
    let config = gossipsub::ConfigBuilder::default()
        .validate_messages()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .max_transmit_size(TRANSMIT_LEN_MAX)
        .message_id_fn(|message| MessageId::from(Digest::of(&message.data).0.to_vec()))
        .connection_handler_queue_len(QUEUE_MAX)
        .heartbeat_interval(HEARTBEAT)
        .history_length(HISTORY)
        .build()
        .map_err(|e| GossipError(e.to_string()))?;
    let subscriptions = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::WhitelistSubscriptionFilter(HashSet::from([topic.hash()])),
        max_subscribed_topics: 1,
        max_subscriptions_per_request: 4,
    };
    let author = MessageAuthenticity::Signed(keypair.clone());
    let gossip = gossipsub::Behaviour::new_with_subscription_filter(author, config, subscriptions)
        .map_err(|e| GossipError(e.to_owned()))?;
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(CONNECTIONS_MAX))
        .with_max_pending_outgoing(Some(CONNECTIONS_MAX))
        .with_max_established(Some(CONNECTIONS_MAX))
        .with_max_established_per_peer(Some(2));
    Ok(Behaviour { allowed: Default::default(), limits: connection_limits::Behaviour::new(limits), gossip })
}
