//! A repo that nobody framed: whole objects in batches, made by the real `ostree`.

use super::lab::{Caller, Fleet, Peer, Setup, bytes_of};
use crate::batch::{BatchReader, verify};
use crate::local::{Packet, sealed_descriptor};
use crate::peer::testing::{Nginx, eventually};
use fullmetal_proto::ostree::{Commit, plan};
use fullmetal_proto::wire::local::{CentralObject, Client, FromPeer, ToPeer};
use fullmetal_proto::wire::{BlobRef, ObjectKind, PlainManifest, seal};
use fullmetal_proto::{Bitmap, Digest};
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An archive repo with one commit.
struct Plain {
    repo: PathBuf,
    commit: Digest,
    manifest: PlainManifest,
    envelope: Vec<u8>,
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Bytes that do not compress, other ones for each name.
fn noise(name: u32, length: usize) -> Vec<u8> {
    (0u32..).flat_map(|i| Digest::of(&[name.to_be_bytes(), i.to_be_bytes()].concat()).0).take(length).collect()
}

impl Plain {
    /// 150 files of 2 to 3 kB, one of 5 MB, a setuid one with an xattr, a symlink and an empty file.
    fn new(dir: &Path) -> Self {
        let (repo, tree) = (dir.join("repo"), dir.join("tree"));
        fs::create_dir_all(tree.join("sub/deep")).unwrap();
        for i in 0..150 {
            fs::write(tree.join(format!("sub/file{i}")), noise(i, 2_000 + i as usize * 7)).unwrap();
        }
        fs::write(tree.join("big"), noise(1_000, 5_000_000)).unwrap();
        fs::write(tree.join("tool"), b"#!/bin/sh\n").unwrap();
        fs::set_permissions(tree.join("tool"), Permissions::from_mode(0o4755)).unwrap();
        run(Command::new("setfattr").args(["-n", "user.demo", "-v", "yes"]).arg(tree.join("tool")));
        symlink("../tool", tree.join("sub/link")).unwrap();
        fs::write(tree.join("sub/deep/empty"), b"").unwrap();
        let option = format!("--repo={}", repo.display());
        run(Command::new("ostree").args(["init", "--mode=archive", &option]));
        let source = format!("--tree=dir={}", tree.display());
        let commit = run(Command::new("ostree").args(["commit", &option, "-b", "app", "--owner-uid=1000", &source]));
        let commit: Digest = commit.parse().unwrap();
        let read = |id: &Digest, suffix: &str| fs::read(object_path(&repo, id, suffix)).unwrap();
        let object = read(&commit, "commit");
        let parsed = Commit::parse(&object).unwrap();
        let manifest = plan(&object, &parsed, &[], &mut |tree: &Digest| Ok::<_, ()>(read(tree, "dirtree"))).unwrap();
        let envelope = seal(&manifest, &[]).unwrap();
        Plain { repo, commit, manifest, envelope }
    }

    fn blob(&self) -> BlobRef {
        BlobRef::of(&self.envelope)
    }

    async fn offer(&self, gateway: &Caller) {
        let offer = ToPeer::Offer { manifest: self.blob(), commit: self.commit };
        gateway.say_with(offer, sealed_descriptor(&self.envelope).unwrap()).await;
    }

    /// What an agent does: pulls the manifest, wants all batches, reads them. Gives the bytes from neighbours and central.
    async fn install(&self, agent: &Caller) -> (u64, u64) {
        let sha256 = self.blob().sha256;
        let blob = ToPeer::Blob { blob: self.blob(), central: CentralObject::Manifest(self.commit) };
        agent.say(blob).await;
        let got = agent.until(|p| (p.message == FromPeer::Blob { sha256 }).then(|| bytes_of(&p))).await;
        assert_eq!(got, self.envelope);
        let need = Bitmap::full(self.manifest.ends.len() as u32);
        agent.say(ToPeer::Want { manifest: self.blob(), commit: self.commit, need }).await;
        let came = self.complete(agent).await;
        for index in 0..self.manifest.ends.len() as u32 {
            let bytes = self.batch(agent, index).await;
            verify(&bytes[..], bytes.len() as u64, self.manifest.batch(index), &|_| {}).unwrap();
        }
        came
    }

    async fn complete(&self, agent: &Caller) -> (u64, u64) {
        let ours = self.blob().sha256;
        agent
            .until(|p| match p.message {
                FromPeer::Have { manifest, have, bytes_from_peers, bytes_from_central }
                    if manifest == ours && have.is_full() =>
                {
                    Some((bytes_from_peers, bytes_from_central))
                }
                _ => None,
            })
            .await
    }

