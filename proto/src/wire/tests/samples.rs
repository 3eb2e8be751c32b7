//! One document of each kind, from fixed keys.

use crate::wire::trust::Role;
use crate::wire::*;
use crate::{Digest, Timestamp};
use serde_bytes::ByteBuf;

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn public(seed: u8) -> PublicKey {
    PublicKey::of(&key(seed))
}

pub const NOW: Timestamp = Timestamp::from_secs(1_795_528_440);

/// Root key 1, build key 2, gateway key 3.
pub fn trust() -> Trust {
    let role = |seed| Role { keys: vec![public(seed)], threshold: 1 };
    Trust {
        fleet: "plant-7".parse().unwrap(),
        version: 1,
        issued: NOW,
        expires: Timestamp::from_secs(2_000_000_000),
        root: role(1),
        build: vec![BuildKey { key: public(2), refs: vec!["apps/*".into()] }],
        build_threshold: 1,
        gateway: role(3),
        epoch: 1,
        device_ca: vec![ByteBuf::from(vec![0x30, 0])],
        unsigned_refs: vec!["legacy/*".into()],
    }
}

pub fn revocations() -> Revocations {
    let mut list = Revocations::none(&"plant-7".parse().unwrap());
    list.version = 1;
    list.keys.insert(public(9).id());
    list.devices.insert("press-9".parse().unwrap());
    list
}

pub fn manifest() -> Manifest {
    let object = |kind, name: &[u8], offset, length| ObjectEntry {
        id: ObjectId { kind, checksum: Digest::of(name) },
        frame: 0,
        offset,
        length,
    };
    let frame =
        |raw_length, name: &[u8], offset| Frame { pack: 0, offset, length: 50, raw_length, sha256: Digest::of(name) };
    Manifest {
        commit: Digest::of(b"commit"),
        packs: vec![Pack { sha256: Digest::of(b"pack"), length: 100 }],
        frames: vec![frame(60, b"frame 0", 0), frame(100, b"frame 1", 50)],
        objects: vec![
            object(ObjectKind::Commit, b"commit", 0, 20),
            object(ObjectKind::DirTree, b"tree", 20, 10),
            object(ObjectKind::File, b"file", 30, 120),
        ],
        boot: Vec::new(),
    }
}

pub fn plain_manifest() -> PlainManifest {
    let object = |kind, name: &[u8], archived, unpacked| PlainObject {
        id: ObjectId { kind, checksum: Digest::of(name) },
        archived,
        unpacked,
        spare: false,
    };
    let objects = vec![
        object(ObjectKind::File, b"file", 50, 120),
        object(ObjectKind::File, b"unknown", 0, 0),
        object(ObjectKind::DirTree, b"tree", 10, 10),
        object(ObjectKind::DirMeta, b"meta", 12, 12),
        object(ObjectKind::Commit, b"commit", 20, 20),
    ];
    PlainManifest::of(Digest::of(b"commit"), objects, &[])
}

pub fn bundle() -> Bundle {
    Bundle {
        parts: vec![Part {
            kind: PartKind::App,
            name: "web".parse().unwrap(),
            version: "2".into(),
            ref_name: "apps/web/x86_64".parse().unwrap(),
            commit: Digest::of(b"commit"),
            commit_object: BlobRef::of(b"commit"),
            commit_meta: Some(BlobRef::of(b"signatures")),
            manifest: BlobRef::of(b"manifest"),
            hardware: vec!["imx8".parse().unwrap()],
            start: StartOptions::default(),
            proof: Proof::default(),
        }],
        removed: vec![],
    }
}

/// The same, with apps that leave.
pub fn removal() -> Bundle {
    Bundle { removed: vec!["old".parse().unwrap(), "db".parse().unwrap()], ..bundle() }
}

pub fn announcement() -> Announcement {
    Announcement {
        fleet: "plant-7".parse().unwrap(),
        epoch: 1,
        counter: 7,
        issued: NOW,
        expires: Timestamp::from_secs(1_800_000_000),
        bundles: vec![ByteBuf::from(seal(&bundle(), &[]).unwrap())],
        rows: vec![
            Row("press-1".parse().unwrap(), 0, 41, Mode::Now, None),
            Row("press-2".parse().unwrap(), 0, 42, Mode::WhenIdle, Some(NOW)),
        ],
    }
}

pub fn report() -> Report {
    Report {
        fleet: "plant-7".parse().unwrap(),
        device: "press-1".parse().unwrap(),
        counter: 3,
        oldest: 0,
        action: 41,
        bundle: Some(Digest::of(b"bundle")),
        state: ReportState::Failed,
        reason: "web 2 ended during its probation".into(),
        exit: Some(ExitStatus::Code(3)),
        log: vec!["cannot start: /data/recipe is missing".into()],
        parts: vec![PartState {
            kind: PartKind::App,
            name: "web".parse().unwrap(),
            version: "1".into(),
            commit: Digest::of(b"commit 1"),
        }],
        bytes_from_peers: 1000,
        bytes_from_central: 24,
        bytes_total: 0,
        agent: String::new(),
        bundle_major: 0,
        free_bytes: None,
        elapsed_ms: 5300,
        at: NOW,
        certificate: ByteBuf::from(vec![0x30, 0]),
    }
}

pub fn receipt() -> Receipt {
    Receipt { fleet: "plant-7".parse().unwrap(), device: "press-1".parse().unwrap(), counter: 3 }
}

pub fn request() -> EnrolmentRequest {
    EnrolmentRequest {
        fleet: "plant-7".parse().unwrap(),
        device: "press-1".parse().unwrap(),
        peer_key: public(4),
        agent_key: public(5),
    }
}

pub fn answer() -> EnrolmentAnswer {
    EnrolmentAnswer {
        fleet: "plant-7".parse().unwrap(),
        device: "press-1".parse().unwrap(),
        peer_certificate: ByteBuf::from(vec![0x30, 0]),
        agent_certificate: ByteBuf::from(vec![0x30, 0]),
        trust: ByteBuf::from(seal(&trust(), &[&key(1)]).unwrap()),
    }
}
