use super::samples::{announcement, key, public, revocations, trust};
use crate::wire::trust::Role;
use crate::wire::*;
use crate::{RefName, Timestamp};

fn opened<D: Document>(document: &D, keys: &[u8]) -> Opened<D> {
    let keys: Vec<SigningKey> = keys.iter().map(|k| key(*k)).collect();
    open(&seal(document, &keys.iter().collect::<Vec<_>>()).unwrap()).unwrap()
}

fn none() -> Revocations {
    Revocations::none(&trust().fleet)
}

#[test]
fn only_the_gateway_role_signs_announcements() {
    let by = |keys: &[u8], revoked: &Revocations| {
        trust().check_gateway(&opened(&announcement(), keys).envelope, revoked).is_ok()
    };
    assert!(by(&[3], &none()));
    assert!(!by(&[], &none()) && !by(&[1], &none()) && !by(&[2], &none()));
    let mut revoked = none();
    revoked.keys.insert(public(3).id());
    assert!(!by(&[3], &revoked));
}

#[test]
fn one_key_twice_does_not_meet_a_threshold_of_two() {
    let mut trust = trust();
    trust.gateway = Role { keys: vec![public(3), public(6)], threshold: 2 };
    let mut envelope = opened(&announcement(), &[3]).envelope;
    envelope.signatures.push(envelope.signatures[0].clone());
    assert!(trust.check_gateway(&envelope, &none()).is_err());
    envelope.sign(&key(6));
    assert!(trust.check_gateway(&envelope, &none()).is_ok());
}

#[test]
fn a_signature_over_one_kind_does_not_count_for_another() {
    let envelope = opened(&super::samples::receipt(), &[3]).envelope;
    let disguised = Envelope { kind: Kind::Announcement, ..envelope };
    assert!(trust().check_gateway(&disguised, &none()).is_err());
}

#[test]
fn a_build_key_signs_only_its_refs() {
    let commit = b"commit object";
    let signature = keys::sign(&key(2), commit);
    let check = |name: &str, signatures: &[[u8; 64]], revoked: &Revocations| {
        trust().check_commit(&name.parse::<RefName>().unwrap(), commit, signatures, revoked)
    };
    assert!(check("apps/web", &[signature], &none()).is_ok());
    assert!(check("os/main", &[signature], &none()).is_err());
    assert!(check("apps/web", &[keys::sign(&key(3), commit)], &none()).is_err());
    assert!(check("apps/web", &[], &none()).unwrap_err().to_string().contains("signed by 0 of the 1 build keys"));
    let mut revoked = none();
    revoked.keys.insert(public(2).id());
    assert!(check("apps/web", &[signature], &revoked).is_err());
    assert!(trust().allows_unsigned(&"legacy/x".parse().unwrap()));
    assert!(!trust().allows_unsigned(&"apps/web".parse().unwrap()));
}

#[test]
fn a_trust_file_follows_only_as_the_next_version_signed_by_both_roots() {
    let mut next = trust();
    next.version = 2;
    next.root = Role { keys: vec![public(7)], threshold: 1 };
    let check = |t: &Trust, keys: &[u8]| trust().check_successor(&opened(t, keys), &none());
    assert!(check(&next, &[1, 7]).is_ok());
    assert!(check(&next, &[1]).is_err() && check(&next, &[7]).is_err());
    next.version = 3;
    assert!(matches!(check(&next, &[1, 7]), Err(Refusal::Version { .. })));
    next.version = 2;
    next.fleet = "plant-8".parse().unwrap();
    assert!(matches!(check(&next, &[1, 7]), Err(Refusal::Fleet { .. })));
    assert!(Trust::check_self_signed(&opened(&trust(), &[1])).is_ok());
    assert!(Trust::check_self_signed(&opened(&trust(), &[2])).is_err());
}

#[test]
fn a_revocation_list_only_grows() {
    let mut more = revocations();
    more.version = 2;
    more.keys.insert(public(8).id());
    assert!(trust().check_revocations(&opened(&more, &[1]), &revocations()).is_ok());
    assert!(trust().check_revocations(&opened(&more, &[3]), &revocations()).is_err());
    let mut less = more.clone();
    less.devices.clear();
    assert_eq!(trust().check_revocations(&opened(&less, &[1]), &revocations()), Err(Refusal::Unrevoked));
}

#[test]
fn nothing_new_starts_on_an_expired_trust_file() {
    let trust = trust();
    assert!(trust.check_time(trust.expires).is_ok());
    assert!(trust.check_time(Timestamp::from_millis(trust.expires.as_millis() + 1)).is_err());
}
