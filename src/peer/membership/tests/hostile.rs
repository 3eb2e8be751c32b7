use super::*;
use crate::peer::control::{HELLO_LEN_MAX, read_message, write_message};
use fullmetal_proto::wire::transfer::{CONTROL_LEN_MAX, KnownPeer, PEERS_MAX, VERSION};

/// A member that speaks the protocol by hand.
struct ByHand {
    connection: quinn::Connection,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    _endpoint: Endpoint,
}

impl ByHand {
    async fn dial(address: SocketAddr, credentials: &Credentials) -> Self {
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into(), credentials).unwrap();
        let connection = endpoint.connect(address).unwrap().await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let hello = Hello { version: VERSION + 1, origin: false, weight: 0, gossip_port: 0, data_port: 1 };
        write_message(&mut send, &hello, HELLO_LEN_MAX).await.unwrap();
        let _: Hello = read_message(&mut recv, HELLO_LEN_MAX).await.unwrap();
        ByHand { connection, send, recv, _endpoint: endpoint }
    }
}

#[tokio::test]
async fn a_neighbour_that_breaks_the_protocol_is_disconnected() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let peer = KnownPeer { device: id(7), address: "192.0.2.7:1".into() };
    let mut too_many = Vec::new();
    write_message(&mut too_many, &Control::Peers(vec![peer; PEERS_MAX + 1]), CONTROL_LEN_MAX).await.unwrap();
    let offences =
        [[&u32::MAX.to_be_bytes()[..], &[0; 64]].concat(), [&4u32.to_be_bytes()[..], b"junk"].concat(), too_many];
    for (n, offence) in offences.into_iter().enumerate() {
        let mut hostile = ByHand::dial(one.address(), &ca.member(10 + n)).await;
        eventually("it is in", || one.has(10 + n)).await;
        hostile.send.write_all(&offence).await.unwrap();
        eventually("it is out", || !one.has(10 + n)).await;
        tokio::time::timeout(DEADLINE, hostile.connection.closed()).await.unwrap();
    }
}

#[tokio::test]
async fn a_neighbour_that_takes_no_messages_is_disconnected_instead_of_missing_one() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let deaf = ByHand::dial(one.address(), &ca.member(2)).await;
    eventually("it is in", || one.has(2)).await;
    let long = Control::Heard((0..2000).map(|n| (id(n), 1)).collect());
    let mut sent = 0;
    eventually("it is out", || {
        sent += usize::from(one.membership.send(&id(2), long.clone()));
        !one.has(2)
    })
    .await;
    assert!(sent >= OUTBOX_MAX, "{sent}");
    drop(deaf);
}

#[tokio::test]
async fn a_banned_device_is_closed_at_once_and_refused_until_the_ban_ends() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let mut hostile = ByHand::dial(one.address(), &ca.member(2)).await;
    eventually("it is in", || one.has(2)).await;
    one.membership.ban(&id(2), Duration::from_secs(2));
    eventually("it is out", || !one.has(2)).await;
    while hostile.recv.read_chunk(1024, true).await.is_ok_and(|chunk| chunk.is_some()) {}
    let banned = Instant::now();
    let two = Peer::start(settings(dir.path(), vec![one.address()]), ca.member(2)).await;
    eventually("it is back", || one.has(2) && two.has(1)).await;
    assert!(banned.elapsed() > Duration::from_secs(1), "{:?}", banned.elapsed());
}

#[tokio::test]
async fn a_second_device_with_our_own_name_is_refused() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let one = Peer::start(settings(dir.path(), vec![]), ca.member(1)).await;
    let clone = Peer::start(settings(dir.path(), vec![one.address()]), ca.member(1)).await;
    let two = Peer::start(settings(dir.path(), vec![one.address(), clone.address()]), ca.member(2)).await;
    eventually("a third connects", || two.has(1)).await;
    assert!(!one.has(1) && !clone.has(1));
}
