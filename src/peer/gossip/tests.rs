use super::*;
use crate::identity::new_key;

fn fleet() -> FleetId {
    "plant-7".parse().unwrap()
}

fn hint(counter: u64) -> Hint {
    Hint { epoch: 1, counter, digest: Digest::of(&counter.to_be_bytes()), length: 8 }
}

struct Node {
    gossip: Gossip,
    events: mpsc::Receiver<MembershipEvent>,
    peer: PeerId,
    device: DeviceId,
}

impl Node {
    async fn start(n: usize) -> Self {
        let (key, (tx, events)) = (new_key(), mpsc::channel(256));
        let peer = peer_id(&PublicKey::of(&key)).unwrap();
        let gossip = Gossip::start(&key, &fleet(), ([127, 0, 0, 1], 0).into(), tx).unwrap();
        assert_ne!(gossip.port_known().await, 0);
        Node { gossip, events, peer, device: format!("d{n}").parse().unwrap() }
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.gossip.port()).into()
    }

    async fn admit(&self, other: &Node, dial: bool) {
        self.gossip.admit(other.peer, other.device.clone(), dial.then(|| other.address())).await;
    }

    /// Whether a hint arrives while `other` publishes one after another.
    async fn hears(&mut self, other: &Node, counters: std::ops::Range<u64>) -> bool {
        for counter in counters {
            other.gossip.publish(hint(counter));
            let heard = tokio::time::timeout(Duration::from_millis(50), self.events.recv()).await;
            if let Ok(Some(MembershipEvent::Gossip { device, .. })) = heard {
                assert_eq!(device, other.device);
                return true;
            }
        }
        false
    }
}

#[tokio::test]
async fn a_stranger_that_dials_gossip_hears_and_tells_nothing_until_it_is_admitted() {
    let (mut one, mut stranger) = (Node::start(1).await, Node::start(2).await);
    stranger.admit(&one, true).await;
    assert!(!stranger.hears(&one, 1..20).await);
    assert!(!one.hears(&stranger, 21..40).await);
    one.admit(&stranger, false).await;
    assert!(stranger.hears(&one, 41..600).await, "the same way works for a member");
    one.gossip.expel(stranger.peer).await;
    while stranger.hears(&one, 601..602).await {}
    assert!(!stranger.hears(&one, 602..620).await, "expelled");
}

#[tokio::test]
async fn a_hint_travels_on_only_after_it_proved_true() {
    let (mut one, mut two, three) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    // three - one - two: what two hears of three came through one.
    for (a, b) in [(&one, &two), (&one, &three)] {
        b.admit(a, false).await;
        a.admit(b, true).await;
    }
    assert!(two.hears(&one, 1..600).await);
    assert!(one.hears(&three, 601..1200).await);
    let held = tokio::time::timeout(Duration::from_millis(500), two.events.recv()).await;
    let leaked = matches!(held, Ok(Some(MembershipEvent::Gossip { hint, .. })) if hint.counter > 600);
    assert!(!leaked, "an unproven hint travelled on");
    let proved = async {
        for counter in 1201..2000 {
            three.gossip.publish(hint(counter));
            one.gossip.publish(hint(counter - 1));
            let heard = tokio::time::timeout(Duration::from_millis(50), two.events.recv()).await;
            if matches!(heard, Ok(Some(MembershipEvent::Gossip { hint, .. })) if hint.counter > 1200) {
                return true;
            }
        }
        false
    };
    assert!(proved.await);
}

#[test]
fn who_is_not_accepted_dials_less_and_less_often() {
    let began = Instant::now();
    let mut peer = Admitted::new("press-1".parse().unwrap(), Some(address([127, 0, 0, 1].into(), 1)), began);
    let mut lasts = |seconds: u64| {
        peer.connected(began);
        let end = began + Duration::from_secs(seconds);
        peer.disconnected(0, end);
        (peer.redial_at.unwrap() - end).as_secs()
    };
    assert_eq!([0, 0, 0, 0].map(&mut lasts), [1, 2, 4, 8]);
    assert_eq!([60, 0].map(&mut lasts), [1, 2]);
}
