//! The rule as a table: binding, builder's metadata, signature, allowance.

use super::*;
use crate::Timestamp;
use crate::wire::trust::Role;
use crate::wire::{BuildKey, PartKind, PublicKey, SigningKey, keys};
use serde_bytes::ByteBuf;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn trust() -> Trust {
    let role = |seed| Role { keys: vec![PublicKey::of(&key(seed))], threshold: 1 };
    Trust {
        fleet: "plant-7".parse().unwrap(),
        version: 1,
        issued: Timestamp::ZERO,
        expires: Timestamp::ZERO,
        root: role(1),
        build: vec![BuildKey { key: PublicKey::of(&key(2)), refs: vec!["apps/*".into()] }],
        build_threshold: 1,
        gateway: role(3),
        epoch: 1,
        device_ca: vec![ByteBuf::from(vec![0x30, 0])],
        unsigned_refs: vec!["legacy/*".into()],
    }
}

/// GVariant's framing offsets behind a body.
fn framed(mut body: Vec<u8>, ends: &[usize]) -> Vec<u8> {
    let width = if body.len() + ends.len() > 255 { 2 } else { 1 };
    ends.iter().for_each(|end| body.extend(&(*end as u16).to_le_bytes()[..width]));
    body
}

fn array(items: &[Vec<u8>], align: usize) -> Vec<u8> {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for item in items {
        body.resize(body.len().next_multiple_of(align), 0);
        body.extend(item);
        ends.push(body.len());
    }
    framed(body, &ends)
}

fn entry(key: &str, kind: &str, value: &[u8]) -> Vec<u8> {
    let mut body = [key.as_bytes(), &[0]].concat();
    let end = body.len();
    body.resize(end.next_multiple_of(8), 0);
    framed([&body, value, &[0], kind.as_bytes()].concat(), &[end])
}

/// A commit with this binding; with what `fullmetal publish` adds, or as other tools make it.
fn commit(refs: &[&str], ours: bool) -> Vec<u8> {
    let mut metadata = Vec::new();
    if ours {
        metadata.push(entry("fullmetal.name", "s", b"web\0"));
        metadata.push(entry("fullmetal.release", "t", &7u64.to_le_bytes()));
    }
    if !refs.is_empty() {
        let refs: Vec<Vec<u8>> = refs.iter().map(|r| [r.as_bytes(), &[0]].concat()).collect();
        metadata.push(entry("ostree.ref-binding", "as", &array(&refs, 1)));
    }
    let mut body = array(&metadata, 8);
    let mut ends = vec![body.len(); 3];
    for text in ["a release\0", "\0"] {
        body.extend(text.as_bytes());
        ends.push(body.len());
    }
    body.resize(body.len().next_multiple_of(8), 0);
    body.extend(7u64.to_be_bytes());
    body.extend([1; 32]);
    ends.push(body.len());
    body.extend([2; 32]);
    ends.reverse();
    framed(body, &ends)
}

fn commitmeta(object: &[u8], signer: u8) -> Vec<u8> {
    let signatures = array(&[keys::sign(&key(signer), object).to_vec()], 1);
    array(&[entry("ostree.sign.ed25519", "aay", &signatures)], 8)
}

#[derive(Debug, PartialEq)]
enum Said {
    Yes,
    Elsewhere,
    Unsigned,
}
use Said::{Elsewhere, Unsigned, Yes};

/// Wanted ref, binding, metadata of ours, signer, what is said.
type Case<'a> = (&'a str, &'a [&'a str], bool, Option<u8>, Said);

const SIGNED: Option<u8> = Some(2);
const BY_A_STRANGER: Option<u8> = Some(4);

