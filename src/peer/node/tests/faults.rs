//! Liars, rot, full caches, and what central can do wrong.

use super::lab::{Fleet, Peer, Setup};
use super::release::Release;
use crate::identity::{Clock, Identity, SharedTrust, Usage};
use crate::peer::control::{read_message, write_message};
use crate::peer::membership::{self, Credentials, MembershipEvent, MembershipSettings};
use crate::peer::testing::{Nginx, Rogue, eventually, respond};
use fullmetal_proto::wire::local::{CentralObject, Client, FromPeer, ToPeer};
use fullmetal_proto::wire::transfer::{Control, PeerStatus, REQUEST_LEN_MAX, Request, ResponseHead, SwarmUpdate};
use fullmetal_proto::{Bitmap, DeviceId, Digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn central(nginx: &Nginx) -> Setup {
    Setup { central: Some(nginx.url().to_string()), ..Setup::default() }
}

/// A member that claims to have everything and answers every request with zeros.
async fn liar(fleet: &Fleet, target: &Peer, release: &Release) -> (DeviceId, Arc<AtomicU32>) {
    let device: DeviceId = "liar".parse().unwrap();
    let (key, certificate) = fleet.certify(&device, Usage::Peer);
    let identity = Identity { device: device.clone(), fleet: fleet.id.clone(), key, certificate };
    let credentials = Credentials { identity, trust: SharedTrust::new(fleet.trust()), clock: Clock::new() };
    let settings = MembershipSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        peers: vec![target.address()],
        discovery: false,
        interfaces: vec!["lo".into()],
        gossip: false,
        origin: false,
        weight: 0,
        cache: fleet.path("liar"),
    };
    std::fs::create_dir_all(&settings.cache).unwrap();
    let (membership, mut events) = membership::start(settings, credentials).await.unwrap();
    let lies = Arc::new(AtomicU32::new(0));
    let (told, me) = (lies.clone(), device.clone());
    let pieces = release.frames.len() as u32;
    let (none, full) = (Bitmap::new(pieces), Bitmap::full(pieces));
    let status = PeerStatus {
        peer: me,
        seq: 1,
        origin: false,
        weight: 0,
        have: full,
        need: none.clone(),
        claims: none,
        lease_ms: 0,
        stuck: false,
        failing: false,
        address: None,
    };
    let update = SwarmUpdate { manifest: release.manifest.sha256, pieces, statuses: vec![status] };
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                MembershipEvent::Connected { device, .. } => {
                    membership.send(&device, Control::Swarm(update.clone()));
                }
                MembershipEvent::Request { mut send, mut recv, .. } => {
                    let request: Request = read_message(&mut recv, REQUEST_LEN_MAX).await.unwrap();
                    let Request::Frame { length, .. } = request else {
                        let _ = write_message(&mut send, &ResponseHead::NotHere, REQUEST_LEN_MAX).await;
                        continue;
                    };
                    told.fetch_add(1, Ordering::SeqCst);
                    let _ = write_message(&mut send, &ResponseHead::Ok, REQUEST_LEN_MAX).await;
                    let _ = send.write_all(&vec![0; length as usize]).await;
                    let _ = send.finish();
                }
                _ => {}
            }
        }
    });
    (device, lies)
}

#[tokio::test]
async fn a_neighbour_that_sends_wrong_bytes_is_banned_and_the_rest_comes_from_central() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(11, 10, 100_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let a = fleet.start("a", central(&nginx));
    let agent = a.client(Client::Agent).await;
    let (liar, lies) = liar(&fleet, &a, &release).await;
    eventually("the liar is a neighbour", || async { a.status().await.neighbours.contains(&liar).then_some(()) }).await;
    agent.say(release.want(release.full())).await;
    let (from_peers, from_central) = release.complete(&agent).await;
    assert!(lies.load(Ordering::SeqCst) > 0, "it was asked");
    assert_eq!((from_peers, from_central), (0, release.bytes()));
    let neighbours = a.status().await.neighbours;
    assert!(!neighbours.contains(&liar), "{neighbours:?}");
}

#[tokio::test]
async fn a_rotten_file_is_never_sent_and_is_fetched_anew() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(12, 4, 600_000);
    release.publish(&repo);
    let nginx = Nginx::http(&repo);
    let a = fleet.start("a", central(&nginx));
    let agent = a.client(Client::Agent).await;
    release.install(&agent).await;
    let frame = &release.frames[2];
    let file = a.settings.paths.cache_dir().join("frames").join(Digest::of(frame).to_string());
    let mut rotten = frame.clone();
    rotten[300_000] ^= 1;
    std::fs::write(&file, rotten).unwrap();
    let b = fleet.start("b", Setup { peers: vec![a.address()], ..Setup::default() });
    let agent_b = b.client(Client::Agent).await;
    assert_eq!(release.install(&agent_b).await, (release.bytes(), 0));
    assert!(b.status().await.neighbours.contains(&a.device()), "rot is no reason for a ban");
    assert_eq!(&std::fs::read(&file).unwrap(), frame);
    nginx.sent("packs", release.bytes() + frame.len() as u64).await;
}

