use super::*;
use fullmetal_proto::wire::trust::Role;
use fullmetal_proto::wire::{BuildKey, Revocations, Trust};
use fullmetal_proto::{DeviceId, FleetId, Timestamp};
use serde_bytes::ByteBuf;

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

fn trust(ca: &Ca) -> FleetTrust {
    let key = PublicKey::of(&ca.key);
    let role = Role { keys: vec![key], threshold: 1 };
    let trust = Trust {
        fleet: fleet(),
        version: 1,
        issued: now(),
        expires: Timestamp::MAX,
        root: role.clone(),
        build: vec![BuildKey { key, refs: vec!["*".into()] }],
        build_threshold: 1,
        gateway: role,
        epoch: 1,
        device_ca: vec![ByteBuf::from(ca.certificate.clone())],
        unsigned_refs: Vec::new(),
    };
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
