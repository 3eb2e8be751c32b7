//! Real quinn and libp2p on loopback, with certificates of a test CA. Nothing sleeps for a fixed time.

mod hostile;
mod idle;
mod meeting;
mod strangers;

use super::*;
use crate::identity::tests::trust_of;
use crate::identity::{FleetTrust, Usage, issue_ca, issue_member, new_key};
use fullmetal_proto::membership::limits::{ACCEPTED_MAX, DIALED_MAX, NEIGHBOURS_WANTED};
use fullmetal_proto::wire::{PublicKey, Revocations, SigningKey};
use fullmetal_proto::{Digest, FleetId, Timestamp};
use std::path::Path;
use tokio::time::Instant;

/// What everything must happen within.
const DEADLINE: Duration = Duration::from_secs(30);

fn id(n: usize) -> DeviceId {
    format!("press-{n}").parse().unwrap()
}

fn hint(counter: u64) -> Hint {
    Hint { epoch: 1, counter, digest: Digest::of(&counter.to_be_bytes()), length: 8 }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A fleet's CA.
struct Ca {
    fleet: FleetId,
    key: SigningKey,
    certificate: Vec<u8>,
}

impl Ca {
    /// Each test has a fleet of its own: they all share one multicast group.
    fn new() -> Self {
        let fleet: FleetId = format!("plant-{:08x}", getrandom::u32().unwrap()).parse().unwrap();
        let key = new_key();
        Ca { certificate: issue_ca(&fleet, &key).unwrap(), fleet, key }
    }

    fn trust(&self) -> FleetTrust {
        let (key, issued) = (PublicKey::of(&self.key), Timestamp::from_secs(1_795_528_440));
        let trust = trust_of(self.fleet.as_str(), key, issued, self.certificate.clone());
        FleetTrust { trust, revoked: Revocations::none(&self.fleet) }
    }

    /// A member whose certificate was issued at `at` and so ends ten years later.
    fn member_of(&self, device: DeviceId, at: Timestamp) -> Credentials {
        let key = new_key();
        let ca = (self.certificate.as_slice(), &self.key);
        let public = PublicKey::of(&key);
        let certificate = issue_member(ca, (&self.fleet, &device), &public, Usage::Peer, at).unwrap();
        let identity = Identity { device, fleet: self.fleet.clone(), key, certificate };
        Credentials { identity, trust: SharedTrust::new(self.trust()), clock: Clock::new() }
    }

    fn member(&self, n: usize) -> Credentials {
        self.member_of(id(n), Timestamp::from_secs(1_795_528_440))
    }
}

/// What a peer saw.
#[derive(Debug, Default)]
struct Seen {
    connected: Vec<DeviceId>,
    disconnected: Vec<DeviceId>,
    control: Vec<(DeviceId, Control)>,
    gossip: Vec<Hint>,
    requests: Vec<DeviceId>,
    connections: BTreeMap<DeviceId, quinn::Connection>,
}

/// A membership whose events are noted; request streams get their bytes back.
struct Peer {
    membership: Membership,
    credentials: Credentials,
    seen: Arc<Mutex<Seen>>,
}

fn settings(cache: &Path, peers: Vec<SocketAddr>) -> MembershipSettings {
    MembershipSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        peers,
        discovery: false,
        interfaces: vec!["lo".into()],
        gossip: true,
        origin: true,
        weight: 1,
        cache: cache.to_owned(),
    }
}

impl Peer {
    async fn start(settings: MembershipSettings, credentials: Credentials) -> Self {
        let (membership, mut events) = start(settings, credentials.clone()).await.unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let notes = seen.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                note(&notes, event);
            }
        });
        Peer { membership, credentials, seen }
    }

    fn address(&self) -> SocketAddr {
        self.membership.local_addr()
    }

    fn saw<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    fn has(&self, n: usize) -> bool {
        self.membership.neighbours().contains(&id(n))
    }
}

fn note(seen: &Mutex<Seen>, event: MembershipEvent) {
    let mut seen = seen.lock().unwrap();
    match event {
        MembershipEvent::Connected { device, connection, .. } => {
            seen.connected.push(device.clone());
            seen.connections.insert(device, connection);
        }
        MembershipEvent::Disconnected { device } => seen.disconnected.push(device),
        MembershipEvent::Control { device, message } => seen.control.push((device, message)),
        MembershipEvent::Gossip { hint, .. } => seen.gossip.push(hint),
        MembershipEvent::Request { device, mut send, mut recv } => {
            seen.requests.push(device);
            tokio::spawn(async move {
                let asked = recv.read_to_end(1024).await.unwrap();
                send.write_all(&asked).await.unwrap();
                send.finish().unwrap();
            });
        }
    }
}
