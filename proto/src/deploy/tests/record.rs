//! The record's bytes.

use super::os_world::commit as os_commit;
use super::script::system;
use super::world::{Behaviour, candidate, name};
use crate::deploy::outbox::{OUTBOX_MAX, cut};
use crate::deploy::*;
use crate::wire::announcement::Mode;
use crate::wire::cbor;
use crate::wire::report::{ExitStatus, ReportState};
use crate::{DeploymentId, Digest, Timestamp};
use proptest::prelude::*;

fn wish(action: u64) -> Wish {
    Wish {
        action,
        bundle: Digest([action as u8; 32]),
        mode: Mode::WhenIdle,
        valid_until: Some(Timestamp::from_secs(2)),
        expires: Timestamp::from_secs(3),
        seen: Timestamp::from_secs(1),
    }
}

fn sample(phase: Phase) -> Record {
    let part = NewPart::from(candidate("web", "2", Behaviour::Healthy));
    let old = NewPart::from(candidate("web", "1", Behaviour::Runs)).installed;
    let report = Outgoing {
        counter: 6,
        action: 8,
        bundle: Some(Digest([8; 32])),
        state: ReportState::Failed,
        cause: Cause { reason: "no".into(), exit: Some(ExitStatus::Code(1)), log: vec!["x".into()] },
        bytes_from_peers: 1,
        bytes_from_central: 2,
        bytes_total: 0,
        elapsed_ms: 3,
        at: Timestamp::from_millis(4),
    };
    let deployment = Deployment {
        wish: wish(9),
        phase,
        parts: vec![part],
        removed: vec![],
        os: None,
        cuts: 0,
        backs: 0,
        leaves: None,
        withdrawn: false,
        probation_ms: 30_000,
        reported: Some(ReportState::Staged),
        too_late: true,
        bytes_from_peers: 10,
        bytes_from_central: 20,
        by_hand: false,
    };
    let mut record = Record::default();
    (record.rank, record.next_counter) = (Some((1, 5)), 7);
    record.apps.insert(name("web"), App { current: old.clone(), previous: Some(old), floor: 3, lost: false });
    record.deployment = Some(deployment);
    record.next = Some(wish(10));
    record.outbox.push(report);
    record.ended.push(Ended { action: 8, state: ReportState::Failed });
    record
}

/// Digest of the whole and the phase in plain sight.
#[test]
fn the_bytes_of_version_1_do_not_change() {
    let golden = [
        (Phase::Staging, "fbb3c5c013241fa86e5cdac1c85c39ff4c92b94173773e60d1e143c2ff9645b2", "6773746167696e67"),
        (
            Phase::Switching { restarts: 0 },
            "fc0a43a6eb09b1f9dad6eae306740cda6f291e10253a2f3a060d3705fc1775f1",
            "a169737769746368696e67a168726573746172747300",
        ),
        (
            Phase::Proving { restarts: 2 },
            "77acc73b2218a42b654a91b2e08752cdd8e6454dbf7d7926e3d98d8d52dce320",
            "a16770726f76696e67a168726573746172747302",
        ),
        (
            Phase::RollingBack { cause: Cause::new("why") },
            "54743da0955196769aded3b936ed49929fe84048ae3897fe4666d0f7cd7a9443",
            "a16c726f6c6c696e672d6261636ba1656361757365a166726561736f6e63776879",
        ),
    ];
    for (phase, whole, part) in golden {
        let bytes = sample(phase.clone()).encode().unwrap();
        assert_eq!(hex::encode(cbor::to_vec(&phase)), part);
        assert_eq!(Digest::of(&bytes).to_string(), whole, "{phase:?}: {}", hex::encode(&bytes));
        assert_eq!(Record::decode(&bytes), Ok(sample(phase)));
    }
}

/// An agent that knows version 1 only would go on with it and leave the app where it is.
#[test]
fn a_record_is_of_version_2_from_the_switch_of_a_removal_to_its_end() {
    let version = |record: &Record| {
        let value: ciborium::Value = cbor::from_slice(&record.encode().unwrap(), RECORD_LEN_MAX).unwrap();
        value.as_map().unwrap()[0].1.as_integer().unwrap()
    };
    let mut record = sample(Phase::Switching { restarts: 0 });
    record.deployment.as_mut().unwrap().removed.push(name("db"));
    assert_eq!(version(&record), 2.into());
    let mut staged = record.clone();
    staged.deployment.as_mut().unwrap().phase = Phase::Staging;
    assert_eq!(version(&staged), 1.into(), "nothing is touched yet");
    assert_eq!(Record::decode(&record.encode().unwrap()), Ok(record.clone()));
    record.deployment = None;
    record.floors.push((name("db"), 3));
    assert_eq!(version(&record), 1.into());
    assert_eq!(Record::decode(&record.encode().unwrap()), Ok(record));
}

