//! Commit signatures, judged by OpenSSL over the bytes of the `.commit` file.

use super::harness::{Bench, command, key, name, object_path, publish, tarball};
use crate::identity::FleetTrust;
use crate::publish::{Judge, Options, Source, read_key};
use ed25519_dalek::pkcs8::EncodePublicKey;
use fullmetal_proto::wire::trust::Role;
use fullmetal_proto::wire::{BuildKey, ObjectKind, PublicKey, Revocations, Trust};
use fullmetal_proto::{FleetId, Timestamp};
use std::fs;

/// The ed25519 signatures of `rev` as hex, read by the `ostree` program and a parser of its text.
fn signatures(bench: &Bench, rev: &str) -> Vec<String> {
    let text = bench.ostree(&["show", "--print-detached-metadata-key=ostree.sign.ed25519", rev]);
    let text = text.trim().trim_start_matches("[byte ").trim_start_matches('[').trim_end_matches(']');
    let entries = text.split(']').filter(|e| e.contains("0x"));
    entries.map(|e| e.split("0x").skip(1).map(|b| &b[..2]).collect()).collect()
}

fn verified_by_openssl(bench: &Bench, seed: u8, message: &std::path::Path, signature: &str) -> bool {
    let public = key(seed).verifying_key().to_public_key_der().unwrap();
    fs::write(bench.path("key.der"), public.as_bytes()).unwrap();
    fs::write(bench.path("sig"), hex::decode(signature).unwrap()).unwrap();
    let out = std::process::Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(bench.path("key.der"))
        .arg("-sigfile")
        .arg(bench.path("sig"))
        .arg("-in")
        .arg(message)
        .output()
        .unwrap();
    out.status.success()
}

#[test]
fn openssl_verifies_the_signature_over_the_commit_file() {
    let bench = Bench::new();
    tarball(&bench.path("root.tar"), &[("bin/su", tar::EntryType::Regular, b"#!/bin/true\n", "")]);
    let mut options = bench.options_of(bench.path("root.tar"));
    // Same time and owners everywhere: `ostree show` prints a signature that ends in a zero byte, one in 16, as text.
    options.timestamp = Some(1_795_528_440);
    let published = publish(&options).unwrap();
    assert_eq!(published.signatures, 1);
    let found = signatures(&bench, "apps/web");
    assert_eq!(found.len(), 1);
    let sum = published.commit.to_string();
    let meta = fs::read(bench.repo().join(format!("objects/{}/{}.commitmeta", &sum[..2], &sum[2..]))).unwrap();
    let ours = fullmetal_proto::ostree::signatures(&meta);
    assert_eq!(ours.iter().map(hex::encode).collect::<Vec<_>>(), found, "the device's parser sees the same");
    let commit = object_path(&bench.repo(), ObjectKind::Commit, &published.commit);
    assert!(verified_by_openssl(&bench, 1, &commit, &found[0]));
    assert!(!verified_by_openssl(&bench, 2, &commit, &found[0]));
    let mut bytes = fs::read(&commit).unwrap();
    bytes[20] ^= 1;
    fs::write(bench.path("flipped"), bytes).unwrap();
    assert!(!verified_by_openssl(&bench, 1, &bench.path("flipped"), &found[0]));
}

#[test]
fn a_commit_that_something_else_made_is_signed_and_framed_as_it_is() {
    let bench = Bench::new();
    let tree = format!("--tree=dir={}", bench.rootfs().display());
    bench.ostree(&["init", "--mode=archive"]);
    let same = ["--timestamp=2026-11-24 13:54:00 +0000", "--owner-uid=0", "--owner-gid=0"];
    let foreign = bench.ostree(&[&["commit", "-b", "os/press", &tree], &same[..]].concat()).trim().to_owned();
    let mut options = Options::new(bench.repo(), Source::Commit(foreign.clone()));
    options.frame_len = 64 << 10;
    options.key = Some(key(1));
    let first = publish(&options).unwrap();
    assert_eq!((first.commit.to_string(), first.unchanged, first.ref_name), (foreign.clone(), false, None));
    bench.decode(&bench.manifest(&first.commit));
    // By its ref, with a second key: the first signature stays.
    options.source = Source::Commit("os/press".into());
    options.key = Some(key(2));
    let second = publish(&options).unwrap();
    assert_eq!((second.signatures, second.ref_name), (2, Some(name("os/press"))));
    let commit = object_path(&bench.repo(), ObjectKind::Commit, &second.commit);
    let found = signatures(&bench, &foreign);
    assert!(verified_by_openssl(&bench, 1, &commit, &found[0]) && verified_by_openssl(&bench, 2, &commit, &found[1]));
    let before = bench.snapshot();
    assert!(publish(&options).unwrap().unchanged);
    assert!(before == bench.snapshot());
}

