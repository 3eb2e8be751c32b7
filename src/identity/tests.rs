use super::*;
use crate::config::Paths;
use fullmetal_proto::wire::trust::Role;
use fullmetal_proto::wire::{BuildKey, Document, Revocations, Trust, seal};
use fullmetal_proto::{DeviceId, FleetId, Timestamp};
use serde_bytes::ByteBuf;
use std::path::Path;

fn now() -> Timestamp {
    Timestamp::from_secs(1_795_528_440)
}

fn fleet() -> FleetId {
    "plant-7".parse().unwrap()
}

fn device() -> DeviceId {
    "press-1".parse().unwrap()
}

struct Ca {
    key: SigningKey,
    certificate: Vec<u8>,
}

fn ca() -> Ca {
    let key = new_key();
    Ca { certificate: issue_ca(&fleet(), &key).unwrap(), key }
}

/// A fleet's trust with one key for everything, for tests.
pub fn trust_of(fleet: &str, key: PublicKey, issued: Timestamp, ca: Vec<u8>) -> Trust {
    let role = Role { keys: vec![key], threshold: 1 };
    Trust {
        fleet: fleet.parse().unwrap(),
        version: 1,
        issued,
        expires: Timestamp::MAX,
        root: role.clone(),
        build: vec![BuildKey { key, refs: vec!["*".into()] }],
        build_threshold: 1,
        gateway: role,
        epoch: 1,
        device_ca: vec![ByteBuf::from(ca)],
        unsigned_refs: Vec::new(),
    }
}

fn trust(ca: &Ca) -> FleetTrust {
    let trust = trust_of(fleet().as_str(), PublicKey::of(&ca.key), now(), ca.certificate.clone());
    FleetTrust { trust, revoked: Revocations::none(&fleet()) }
}

fn issue(ca: &Ca, fleet: &FleetId, key: &SigningKey, usage: Usage) -> Vec<u8> {
    let ids = (fleet, &device());
    issue_member((&ca.certificate, &ca.key), ids, &PublicKey::of(key), usage, now()).unwrap()
}

#[test]
fn a_certificate_of_the_fleets_ca_makes_a_member() {
    let (ca, key) = (ca(), new_key());
    let der = issue(&ca, &fleet(), &key, Usage::Peer);
    let member = verify_certificate(&der, &trust(&ca), now(), Usage::Peer).unwrap();
    assert_eq!(member, Member { device: device(), key: PublicKey::of(&key) });
    // A clock at 1970 must not lock a member out: only the end of validity is judged.
    assert!(verify_certificate(&der, &trust(&ca), Timestamp::ZERO, Usage::Peer).is_ok());
}

#[test]
fn every_other_certificate_is_refused_with_its_reason() {
    let (ours, other, key) = (ca(), ca(), new_key());
    let trusted = trust(&ours);
    let refused =
        |der: &[u8], trust: &FleetTrust, at, usage| verify_certificate(der, trust, at, usage).unwrap_err().to_string();
    let good = issue(&ours, &fleet(), &key, Usage::Peer);
    assert!(refused(&issue(&other, &fleet(), &key, Usage::Peer), &trusted, now(), Usage::Peer).contains("refused"));
    assert!(refused(&good, &trusted, Timestamp::from_secs(2_200_000_000), Usage::Peer).contains("xpired"));
    assert!(refused(&good, &trusted, now(), Usage::Agent).contains("key usage"));
    assert!(refused(&issue(&ours, &fleet(), &key, Usage::Agent), &trusted, now(), Usage::Peer).contains("key usage"));
    let elsewhere = issue(&ours, &"plant-8".parse().unwrap(), &key, Usage::Peer);
    assert!(refused(&elsewhere, &trusted, now(), Usage::Peer).contains("plant-8"));
    assert!(refused(b"nonsense", &trusted, now(), Usage::Peer).contains("refused"));
    for revoke in [0, 1] {
        let mut revoking = trust(&ours);
        match revoke {
            0 => drop(revoking.revoked.devices.insert(device())),
            _ => drop(revoking.revoked.keys.insert(PublicKey::of(&key).id())),
        }
        assert!(refused(&good, &revoking, now(), Usage::Peer).contains("revoked"));
    }
}

#[test]
fn a_key_file_is_private_survives_and_is_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.key");
    let key = new_key();
    save_key(&path, &key).unwrap();
    assert_eq!(load_key(&path).unwrap(), key);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(save_key(&path, &new_key()), Err(IdentityError::File { .. })));
    assert_eq!(load_key(&path).unwrap(), key);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn openssl_reads_our_keys_and_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, key) = (ca(), new_key());
    save_key(&dir.path().join("k"), &key).unwrap();
    save_certificate(&dir.path().join("c"), &issue(&ca, &fleet(), &key, Usage::Peer)).unwrap();
    save_certificate(&dir.path().join("ca"), &ca.certificate).unwrap();
    let openssl = |args: &[&str]| {
        let output = std::process::Command::new("openssl").args(args).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let of_key = openssl(&["pkey", "-in", "k", "-pubout"]);
    assert_eq!(openssl(&["x509", "-in", "c", "-noout", "-pubkey"]), of_key);
    assert!(openssl(&["verify", "-CAfile", "ca", "c"]).contains("OK"));
    assert!(openssl(&["x509", "-in", "c", "-noout", "-text"]).contains("URI:urn:fullmetal:plant-7:device:press-1"));
}

