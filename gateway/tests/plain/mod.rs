//! Commits that nobody framed: the gateway derives what devices need of them.

use crate::site::commit::commit_of;
use crate::site::{REF, Site, commitmeta};
use fullmetal_proto::wire::local::{CentralObject, ToPeer};
use fullmetal_proto::wire::{BlobRef, ObjectKind, Pieces};
use fullmetal_proto::{Bitmap, Digest};
use std::path::PathBuf;

/// A directory with one file `x`, as libostree wrote it.
const TREE: &str = "7800425ed44badf603aa41cf3e05f16f16b08a86e88ff0ebcbdb38efefee7752950d022324";
const FILE: &str = "425ed44badf603aa41cf3e05f16f16b08a86e88ff0ebcbdb38efefee7752950d";

fn tree() -> (Digest, Vec<u8>) {
    let bytes =
        (0..TREE.len()).step_by(2).map(|i| u8::from_str_radix(&TREE[i..i + 2], 16).unwrap()).collect::<Vec<_>>();
    (Digest::of(&bytes), bytes)
}

/// Puts a signed commit without a manifest at central; gives it.
fn put(site: &Site, version: &str) -> Digest {
    let (root, bytes) = tree();
    let object = commit_of(root.0, &[REF], version, &[]);
    site.peer.with(|s| s.central.insert(CentralObject::DirTree(root), bytes));
    site.put(&object, Some(commitmeta(&object, &site.build)), false)
}

fn kept(site: &Site) -> Vec<PathBuf> {
    let dir = std::fs::read_dir(site.path("var/lib/fullmetal/gateway/manifests")).unwrap();
    dir.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn its_manifest_is_derived_handed_to_the_peer_and_handed_over_again_after_a_restart() {
    let mut site = Site::new();
    let commit = put(&site, "1");
    site.start();
    site.deploy_web("[\"press-1\"]").expect(0, &[]);
    let (blob, bytes) = site.peer.wait("the manifest", |s| s.offered.first().cloned());
    assert_eq!(BlobRef::of(&bytes), blob);
    let Pieces::Batches(manifest) = Pieces::open(&bytes).unwrap() else { panic!("not plain") };
    assert_eq!(manifest.commit, commit);
    let files: Vec<String> = manifest
        .objects
        .iter()
        .map(|o| o.id)
        .filter(|id| id.kind == ObjectKind::File)
        .map(|id| id.checksum.to_string())
        .collect();
    assert_eq!((files.as_slice(), manifest.objects.len()), (&[FILE.to_owned()][..], 4));
    let want = ToPeer::Want { manifest: blob.clone(), commit, need: Bitmap::default() };
    assert!(!site.peer.with(|s| s.told.contains(&want)), "central does not have it: no use to ask");
    site.kill();
    site.peer.with(|s| s.offered.clear());
    std::fs::write(site.path("var/lib/fullmetal/gateway/manifests").join("0".repeat(64)), b"of an old bundle").unwrap();
    site.start();
    let again = site.peer.wait("the manifest again", |s| s.offered.first().cloned());
    assert_eq!(again, (blob.clone(), bytes));
    assert_eq!(kept(&site), [site.path("var/lib/fullmetal/gateway/manifests").join(blob.sha256.to_string())]);
    site.peer.with(|s| s.offered.clear());
    site.peer.hang_up();
    site.peer.wait("the manifest for a new peer", |s| s.offered.first().cloned());
}

#[test]
fn a_manifest_that_was_lost_or_damaged_is_left_to_the_fleet() {
    let mut site = Site::new();
    let commit = put(&site, "1");
    site.start();
    site.deploy_web("[\"press-1\"]").expect(0, &[]);
    let (blob, _) = site.peer.wait("the manifest", |s| s.offered.first().cloned());
    site.kill();
    std::fs::write(&kept(&site)[0], b"rubbish").unwrap();
    site.start();
    let want = ToPeer::Want { manifest: blob.clone(), commit, need: Bitmap::default() };
    site.peer.wait("a wish", |s| s.told.contains(&want).then_some(()));
    site.deploy_web("[\"press-2\"]").expect(0, &[]);
    assert_eq!(Digest::of(&std::fs::read(&kept(&site)[0]).unwrap()), blob.sha256, "deciding again has mended it");
}

#[test]
fn a_directory_that_is_missing_lets_the_action_wait_and_another_in_its_place_refuses_it() {
    let mut site = Site::new();
    let commit = put(&site, "1");
    let (root, bytes) = tree();
    site.start();
    site.peer.with(|s| s.central.insert(CentralObject::DirTree(root), b"other".to_vec()));
    site.deploy_web("[\"a\"]").expect(1, &["has another hash: the repo is damaged"]);
    site.peer.with(|s| s.central.remove(&CentralObject::DirTree(root)));
    let words = format!("central lacks directory {root} of commit {commit}");
    site.deploy_web("[\"a\"]").expect(1, &[&words, "still being copied", "goes on trying"]);
    site.peer.with(|s| s.central.insert(CentralObject::DirTree(root), bytes));
    site.peer.wait("the announcement", |s| s.newest.clone());
}

#[test]
fn with_central_out_of_reach_a_plain_commit_waits_too() {
    let mut site = Site::new();
    put(&site, "1");
    site.start();
    site.peer.with(|s| s.central_down = true);
    site.deploy_web("[\"a\"]").expect(1, &["central is out of reach", "goes on trying"]);
    site.peer.with(|s| s.central_down = false);
    site.peer.wait("the announcement", |s| s.newest.clone());
}