#[test]
fn other_detached_metadata_is_kept() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.key = None;
    let published = publish(&options).unwrap();
    assert_eq!(published.signatures, 0);
    let sum = published.commit.to_string();
    let repo = ostree::Repo::new_for_path(bench.repo());
    repo.open(ostree::gio::Cancellable::NONE).unwrap();
    let dict = ostree::glib::VariantDict::new(None);
    dict.insert("other.key", "kept");
    repo.write_commit_detached_metadata(&sum, Some(&dict.end()), ostree::gio::Cancellable::NONE).unwrap();
    options.key = Some(key(1));
    let signed = publish(&options).unwrap();
    assert_eq!((signed.commit, signed.unchanged, signed.signatures), (published.commit, false, 1));
    let shown = bench.ostree(&["show", "--print-detached-metadata-key=other.key", &sum]);
    assert_eq!(shown.trim(), "'kept'");
}

#[test]
fn keys_are_pkcs8_pem_as_openssl_writes_them() {
    let bench = Bench::new();
    let path = bench.path("build.key");
    command("openssl", &["genpkey", "-algorithm", "ed25519", "-out", &path.display().to_string()]);
    let key = read_key(&path).unwrap();
    let text = command(
        "openssl",
        &[
            "pkey",
            "-in",
            &path.display().to_string(),
            "-pubout",
            "-outform",
            "DER",
            "-out",
            &bench.path("public.der").display().to_string(),
        ],
    );
    assert!(text.is_empty());
    let public = fs::read(bench.path("public.der")).unwrap();
    assert_eq!(public[public.len() - 32..], key.verifying_key().to_bytes());
    command("openssl", &["genpkey", "-algorithm", "x25519", "-out", &path.display().to_string()]);
    for (content, expected) in [(None, "is no ed25519 private key"), (Some(&b"\xff"[..]), "is no ed25519 private key")]
    {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = read_key(&path).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(read_key(&path).unwrap_err().to_string().contains("No such file"));
}

/// A trust file whose build keys are 1, for `refs`, and 2, for everything; 3 is the gateway's.
fn judge(refs: &str) -> Judge {
    let public = |seed| PublicKey::of(&key(seed));
    let role = |seed| Role { keys: vec![public(seed)], threshold: 1 };
    let fleet: FleetId = "plant-7".parse().unwrap();
    let build =
        vec![BuildKey { key: public(1), refs: vec![refs.into()] }, BuildKey { key: public(2), refs: vec!["*".into()] }];
    let (issued, expires) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
    let (version, epoch, build_threshold) = (1, 1, 1);
    let (root, gateway, unsigned_refs) = (role(4), role(3), vec!["foreign/*".into()]);
    let trust = Trust {
        fleet: fleet.clone(),
        version,
        issued,
        expires,
        root,
        build,
        build_threshold,
        gateway,
        epoch,
        device_ca: vec![],
        unsigned_refs,
    };
    Judge { path: "keys/trust".into(), trust: FleetTrust { trust, revoked: Revocations::none(&fleet) } }
}

#[test]
fn a_key_that_the_trust_file_does_not_let_sign_the_ref_publishes_nothing() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.judge = Some(judge("apps/*"));
    let refused = |options: &Options, words: &[&str]| {
        let error = publish(options).unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        assert!(words.iter().all(|w| text.contains(w)) && text.contains("keys/trust"), "{text}");
        assert!(!bench.repo().exists(), "something was written");
    };
    let id = |seed| PublicKey::of(&key(seed)).id().to_string();
    options.key = Some(key(3));
    refused(&options, &["apps/web", "is its gateway key", &id(3), "one of the build keys", &id(1), &id(2)]);
    options.key = Some(key(5));
    refused(&options, &["is in no role of it"]);
    options.key = Some(key(1));
    options.ref_name = Some(name("os/press"));
    refused(&options, &["os/press", "may sign apps/* only", &format!("sign with build key {}", id(2))]);
    options.judge.as_mut().unwrap().trust.revoked.keys.insert(PublicKey::of(&key(2)).id());
    options.key = Some(key(2));
    refused(&options, &["is its build and revoked key", "now none may"]);
    options.key = None;
    refused(&options, &["os/press must be signed", "--unsigned"]);
    options.ref_name = Some(name("foreign/web"));
    assert_eq!(publish(&options).unwrap().signed_by, None);
    options.ref_name = Some(name("apps/web"));
    options.key = Some(key(1));
    assert_eq!(publish(&options).unwrap().signed_by.unwrap().to_string(), id(1));
    // By the commit's ref, where the command line names none.
    options.source = Source::Commit("foreign/web".into());
    options.ref_name = None;
    let text = publish(&options).unwrap_err().to_string();
    assert!(text.contains("may not sign foreign/web"), "{text}");
}
