//! What a fleet is for: everything to everybody, over the uplink about once.

use super::lab::{Fleet, Peer, Setup, bytes_of};
use super::release::Release;
use crate::config::CentralBudget;
use crate::peer::testing::{Nginx, eventually};
use fullmetal_proto::wire::local::{CentralShare, Client, FromPeer, ToPeer};

fn at(peers: &[&Peer]) -> Setup {
    Setup { peers: peers.iter().map(|p| p.address()).collect(), ..Setup::default() }
}

fn with_central(setup: Setup, nginx: &Nginx) -> Setup {
    Setup { central: Some(nginx.url().to_string()), ..setup }
}

#[tokio::test]
async fn devices_without_origin_get_all_from_neighbours_and_central_sends_one_copy() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(1, 12, 300_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let gate = fleet.start("gate", with_central(Setup::default(), &nginx));
    let a = fleet.start("a", at(&[&gate]));
    let b = fleet.start("b", at(&[&a]));
    let gateway = gate.client(Client::Gateway).await;
    let (agent_a, agent_b) = (a.client(Client::Agent).await, b.client(Client::Agent).await);
    let announcement = release.announce(&fleet, &gateway, 1).await;
    for agent in [&agent_a, &agent_b] {
        let expected = FromPeer::Announcement(Release::hint(&announcement, 1));
        let got = agent.until(|p| (p.message == expected).then(|| bytes_of(&p))).await;
        assert_eq!(got, announcement);
    }
    let (got_a, got_b) = tokio::join!(release.install(&agent_a), release.install(&agent_b));
    assert_eq!((got_a, got_b), ((release.bytes(), 0), (release.bytes(), 0)));
    nginx.sent("packs", release.bytes()).await;
    nginx.sent("manifests", release.manifest_bytes.len() as u64).await;
    let status = b.status().await;
    assert_eq!(status.bytes_from_peers, release.bytes());
    assert_eq!(status.sources.iter().map(|(_, bytes)| bytes).sum::<u64>(), release.bytes(), "{:?}", status.sources);
    assert!(status.neighbours.contains(&a.device()) && status.trouble.is_empty(), "{status:?}");
}

#[tokio::test]
async fn several_peers_with_origin_share_the_uplink() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(2, 24, 300_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let a = fleet.start("a", with_central(Setup::default(), &nginx));
    let b = fleet.start("b", with_central(at(&[&a]), &nginx));
    let c = fleet.start("c", with_central(at(&[&a, &b]), &nginx));
    let peers = [&a, &b, &c];
    for peer in peers {
        eventually("all connected", || async { (peer.status().await.neighbours.len() == 2).then_some(()) }).await;
    }
    let mut agents = Vec::new();
    for peer in peers {
        let agent = peer.client(Client::Agent).await;
        agent.say(release.want(release.full())).await;
        agents.push(agent);
    }
    let mut from_central = 0;
    for agent in &agents {
        let (peers, central) = release.complete(agent).await;
        assert_eq!(peers + central, release.bytes());
        from_central += central;
    }
    assert_eq!(from_central, release.bytes(), "each frame crossed the uplink once");
    nginx.sent("packs", release.bytes()).await;
}

#[tokio::test]
async fn a_killed_peer_resumes_from_what_lies_in_its_cache() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(3, 40, 200_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let a = fleet.start("a", with_central(Setup::default(), &nginx));
    let agent = a.client(Client::Agent).await;
    agent.say(release.want(release.full())).await;
    let had = agent
        .until(|p| match p.message {
            FromPeer::Have { have, .. } if have.count() >= 8 => Some(have.count()),
            _ => None,
        })
        .await;
    let settings = a.kill();
    let a = Peer::restart(settings);
    let agent = a.client(Client::Agent).await;
    let (_, from_central) = release.install(&agent).await;
    let missing = release.bytes() - u64::from(had) * 200_000;
    assert!(from_central <= missing, "{had} frames were there, {from_central} bytes fetched");
}

#[tokio::test]
async fn a_late_joiner_is_served_by_a_restarted_neighbour_alone() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(4, 6, 100_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let gate = fleet.start("gate", with_central(Setup::default(), &nginx));
    let gateway = gate.client(Client::Gateway).await;
    let a = fleet.start("a", at(&[&gate]));
    let agent = a.client(Client::Agent).await;
    let announcement = release.announce(&fleet, &gateway, 7).await;
    release.install(&agent).await;
    agent.say(ToPeer::Retain { manifests: vec![release.manifest.sha256] }).await;
    agent.say(ToPeer::Unwant { manifest: release.manifest.sha256 }).await;
    agent.say(ToPeer::Status).await;
    agent.until(|p| matches!(p.message, FromPeer::Status(_)).then_some(())).await;
    drop((agent, gateway, nginx));
    drop(gate);
    let a = Peer::restart(a.stop());
    let b = fleet.start("b", at(&[&a]));
    let agent = b.client(Client::Agent).await;
    let expected = FromPeer::Announcement(Release::hint(&announcement, 7));
    agent.until(|p| (p.message == expected).then_some(())).await;
    assert_eq!(release.install(&agent).await, (release.bytes(), 0));
}

#[tokio::test]
async fn peers_that_fetch_split_the_sites_budget() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(2, 24, 300_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let central_budget = CentralBudget::of("512 kbit/s".parse().unwrap());
    let setup = Setup { central_budget, ..with_central(Setup::default(), &nginx) };
    let a = fleet.start("a", setup.clone());
    let b = fleet.start("b", Setup { peers: vec![a.address()], ..setup });
    eventually("a neighbour", || async { (b.status().await.neighbours.len() == 1).then_some(()) }).await;
    let alone = CentralShare { budget_bytes_per_s: 64_000, bytes_per_s: 64_000, fetchers: 1 };
    assert_eq!(a.status().await.central.as_deref(), Some(&alone));
    let mut agents = Vec::new();
    for peer in [&a, &b] {
        let agent = peer.client(Client::Agent).await;
        agent.say(release.want(release.full())).await;
        agents.push(agent);
    }
    let half = CentralShare { bytes_per_s: 32_000, fetchers: 2, ..alone };
    for peer in [&a, &b] {
        let splits = || async { (peer.status().await.central.as_deref() == Some(&half)).then_some(()) };
        eventually("a share of half of it", splits).await;
    }
}