/// After a roll back of the system, the agent before reads what the newer one wrote: this never changes.
#[test]
fn the_bytes_of_a_trial_are_of_version_3_and_do_not_change() {
    let mut record = sample(Phase::Arming);
    let app =
        App { current: NewPart::from(system("1", Behaviour::Runs)).installed, previous: None, floor: 2, lost: false };
    record.os = Some(System { name: name("os"), app });
    let id = |version: &str| DeploymentId { commit: os_commit(version), serial: 1 };
    record.deployment.as_mut().unwrap().os = Some(NewOs {
        part: NewPart::from(system("2", Behaviour::Healthy)),
        old: id("1"),
        new: Some(id("2")),
        boot: Some(BootId("b0071d".into())),
    });
    let golden = [
        (Phase::Arming, "6661726d696e67", "3147b3d26ad55d5ffc596757abb21594dff1849d1582add5c43200558002a2a3"),
        (Phase::Proven, "6670726f76656e", "fb4b4d9b2c41aeba7b4e9bfa5e9fba08a9d87ca2652a1da8b4bdd6c3b28c6dc1"),
    ];
    for (phase, part, whole) in golden {
        record.deployment.as_mut().unwrap().phase = phase.clone();
        let bytes = record.encode().unwrap();
        assert_eq!(hex::encode(cbor::to_vec(&phase)), part);
        assert_eq!(Digest::of(&bytes).to_string(), whole, "{phase:?}: {}", hex::encode(&bytes));
        assert_eq!(Record::decode(&bytes), Ok(record.clone()));
    }
    record.deployment.as_mut().unwrap().phase = Phase::Staging;
    let staged: ciborium::Value = cbor::from_slice(&record.encode().unwrap(), RECORD_LEN_MAX).unwrap();
    assert_eq!(staged.as_map().unwrap()[0].1, 1.into(), "nothing is touched yet");
}

#[test]
fn an_empty_record_is_readable_in_full() {
    let expected = "a86776657273696f6e016472616e6bf66c6e6578745f636f756e746572016461707073a06a6465706c6f796d656e74f6646e657874f6666f7574626f788065656e64656480";
    assert_eq!(hex::encode(Record::default().encode().unwrap()), expected);
}

#[test]
fn an_unknown_version_is_told_apart_from_damage_and_new_fields_are_ignored() {
    #[derive(serde::Serialize)]
    struct Newer {
        version: u16,
        surprise: Vec<u32>,
    }
    let newer = cbor::to_vec(&Newer { version: 4, surprise: vec![7; 30_000] });
    let error = Record::decode(&newer).unwrap_err();
    assert_eq!(error, RecordError::UnknownVersion { found: 4 });
    assert!(error.to_string().contains("no new deployments"));
    let damaged = cbor::to_vec(&Newer { version: 1, surprise: Vec::new() });
    assert!(matches!(Record::decode(&damaged), Err(RecordError::Malformed(_))));

    let mut bytes = Record::default().encode().unwrap();
    bytes[0] += 1;
    bytes.extend(cbor::to_vec("later"));
    bytes.extend(cbor::to_vec(&1));
    assert_eq!(Record::decode(&bytes), Ok(Record::default()));
}

#[test]
fn the_room_that_a_deployment_is_refused_for_is_enough() {
    let mut record = Record::default();
    let before = cbor::to_vec(&record).len();
    let log: Vec<_> = (0..100).map(|_| "y".repeat(200)).collect();
    let worst = |state, reason: usize| Outgoing {
        counter: u64::MAX,
        action: u64::MAX,
        bundle: Some(Digest([1; 32])),
        state,
        cause: Cause::new(&"x".repeat(reason)),
        bytes_from_peers: u64::MAX,
        bytes_from_central: u64::MAX,
        bytes_total: if state == ReportState::Fetching { u64::MAX } else { 0 },
        elapsed_ms: u64::MAX,
        at: Timestamp::MAX,
    };
    record.outbox.extend((0..OUTBOX_MAX).map(|_| worst(ReportState::Fetching, 200)));
    record.outbox.extend((0..9).map(|_| worst(ReportState::Withdrawn, 0)));
    let mut end = worst(ReportState::Failed, 0);
    end.cause = Cause { exit: Some(ExitStatus::Signal(i32::MIN)), ..Cause::new(&"x".repeat(9999)).with_log(&log) };
    assert!(end.cause.log.len() >= 15 && end.cause.reason.len() == 1024);
    record.outbox.push(end);
    record.ended = vec![Ended { action: u64::MAX, state: ReportState::Withdrawn }; 16];
    record.next = Some(Wish { action: u64::MAX, ..wish(1) });
    let growth = cbor::to_vec(&record).len() - before;
    assert!(growth <= staging::RECORD_GROWTH, "{growth}");
}

#[test]
fn texts_are_cut_between_characters_and_logs_keep_their_end() {
    assert_eq!(cut("aäb", 2), "a");
    assert_eq!(cut("aäb", 9), "aäb");
    let lines: Vec<_> = (0..50).map(|i| i.to_string()).collect();
    assert_eq!(Cause::new("").with_log(&lines).log, lines[30..]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn no_flipped_bit_makes_the_decoder_panic(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = sample(Phase::Proving { restarts: 1 }).encode().unwrap();
        let i = at.index(bytes.len());
        bytes[i] ^= 1 << bit;
        let _ = Record::decode(&bytes);
    }
}