#[test]
fn a_commit_is_deployed_under_the_refs_that_its_builder_and_the_trust_file_allow() {
    let table: &[Case<'_>] = &[
        ("apps/web", &["apps/web"], true, SIGNED, Yes),
        ("apps/web", &["apps/shop", "apps/web"], true, SIGNED, Yes),
        ("apps/web", &["apps/web"], false, SIGNED, Yes),
        ("apps/web", &["apps/shop"], true, SIGNED, Elsewhere),
        ("apps/web", &["apps/shop"], false, SIGNED, Elsewhere),
        ("apps/web", &["apps/web/x"], true, SIGNED, Elsewhere),
        ("apps/web", &["apps/web"], true, None, Unsigned),
        ("apps/web", &["apps/web"], true, BY_A_STRANGER, Unsigned),
        // A foreign commit need not be bound: our signature on it is enough.
        ("apps/web", &[], false, SIGNED, Yes),
        ("apps/web", &[], false, None, Unsigned),
        ("apps/web", &[], false, BY_A_STRANGER, Unsigned),
        // The build key signs for apps only.
        ("os/main", &["os/main"], true, SIGNED, Unsigned),
        // The allowance is for signatures, not for bindings.
        ("legacy/web", &[], false, None, Yes),
        ("legacy/web", &["legacy/web"], false, None, Yes),
        ("legacy/web", &["legacy/shop"], false, None, Elsewhere),
        ("legacy/web", &["apps/web"], true, SIGNED, Elsewhere),
        ("legacy/web", &["legacy/web"], true, SIGNED, Yes),
        ("legacy/web", &[], false, BY_A_STRANGER, Yes),
    ];
    let (trust, revoked) = (trust(), Revocations::none(&"plant-7".parse().unwrap()));
    for (wanted, refs, ours, signer, expected) in table {
        let object = commit(refs, *ours);
        let meta = signer.map(|signer| commitmeta(&object, signer)).unwrap_or_default();
        let ref_name = wanted.parse().unwrap();
        let said = match (Deployable { trust: &trust, revoked: &revoked, ref_name: &ref_name }).judge(&object, &meta) {
            Ok(commit) => {
                assert_eq!(commit.metadata.release, ours.then_some(7), "a foreign commit has no place in an order");
                Yes
            }
            Err(CommitRefusal::NotBound { .. }) => Elsewhere,
            Err(CommitRefusal::Unsigned(_)) => Unsigned,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(said, *expected, "{wanted} bound to {refs:?}, ours: {ours}, signer: {signer:?}");
    }
}

#[test]
fn a_revoked_build_keys_signature_does_not_count() {
    let (trust, ref_name) = (trust(), "apps/web".parse().unwrap());
    let mut revoked = Revocations::none(&trust.fleet);
    let object = commit(&["apps/web"], true);
    let meta = commitmeta(&object, 2);
    let judge =
        |revoked: &Revocations| Deployable { trust: &trust, revoked, ref_name: &ref_name }.judge(&object, &meta);
    assert!(judge(&revoked).is_ok());
    revoked.keys.insert(PublicKey::of(&key(2)).id());
    assert!(matches!(judge(&revoked), Err(CommitRefusal::Unsigned(_))));
}

#[test]
fn a_commit_keeps_the_name_that_its_builder_gave_it() {
    let name = |text: &str| text.parse::<AppName>().unwrap();
    let ours = Commit::parse(&commit(&[], true)).unwrap();
    assert_eq!(ours.check_name(&name("web")), Ok(()));
    assert_eq!(ours.check_name(&name("shop")).unwrap_err().to_string(), "is app web, not shop");
    assert_eq!(Commit::parse(&commit(&[], false)).unwrap().check_name(&name("shop")), Ok(()));
}

#[test]
fn an_operating_system_is_deployed_as_nothing_else() {
    let mut commit = Commit::parse(&commit(&[], false)).unwrap();
    // A commit of older tools does not say what it is.
    assert_eq!((commit.check_kind(PartKind::App), commit.check_kind(PartKind::Os)), (Ok(()), Ok(())));
    commit.metadata.bootable = true;
    assert_eq!(commit.check_kind(PartKind::Os), Ok(()));
    assert_eq!(commit.check_kind(PartKind::App).unwrap_err().to_string(), "is an operating system, not an app");
}

#[test]
fn what_is_no_commit_is_refused_as_that() {
    let (trust, ref_name) = (trust(), "apps/web".parse().unwrap());
    let revoked = Revocations::none(&trust.fleet);
    let judged = Deployable { trust: &trust, revoked: &revoked, ref_name: &ref_name }.judge(b"rubbish", b"");
    assert!(matches!(judged, Err(CommitRefusal::Malformed(_))));
}
