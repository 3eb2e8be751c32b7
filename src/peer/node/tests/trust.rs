use super::documents::announce;
use super::lab::{Fleet, Peer, Setup, bytes_of};
use super::release::Release;
use crate::peer::node::verify;
use crate::peer::testing::eventually;
use fullmetal_proto::DeviceId;
use fullmetal_proto::wire::local::{Client, FromPeer};
use fullmetal_proto::wire::{Announcement, Bundle, Document as _, Envelope, KeyId, PublicKey, Revocations, open, seal};
use serde_bytes::ByteBuf;

/// Revokes while the peer runs, as an operator does it.
fn revoke(fleet: &Fleet, peer: &Peer, version: u64, devices: &[&str], keys: &[KeyId]) {
    let devices = devices.iter().map(|d| d.parse().unwrap()).collect();
    let keys = keys.iter().copied().collect();
    let list = Revocations { version, devices, keys, ..Revocations::none(&fleet.id) };
    let place = peer.settings.paths.revocations_file();
    let new = place.with_extension("new");
    std::fs::write(&new, seal(&list, &[&fleet.root_key()]).unwrap()).unwrap();
    std::fs::rename(new, place).unwrap();
}

async fn has_neighbours(peer: &Peer, names: &[&str]) {
    let expected: Vec<DeviceId> = names.iter().map(|n| n.parse().unwrap()).collect();
    eventually("the neighbours", || async { (peer.status().await.neighbours == expected).then_some(()) }).await;
}

#[tokio::test]
async fn a_member_that_is_revoked_loses_its_connection_and_gets_no_new_one() {
    let fleet = Fleet::new();
    let a = fleet.start("a", Setup::default());
    let of_a = Setup { peers: vec![a.address()], ..Setup::default() };
    let (b, c) = (fleet.start("b", of_a.clone()), fleet.start("c", of_a));
    has_neighbours(&a, &["b", "c"]).await;
    revoke(&fleet, &a, 1, &["b"], &[]);
    revoke(&fleet, &c, 1, &["b"], &[]);
    has_neighbours(&a, &["c"]).await;
    has_neighbours(&b, &[]).await;
    let b = Peer::restart(b.stop());
    let d = fleet.start("d", Setup { peers: vec![a.address()], ..Setup::default() });
    eventually("a later member", || async { a.status().await.neighbours.contains(&d.device()).then_some(()) }).await;
    assert!(!a.status().await.neighbours.contains(&b.device()));
}

#[test]
fn an_announcement_with_a_bundle_of_a_later_format_is_carried_and_one_that_is_damaged_is_not() {
    let fleet = Fleet::new();
    let release = Release::new(41, 1, 1000);
    let opened = open::<Announcement>(&release.announcement(&fleet, 1)).unwrap().document;
    let known = verify::announcement(&release.announcement(&fleet, 1), &fleet.trust()).unwrap().blobs.len();
    let with = |change: fn(&mut Envelope)| {
        let mut bundle = Envelope::decode(&opened.bundles[0], Bundle::LEN_MAX).unwrap();
        change(&mut bundle);
        let mut both = opened.clone();
        both.bundles.push(ByteBuf::from(bundle.encode()));
        verify::announcement(&seal(&both, &[&fleet.gateway_key]).unwrap(), &fleet.trust())
    };
    let carried = with(|bundle| (bundle.major, bundle.body) = (Bundle::MAJOR + 1, vec![0xa0])).unwrap();
    assert_eq!(carried.blobs.len(), known, "what is known of it is");
    assert!(with(|bundle| bundle.body.truncate(9)).is_err());
}

#[tokio::test]
async fn what_a_revoked_gateway_announces_is_refused_from_then_on() {
    let fleet = Fleet::new();
    let release = Release::new(31, 1, 1000);
    let a = fleet.start("a", Setup::default());
    let gateway = a.client(Client::Gateway).await;
    let b = fleet.start("b", Setup { peers: vec![a.address()], ..Setup::default() });
    has_neighbours(&a, &["b"]).await;
    let first = release.announcement(&fleet, 1);
    announce(&gateway, &first, 1).await;
    eventually("the first", || async { a.status().await.newest.map(drop) }).await;
    // That the member is gone shows that the list is in force.
    revoke(&fleet, &a, 1, &[b.device().as_str()], &[PublicKey::of(&fleet.gateway_key).id()]);
    has_neighbours(&a, &[]).await;
    announce(&gateway, &release.announcement(&fleet, 2), 2).await;
    for _ in 0..50 {
        assert_eq!(a.status().await.newest, Some(Release::hint(&first, 1)));
    }
}

#[tokio::test]
async fn two_announcements_of_one_counter_reach_the_gateways_so_that_they_can_stop() {
    let fleet = Fleet::new();
    let (ours, theirs) = (Release::new(32, 1, 1000), Release::new(33, 1, 1000));
    let (ours, theirs) = (ours.announcement(&fleet, 4), theirs.announcement(&fleet, 4));
    let a = fleet.start("a", Setup::default());
    let b = fleet.start("b", Setup { peers: vec![a.address()], ..Setup::default() });
    let (first, second) = (a.client(Client::Gateway).await, b.client(Client::Gateway).await);
    let seen = |p: &FromPeer| matches!(p, FromPeer::Announcement(_));
    announce(&first, &ours, 4).await;
    assert_eq!(second.until(|p| seen(&p.message).then(|| bytes_of(&p))).await, ours);
    announce(&second, &theirs, 4).await;
    assert_eq!(second.until(|p| seen(&p.message).then(|| bytes_of(&p))).await, theirs);
    let later = b.client(Client::Gateway).await;
    assert_eq!(later.until(|p| seen(&p.message).then(|| bytes_of(&p))).await, ours, "the first stays in force");
    assert_eq!(later.until(|p| seen(&p.message).then(|| bytes_of(&p))).await, theirs);
    assert!(b.status().await.trouble.contains("two gateways"));
}