    async fn batch(&self, agent: &Caller, index: u32) -> Vec<u8> {
        let manifest = self.blob().sha256;
        agent.say(ToPeer::Frame { manifest, index }).await;
        agent.until(|p| (p.message == FromPeer::Frame { manifest, index }).then(|| bytes_of(&p))).await
    }

    /// The batch with the largest file.
    fn largest(&self) -> u32 {
        let length = |o: &Digest| fs::metadata(object_path(&self.repo, o, "filez")).map_or(0, |m| m.len());
        let all = 0..self.manifest.ends.len() as u32;
        let most = |b: &u32| self.manifest.batch(*b).iter().map(|o| length(&o.id.checksum)).max();
        all.max_by_key(most).unwrap()
    }
}

fn object_path(repo: &Path, id: &Digest, suffix: &str) -> PathBuf {
    let hex = id.to_string();
    repo.join(format!("objects/{}/{}.{suffix}", &hex[..2], &hex[2..]))
}

fn at(peers: &[&Peer]) -> Setup {
    Setup { peers: peers.iter().map(|p| p.address()).collect(), ..Setup::default() }
}

fn with_central(setup: Setup, nginx: &Nginx) -> Setup {
    Setup { central: Some(nginx.url().to_string()), ..setup }
}

/// A peer without neighbours that has everything, whose gateway offered the manifest.
struct Alone {
    agent: Caller,
    _gateway: Caller,
    peer: Peer,
    nginx: Nginx,
    plain: Plain,
    fleet: Fleet,
}

impl Alone {
    async fn installed() -> Self {
        let fleet = Fleet::new();
        let plain = Plain::new(&fleet.path(""));
        let nginx = Nginx::http(&plain.repo);
        let peer = fleet.start("a", with_central(Setup::default(), &nginx));
        let gateway = peer.client(Client::Gateway).await;
        plain.offer(&gateway).await;
        let agent = peer.client(Client::Agent).await;
        plain.install(&agent).await;
        Alone { agent, _gateway: gateway, peer, nginx, plain, fleet }
    }
}

#[tokio::test]
async fn each_object_crosses_the_uplink_once_and_every_device_gets_every_batch() {
    let fleet = Fleet::new();
    let plain = Plain::new(&fleet.path(""));
    let nginx = Nginx::http(&plain.repo);
    let gate = fleet.start("gate", with_central(Setup::default(), &nginx));
    let a = fleet.start("a", with_central(at(&[&gate]), &nginx));
    let b = fleet.start("b", at(&[&a]));
    for (peer, count) in [(&gate, 1), (&a, 2), (&b, 1)] {
        eventually("all connected", || async { (peer.status().await.neighbours.len() >= count).then_some(()) }).await;
    }
    let gateway = gate.client(Client::Gateway).await;
    plain.offer(&gateway).await;
    let (agent_a, agent_b) = (a.client(Client::Agent).await, b.client(Client::Agent).await);
    let (got_a, got_b) = tokio::join!(plain.install(&agent_a), plain.install(&agent_b));
    assert_eq!(got_b.1, 0, "b has no way to central");
    assert!(got_b.0 > 5_000_000 && got_a.0 + got_a.1 > 5_000_000, "{got_a:?} {got_b:?}");
    let lines = nginx.requests();
    for object in &plain.manifest.objects {
        let hex = object.id.checksum.to_string();
        let name = format!("/objects/{}/{}.{} ", &hex[..2], &hex[2..], object.id.kind.archive_suffix());
        assert_eq!(lines.iter().filter(|line| line.contains(&name)).count(), 1, "{name} in {lines:#?}");
    }
}

#[tokio::test]
async fn what_is_packed_is_the_objects_own_stream_whatever_its_owner_mode_and_xattrs() {
    let alone = Alone::installed().await;
    let (plain, agent) = (&alone.plain, &alone.agent);
    let mut setuid = 0;
    for index in 0..plain.manifest.ends.len() as u32 {
        let bytes = plain.batch(agent, index).await;
        let mut reader = BatchReader::new(&bytes[..], bytes.len() as u64).unwrap();
        for object in plain.manifest.batch(index) {
            let mut stream = vec![0; reader.object(object).unwrap() as usize];
            reader.read_exact(&mut stream).unwrap();
            let header = (object.id.kind == ObjectKind::File)
                .then(|| fullmetal_proto::ostree::ContentHeader::parse(&stream).unwrap().0);
            if let Some(header) = header.filter(|h| h.mode == 0o104_755) {
                assert_eq!(
                    (header.uid, header.xattrs.len(), header.xattrs[0].value.as_slice()),
                    (1000, 1, &b"yes"[..])
                );
                setuid += 1;
            }
        }
    }
    assert_eq!(setuid, 1);
}

#[tokio::test]
async fn a_damaged_object_at_central_is_named_and_comes_when_it_was_mended() {
    let fleet = Fleet::new();
    let plain = Plain::new(&fleet.path(""));
    let nginx = Nginx::http(&plain.repo);
    let broken = plain.manifest.batch(plain.largest()).iter().find(|o| o.id.kind == ObjectKind::File).unwrap();
    let path = object_path(&plain.repo, &broken.id.checksum, "filez");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 3;
    bad[last] ^= 1;
    fs::write(&path, &bad).unwrap();
    let a = fleet.start("a", with_central(Setup::default(), &nginx));
    let gateway = a.client(Client::Gateway).await;
    plain.offer(&gateway).await;
    let agent = a.client(Client::Agent).await;
    let need = Bitmap::full(plain.manifest.ends.len() as u32);
    agent.say(ToPeer::Want { manifest: plain.blob(), commit: plain.commit, need }).await;
    let reason = agent
        .until(|p| match p.message {
            FromPeer::WantFailed { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert!(reason.contains("wrong bytes") && reason.contains("ostree fsck"), "{reason}");
    fs::write(&path, &good).unwrap();
    plain.complete(&agent).await;
}

#[tokio::test]
async fn a_batch_that_rotted_in_a_cache_is_not_served_and_is_fetched_again() {
    let Alone { agent: _agent, _gateway, peer: gate, nginx, plain, fleet } = Alone::installed().await;
    let id = plain.manifest.id(plain.largest());
    let file = gate.settings.paths.cache_dir().join("batches").join(id.to_string());
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let b = fleet.start("b", at(&[&gate]));
    let agent_b = b.client(Client::Agent).await;
    let (peers, central) = plain.install(&agent_b).await;
    assert!(peers > 5_000_000 && central == 0);
    let asked = nginx.requests().iter().filter(|line| line.contains(".filez")).count();
    let files = plain.manifest.objects.iter().filter(|o| o.id.kind == ObjectKind::File).count();
    assert!(asked > files, "the batch was fetched again: {asked} requests for {files} files");
}

#[tokio::test]
async fn a_batch_that_the_agent_finds_corrupt_is_fetched_again_though_nobody_else_needs_it() {
    let alone = Alone::installed().await;
    let (plain, agent) = (&alone.plain, &alone.agent);
    agent.say(ToPeer::Corrupt { sha256: plain.manifest.id(0) }).await;
    let incomplete = |p: Packet<FromPeer>| match p.message {
        FromPeer::Have { have, .. } => (!have.is_full()).then_some(()),
        _ => None,
    };
    agent.until(incomplete).await;
    plain.complete(agent).await;
    let bytes = plain.batch(agent, 0).await;
    verify(&bytes[..], bytes.len() as u64, plain.manifest.batch(0), &|_| {}).unwrap();
}

#[tokio::test]
async fn a_manifest_that_the_agent_asked_for_before_its_gateway_came_arrives_with_the_gateway() {
    let fleet = Fleet::new();
    let plain = Plain::new(&fleet.path(""));
    let nginx = Nginx::http(&plain.repo);
    let a = fleet.start("a", with_central(Setup::default(), &nginx));
    let agent = a.client(Client::Agent).await;
    let need = Bitmap::full(plain.manifest.ends.len() as u32);
    agent.say(ToPeer::Want { manifest: plain.blob(), commit: plain.commit, need }).await;
    let asked = || async { nginx.requests().iter().any(|line| line.contains("/manifests/")).then_some(()) };
    eventually("central was asked for the manifest", asked).await;
    let gateway = a.client(Client::Gateway).await;
    plain.offer(&gateway).await;
    plain.complete(&agent).await;
}

#[tokio::test]
async fn an_offer_of_nonsense_ends_the_gateways_connection_and_not_the_peer() {
    let fleet = Fleet::new();
    let a = fleet.start("a", Setup::default());
    for blob in [
        BlobRef { sha256: Digest::of(b"x"), length: 1, chunks: vec![Digest::of(b"x"); 2] },
        BlobRef { sha256: Digest::of(b"other"), length: 1, chunks: Vec::new() },
    ] {
        let gateway = a.client(Client::Gateway).await;
        let offer = ToPeer::Offer { manifest: blob, commit: Digest::of(b"c") };
        gateway.say_with(offer, sealed_descriptor(b"x").unwrap()).await;
        while gateway.try_next().await.is_some() {}
    }
    assert!(a.status().await.neighbours.is_empty(), "it still answers");
}
