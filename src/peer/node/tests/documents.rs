//! Announcements, reports and receipts: who may bring them, and how far they get.

use super::lab::{Caller, Fleet, MADE, Peer, Setup, bytes_of};
use super::release::Release;
use crate::identity::Usage;
use crate::local::sealed_descriptor;
use fullmetal_proto::wire::local::{Client, FromPeer, ToPeer};
use fullmetal_proto::wire::{Receipt, Report, ReportState, SigningKey, seal};
use serde_bytes::ByteBuf;

fn beside(peer: &Peer) -> Setup {
    Setup { peers: vec![peer.address()], ..Setup::default() }
}

fn report(fleet: &Fleet, peer: &Peer, counter: u64, (key, certificate): &(SigningKey, Vec<u8>)) -> Vec<u8> {
    let report = Report {
        fleet: fleet.id.clone(),
        device: peer.device(),
        counter,
        oldest: 0,
        action: 0,
        bundle: None,
        state: ReportState::Inventory,
        reason: String::new(),
        exit: None,
        log: Vec::new(),
        parts: Vec::new(),
        bytes_from_peers: 0,
        bytes_from_central: 0,
        bytes_total: 0,
        agent: String::new(),
        bundle_major: 0,
        free_bytes: None,
        elapsed_ms: 0,
        at: MADE,
        certificate: ByteBuf::from(certificate.clone()),
    };
    seal(&report, &[key]).unwrap()
}

pub async fn announce(gateway: &Caller, bytes: &[u8], counter: u64) {
    let hint = Release::hint(bytes, counter);
    gateway.say_with(ToPeer::Announce(hint), sealed_descriptor(bytes).unwrap()).await;
}

#[tokio::test]
async fn a_report_crosses_the_fleet_to_the_gateway_and_its_receipt_comes_back() {
    let fleet = Fleet::new();
    let gate = fleet.start("gate", Setup::default());
    let a = fleet.start("a", beside(&gate));
    let b = fleet.start("b", beside(&a));
    let agent = b.client(Client::Agent).await;
    let keys = fleet.certify(&b.device(), Usage::Agent);
    let bytes = report(&fleet, &b, 5, &keys);
    agent.say(ToPeer::Report(ByteBuf::from(bytes.clone()))).await;
    let gateway = gate.client(Client::Gateway).await;
    let arrived = |p: FromPeer| match p {
        FromPeer::Report(bytes) => Some(bytes.into_vec()),
        _ => None,
    };
    assert_eq!(gateway.until(|p| arrived(p.message)).await, bytes);
    let heard = |p: FromPeer| match p {
        FromPeer::Heard(devices) => devices.iter().any(|(device, _)| device.as_str() == "b").then_some(()),
        _ => None,
    };
    let again = gate.client(Client::Gateway).await;
    again.until(|p| heard(p.message)).await;
    let receipt = Receipt { fleet: fleet.id.clone(), device: b.device(), counter: 5 };
    let receipt = seal(&receipt, &[&fleet.gateway_key]).unwrap();
    gateway.say(ToPeer::Receipt(ByteBuf::from(receipt.clone()))).await;
    let came = |p: FromPeer| match p {
        FromPeer::Receipt(bytes) => Some(bytes.into_vec()),
        _ => None,
    };
    assert_eq!(agent.until(|p| came(p.message)).await, receipt);
}

#[tokio::test]
async fn a_report_waits_through_restarts_for_a_gateway() {
    let fleet = Fleet::new();
    let a = fleet.start("a", Setup::default());
    let b = fleet.start("b", beside(&a));
    let agent = b.client(Client::Agent).await;
    let keys = fleet.certify(&b.device(), Usage::Agent);
    let bytes = report(&fleet, &b, 1, &keys);
    agent.say(ToPeer::Report(ByteBuf::from(bytes.clone()))).await;
    let carried = a.settings.paths.cache_dir().join("blobs").join(fullmetal_proto::Digest::of(&bytes).to_string());
    crate::peer::testing::eventually("the neighbour carries it", || async { carried.exists().then_some(()) }).await;
    drop((agent, b));
    let a = Peer::restart(a.stop());
    let gateway = a.client(Client::Gateway).await;
    let arrived = |p: FromPeer| match p {
        FromPeer::Report(bytes) => Some(bytes.into_vec()),
        _ => None,
    };
    assert_eq!(gateway.until(|p| arrived(p.message)).await, bytes);
}

#[tokio::test]
async fn what_is_not_signed_as_it_must_be_goes_nowhere() {
    let fleet = Fleet::new();
    let other = Fleet::new();
    let release = Release::new(21, 1, 1000);
    let a = fleet.start("a", Setup::default());
    let gateway = a.client(Client::Gateway).await;
    let agent = a.client(Client::Agent).await;
    announce(&gateway, &release.announcement(&other, 9), 9).await;
    let forged = Fleet::like(&fleet);
    announce(&gateway, &release.announcement(&forged, 8), 8).await;
    let keys = fleet.certify(&"b".parse().unwrap(), Usage::Agent);
    agent.say(ToPeer::Report(ByteBuf::from(report(&fleet, &a, 1, &keys)))).await;
    let good = release.announcement(&fleet, 1);
    announce(&gateway, &good, 1).await;
    let first = agent.until(|p| matches!(p.message, FromPeer::Announcement(_)).then(|| bytes_of(&p))).await;
    assert_eq!(first, good, "the only one that was passed on");
    announce(&gateway, &release.announcement(&fleet, 2), 2).await;
    let newer = Release::hint(&release.announcement(&fleet, 2), 2);
    let none_before = |p: FromPeer| match p {
        FromPeer::Report(_) => panic!("a report that names another device than its key"),
        other => (other == FromPeer::Announcement(newer)).then_some(()),
    };
    gateway.until(|p| none_before(p.message)).await;
    announce(&gateway, &good, 1).await;
    assert_eq!(a.status().await.newest, Some(newer), "an older one changes nothing");
}

#[tokio::test]
async fn clients_that_say_what_they_may_not_say_are_closed() {
    let fleet = Fleet::new();
    let release = Release::new(22, 1, 1000);
    let a = fleet.start("a", Setup::default());
    let bytes = release.announcement(&fleet, 1);
    let agent = a.client(Client::Agent).await;
    announce(&agent, &bytes, 1).await;
    assert!(agent.try_next().await.is_none());
    let observer = a.client(Client::Observer).await;
    observer.say(release.want(release.full())).await;
    assert!(observer.try_next().await.is_none());
    assert_eq!(a.status().await.newest, None);
}