/// A trust file and a revocation list on disk, as an operator replaces them.
struct Files {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Files {
    fn new(first: &Trust, key: &SigningKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::fs::create_dir_all(paths.trust_file().parent().unwrap()).unwrap();
        let files = Files { dir, paths };
        files.put(&files.paths.trust_file(), first, &[key]);
        files
    }

    /// As `install` and `mv` do it: a new file takes the old one's name.
    fn put<D: Document>(&self, path: &Path, document: &D, keys: &[&SigningKey]) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, seal(document, keys).unwrap()).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    fn load(&self) -> SharedTrust {
        SharedTrust::new(FleetTrust::load(&self.paths).unwrap())
    }
}

fn revoking(version: u64, names: &[&str]) -> Revocations {
    let devices = names.iter().map(|n| n.parse().unwrap()).collect();
    Revocations { version, devices, ..Revocations::none(&fleet()) }
}

#[test]
fn a_newer_trust_file_counts_at_once_when_both_root_roles_signed_it() {
    let (ca, new_root) = (ca(), new_key());
    let first = trust(&ca).trust;
    let files = Files::new(&first, &ca.key);
    let shared = files.load();
    assert!(!shared.refresh(&files.paths), "nothing changed");
    let root = Role { keys: vec![PublicKey::of(&new_root)], threshold: 1 };
    let second = Trust { version: 2, epoch: 2, root, ..first.clone() };
    let place = files.paths.trust_file();
    for (document, keys) in [
        (&second, vec![&ca.key]),
        (&second, vec![&new_root]),
        (&Trust { version: 3, ..second.clone() }, vec![&ca.key, &new_root]),
        (&Trust { epoch: 9, ..first.clone() }, vec![&ca.key]),
    ] {
        files.put(&place, document, &keys);
        assert!(!shared.refresh(&files.paths));
        assert_eq!(shared.get().trust, first, "{document:?} signed by {} keys", keys.len());
    }
    std::fs::write(&place, "half of a file").unwrap();
    assert!(!shared.refresh(&files.paths));
    std::fs::remove_file(&place).unwrap();
    assert!(!shared.refresh(&files.paths));
    assert_eq!(shared.get().trust, first);

    files.put(&place, &second, &[&ca.key, &new_root]);
    assert!(shared.refresh(&files.paths));
    assert_eq!(shared.get().trust, second);
    assert!(!shared.refresh(&files.paths), "told once");
}

#[test]
fn a_longer_revocation_list_counts_at_once_and_no_entry_comes_back() {
    let (ca, stranger) = (ca(), new_key());
    let files = Files::new(&trust(&ca).trust, &ca.key);
    let shared = files.load();
    let place = files.paths.revocations_file();
    let revoked = |name: &str| shared.get().revoked.has_device(&name.parse().unwrap());

    files.put(&place, &revoking(1, &["press-1"]), &[&stranger]);
    assert!(!shared.refresh(&files.paths) && !revoked("press-1"));
    files.put(&place, &revoking(1, &["press-1"]), &[&ca.key]);
    assert!(shared.refresh(&files.paths) && revoked("press-1"));
    files.put(&place, &revoking(2, &["press-2"]), &[&ca.key]);
    assert!(!shared.refresh(&files.paths) && revoked("press-1") && !revoked("press-2"));
    std::fs::remove_file(&place).unwrap();
    assert!(!shared.refresh(&files.paths) && revoked("press-1"));
    let many: Vec<String> = (1..=9_000).map(|n| format!("press-{n}")).collect();
    files.put(&place, &revoking(3, &many.iter().map(String::as_str).collect::<Vec<_>>()), &[&ca.key]);
    assert!(std::fs::metadata(&place).unwrap().len() > 64 << 10);
    assert!(shared.refresh(&files.paths) && revoked("press-9000"));
}

#[test]
fn a_new_root_and_its_revocation_list_are_taken_up_together() {
    let (ca, new_root) = (ca(), new_key());
    let first = trust(&ca).trust;
    let files = Files::new(&first, &ca.key);
    let shared = files.load();
    let root = Role { keys: vec![PublicKey::of(&new_root)], threshold: 1 };
    let mut list = revoking(1, &[]);
    list.keys.insert(PublicKey::of(&ca.key).id());
    // The list comes first and is not believed yet; it is looked at again when the trust file follows.
    files.put(&files.paths.revocations_file(), &list, &[&new_root]);
    assert!(!shared.refresh(&files.paths));
    files.put(&files.paths.trust_file(), &Trust { version: 2, root, ..first }, &[&ca.key, &new_root]);
    assert!(shared.refresh(&files.paths));
    assert_eq!((shared.get().trust.version, shared.get().revoked.clone()), (2, list));
}