#[tokio::test]
async fn a_commit_without_manifest_is_refused_with_what_to_do_and_goes_on_when_it_is_published() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let release = Release::new(13, 2, 50_000);
    std::fs::create_dir_all(&repo).unwrap();
    let nginx = Nginx::http(&repo);
    let a = fleet.start("a", central(&nginx));
    let agent = a.client(Client::Agent).await;
    agent.say(release.want(release.full())).await;
    let reason = agent.until(|p| want_failed(p.message)).await;
    let what_to_do = format!("publish it with `fullmetal publish --commit {}`", release.commit);
    assert!(reason.contains(&what_to_do), "{reason}");
    let gateway = a.client(Client::Gateway).await;
    let object = CentralObject::Manifest(release.commit);
    gateway.say(ToPeer::Central(object)).await;
    let missing = |p: FromPeer| match p {
        FromPeer::CentralFailed { missing, reason, .. } => Some((missing, reason)),
        _ => None,
    };
    let (missing, reason) = gateway.until(|p| missing(p.message)).await;
    assert!(missing && reason.contains(&what_to_do), "{reason}");
    release.publish(&repo);
    release.complete(&agent).await;
}

fn want_failed(message: FromPeer) -> Option<String> {
    match message {
        FromPeer::WantFailed { reason, .. } => Some(reason),
        _ => None,
    }
}

#[tokio::test]
async fn the_client_learns_that_central_has_no_range_or_wrong_bytes() {
    let fleet = Fleet::new();
    let release = Arc::new(Release::new(14, 12, 20_000));
    let served = release.clone();
    let rogue = Rogue::start(false, move |head| {
        let body = if head.contains("packs") { served.frames.concat() } else { served.manifest_bytes.clone() };
        respond("200 OK", &[&format!("Content-Length: {}", body.len())], &body)
    })
    .await;
    let a = fleet.start("a", Setup { central: Some(rogue.url().to_string()), ..Setup::default() });
    let agent = a.client(Client::Agent).await;
    agent.say(release.want(release.full())).await;
    let reason = agent.until(|p| want_failed(p.message)).await;
    assert!(reason.contains("this server has no Range"), "{reason}");
    let trouble = || async { a.status().await.trouble.contains("no Range").then_some(()) };
    eventually("the trouble in the status", trouble).await;

    let repo = fleet.path("repo");
    release.publish(&repo);
    let pack = repo.join(release.pack_path());
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[200_000] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let nginx = Nginx::http(&repo);
    let b = fleet.start("b", central(&nginx));
    let agent = b.client(Client::Agent).await;
    agent.say(release.want(release.full())).await;
    let reason = agent.until(|p| want_failed(p.message)).await;
    assert!(reason.contains("central has wrong bytes for frame 9"), "{reason}");
    bytes[200_000] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    release.complete(&agent).await;
}

#[tokio::test]
async fn a_small_cache_says_so_and_makes_room_when_older_frames_may_go() {
    let fleet = Fleet::new();
    let repo = fleet.path("repo");
    let (old, new) = (Release::new(15, 10, 100_000), Release::new(16, 10, 100_000));
    old.publish(&repo);
    new.publish(&repo);
    let nginx = Nginx::http(&repo);
    let a = fleet.start("a", Setup { cache_bytes_max: Some(1_500_000), ..central(&nginx) });
    let agent = a.client(Client::Agent).await;
    agent.say(old.want(old.full())).await;
    old.complete(&agent).await;
    agent.say(new.want(new.full())).await;
    let reason = agent.until(|p| want_failed(p.message)).await;
    assert!(reason.contains("raise peer.cache_bytes_max"), "{reason}");
    agent.say(ToPeer::Retain { manifests: vec![new.manifest.sha256] }).await;
    agent.say(ToPeer::Unwant { manifest: old.manifest.sha256 }).await;
    new.complete(&agent).await;
    assert!(a.status().await.cache_bytes <= 1_500_000);
    let (manifest, index) = (old.manifest.sha256, 0);
    agent.say(ToPeer::Frame { manifest, index }).await;
    let gone = agent.until(|p| (p.message == FromPeer::Frame { manifest, index }).then_some(p.descriptor)).await;
    assert!(gone.is_none(), "what is gone is said to be gone");
}
