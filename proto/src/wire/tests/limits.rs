use super::samples;
use crate::wire::local::{PACKET_LEN_MAX, ToPeer};
use crate::wire::transfer::*;
use crate::wire::*;
use crate::{Bitmap, Digest, Timestamp};
use std::collections::BTreeSet;

fn problem<D: Document>(document: &D) -> String {
    seal(document, &[]).unwrap_err().to_string()
}

#[test]
fn ten_thousand_devices_fit_an_announcement() {
    let mut announcement = samples::announcement();
    let long_id = |i: usize| format!("hall-{}-press-{i:05}", i % 9).parse().unwrap();
    announcement.rows = (0..announcement::ROWS_MAX)
        .map(|i| Row(long_id(i), 0, 1_000_000 + i as u64, Mode::WhenIdle, Some(Timestamp::from_secs(1_900_000_000))))
        .collect();
    let bytes = seal(&announcement, &[&samples::key(3)]).unwrap();
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    announcement.rows.push(Row("one-more".parse().unwrap(), 0, 1, Mode::Now, None));
    assert!(problem(&announcement).contains("10000 rows"));
}

#[test]
fn announcements_that_contradict_themselves_are_refused() {
    let mut twice = samples::announcement();
    twice.rows[1].0 = twice.rows[0].0.clone();
    assert!(problem(&twice).contains("device twice"));
    let mut nowhere = samples::announcement();
    nowhere.rows[0].1 = 1;
    assert!(problem(&nowhere).contains("out of range"));
}

#[test]
fn a_manifest_cannot_point_outside_its_packs_and_frames() {
    type Break = fn(&mut Manifest);
    let cases: [(Break, &str); 12] = [
        (|m| m.frames[0].pack = 1, "pack index"),
        (|m| m.frames[1].offset = u64::MAX, "over its pack's end"),
        (|m| m.frames[1].offset = 51, "over its pack's end"),
        (|m| m.frames[0].raw_length = u32::MAX, "over 8388608"),
        (|m| m.objects[2].frame = 2, "frame index"),
        (|m| m.objects[2].length = 131, "over the last frame"),
        (|m| m.objects[2].offset = 60, "past its frame's end"),
        (|m| m.objects[1].id = m.objects[0].id, "an object twice"),
        (|m| m.commit = Digest::of(b"other"), "commit itself is missing"),
        (|m| m.boot = vec![1], "not files of the commit"),
        (|m| m.boot = vec![3], "not files of the commit"),
        (|m| m.boot = vec![2, 2], "each once"),
    ];
    for (change, expected) in cases {
        let mut manifest = samples::manifest();
        change(&mut manifest);
        assert!(problem(&manifest).contains(expected), "{expected}: {}", problem(&manifest));
    }
}

#[test]
fn an_object_that_spans_frames_needs_all_of_them() {
    let manifest = samples::manifest();
    assert_eq!(manifest.starts().frames_of(&manifest.objects[2]), 0..=1);
    assert_eq!(manifest.starts().frames_of(&manifest.objects[1]), 0..=0);
    let need = manifest.needed(|id| id.kind == ObjectKind::DirTree);
    assert_eq!(need.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(manifest.frame_bytes(&need), 50);
}

#[test]
fn bundles_and_reports_keep_their_limits() {
    let mut bundle = samples::bundle();
    bundle.parts.push(bundle.parts[0].clone());
    assert!(problem(&bundle).contains("an app twice"));
    bundle.parts = vec![];
    assert!(problem(&bundle).contains("1 to 32"));
    type Break = fn(&mut Bundle);
    let removals: [(Break, &str); 3] = [
        (|b| b.removed.push("old".parse().unwrap()), "old twice"),
        (|b| b.removed.push("web".parse().unwrap()), "web twice, or among the parts"),
        (|b| b.removed = (0..33).map(|n| format!("a{n}").parse().unwrap()).collect(), "more than 32 apps"),
    ];
    for (change, expected) in removals {
        let mut removal = samples::removal();
        change(&mut removal);
        assert!(problem(&removal).contains(expected), "{expected}: {}", problem(&removal));
    }
    assert!(seal(&Bundle { parts: vec![], ..samples::removal() }, &[]).is_ok(), "removes and brings nothing");
    for seconds in [0, 86_401] {
        let mut timed = samples::bundle();
        timed.parts[0].proof = Proof { notify: true, seconds: Some(seconds) };
        assert!(problem(&timed).contains("1 to 86400 seconds"));
    }
    let mut other = samples::bundle();
    other.parts[0].commit = Digest::of(b"other");
    assert!(problem(&other).contains("its hash is not the commit"));
    let mut report = samples::report();
    report.log = vec!["x".repeat(513)];
    assert!(problem(&report).contains("long lines"));
    report.log = vec![];
    report.action = 0;
    assert!(problem(&report).contains("action"));
}

#[test]
fn a_blob_over_one_chunk_is_pulled_in_chunks() {
    let bytes = vec![7; bundle::CHUNK_LEN as usize * 2 + 5];
    let blob = BlobRef::of(&bytes);
    let lengths: Vec<u64> = blob.pieces().iter().map(|p| p.1).collect();
    assert_eq!(lengths, [bundle::CHUNK_LEN, bundle::CHUNK_LEN, 5]);
    assert_eq!(blob.pieces()[2].0, Digest::of(&[7; 5]));
    assert_eq!(BlobRef::of(&bytes[..bundle::CHUNK_LEN as usize]).pieces().len(), 1);
}

#[test]
fn another_kind_and_a_newer_major_are_refused_by_name() {
    let bytes = seal(&samples::receipt(), &[]).unwrap();
    let wrong = open::<Report>(&bytes).unwrap_err().to_string();
    assert!(wrong.contains("this is a receipt, expected a report"), "{wrong}");
    let mut envelope = Envelope::decode(&bytes, 4096).unwrap();
    envelope.major = 2;
    let newer = open::<Receipt>(&envelope.encode()).unwrap_err().to_string();
    assert!(newer.contains("too old for receipt format 2"), "{newer}");
}

#[test]
fn only_a_bundle_that_removes_needs_the_format_that_can() {
    let major = |bundle: &Bundle| Envelope::decode(&seal(bundle, &[]).unwrap(), Bundle::LEN_MAX).unwrap().major;
    assert_eq!((major(&samples::bundle()), major(&samples::removal())), (1, 2));
    let mut hidden = Envelope::decode(&seal(&samples::removal(), &[]).unwrap(), Bundle::LEN_MAX).unwrap();
    hidden.major = 1;
    let told = open::<Bundle>(&hidden.encode()).unwrap_err().to_string();
    assert!(told.contains("only format 2 may"), "an old program would not see it: {told}");
}

#[test]
fn a_plain_manifest_names_each_object_in_exactly_one_batch() {
    type Break = fn(&mut PlainManifest);
    let cases: [(Break, &str); 7] = [
        (|m| m.ends[0] = 0, "a batch is empty"),
        (|m| m.ends[1] = 1, "a batch is empty"),
        (|m| m.ends[2] = 4, "a batch is empty"),
        (|m| m.ends.truncate(2), "does not end with the last object"),
        (|m| m.objects[0].unpacked = u64::MAX, "an object over"),
        (|m| m.objects[1].id = m.objects[0].id, "an object twice"),
        (|m| m.commit = Digest::of(b"other"), "commit itself is missing"),
    ];
    for (change, expected) in cases {
        let mut manifest = samples::plain_manifest();
        change(&mut manifest);
        assert!(problem(&manifest).contains(expected), "{expected}: {}", problem(&manifest));
    }
}

#[test]
fn batches_end_at_sixty_four_objects_at_their_bytes_and_with_the_files() {
    let object = |i: u32, kind, archived| {
        let id = ObjectId { kind, checksum: Digest::of(&i.to_be_bytes()) };
        PlainObject { id, archived, unpacked: 0, spare: false }
    };
    let of = |objects| PlainManifest::of(Digest::of(b"c"), objects, &[]).ends;
    assert_eq!(of((0..130).map(|i| object(i, ObjectKind::File, 10)).collect()), [64, 128, 130]);
    assert_eq!(of((0..5).map(|i| object(i, ObjectKind::File, 1 << 20)).collect()), [2, 4, 5]);
    assert_eq!(of((0..64).map(|i| object(i, ObjectKind::File, 0)).collect()), [32, 64], "of unknown length");
    assert_eq!(of((0..3).map(|i| object(i, ObjectKind::File, u64::MAX)).collect()), [1, 2, 3]);
    let kinds = [ObjectKind::File, ObjectKind::DirTree, ObjectKind::DirMeta, ObjectKind::Commit];
    assert_eq!(of(kinds.into_iter().zip(0..).map(|(kind, i)| object(i, kind, 10)).collect()), [1, 3, 4]);
    assert!(of(Vec::new()).is_empty());
}

#[test]
fn of_an_update_only_batches_of_new_objects_are_new() {
    let file = |i: u32| PlainObject {
        id: ObjectId { kind: ObjectKind::File, checksum: Digest::of(&i.to_be_bytes()) },
        archived: 1000,
        unpacked: 3000,
        spare: false,
    };
    let commit = |name: &[u8]| PlainObject {
        id: ObjectId { kind: ObjectKind::Commit, checksum: Digest::of(name) },
        archived: 100,
        unpacked: 100,
        spare: false,
    };
    let of = |name: &[u8], files: Vec<u32>, earlier: &[PlainManifest]| {
        let objects = files.into_iter().map(file).chain([commit(name)]).collect();
        let manifest = PlainManifest::of(Digest::of(name), objects, earlier);
        Document::check(&manifest).unwrap();
        manifest
    };
    let one = of(b"one", (0..1000).collect(), &[]);
    // Every hundredth file is another one, and ten are new.
    let two = of(
        b"two",
        (0..1000).map(|i| if i % 100 == 0 { i + 5000 } else { i }).chain(7000..7010).collect(),
        std::slice::from_ref(&one),
    );
    let known: BTreeSet<ObjectId> = one.objects.iter().map(|o| o.id).collect();
    let need = two.needed(|id| !known.contains(id));
    assert_eq!(need.count(), 2, "twenty new files together, and the commit");
    assert_eq!(need.iter().map(|batch| two.batch(batch).len()).sum::<usize>(), 21);
    let spare = |m: &PlainManifest| m.objects.iter().filter(|o| o.spare).count();
    assert_eq!((spare(&one), spare(&two)), (0, 10), "what is gone stays in its batch");
    let ids = |m: &PlainManifest| (0..m.ends.len() as u32).map(|batch| m.id(batch)).collect::<BTreeSet<Digest>>();
    let in_caches: BTreeSet<Digest> = ids(&one).into_iter().chain(need.iter().map(|batch| two.id(batch))).collect();
    assert!(ids(&two).is_subset(&in_caches), "a late joiner gets all from those who updated");
    let few: Vec<u32> = (0..1000).filter(|i| i % 3 == 0).collect();
    let third = of(b"third", few, std::slice::from_ref(&two));
    assert_eq!(spare(&third), 0, "batches that are mostly gone are cut anew");
    let three = of(b"three", (0..1000).collect(), &[two, one.clone()]);
    assert_eq!(three.needed(|id| !known.contains(id)).count(), 1, "back to the first: its commit alone");
}

#[test]
fn a_batch_is_named_by_what_is_in_it_alone() {
    let manifest = samples::plain_manifest();
    let mut other = manifest.clone();
    (other.commit, other.objects[0].archived) = (Digest::of(b"x"), 7);
    assert_eq!(manifest.id(0), other.id(0));
    other.objects[0].id.kind = ObjectKind::DirMeta;
    assert_ne!(manifest.id(0), other.id(0));
    let need = manifest.needed(|id| id.kind == ObjectKind::DirMeta);
    assert_eq!((need.iter().collect::<Vec<_>>(), manifest.weight(1)), (vec![1], 22));
    let pieces = Pieces::open(&seal(&manifest, &[]).unwrap()).unwrap();
    assert_eq!((pieces.count(), pieces.bytes(&Bitmap::full(3))), (3, 50 + (64 << 10) + 22 + 20));
    assert!(matches!(Pieces::open(&seal(&samples::manifest(), &[]).unwrap()), Ok(Pieces::Frames(_))));
    let wrong = Pieces::open(&seal(&samples::receipt(), &[]).unwrap()).unwrap_err().to_string();
    assert!(wrong.contains("this is a receipt, expected a manifest"), "{wrong}");
}

/// With a walk over the frames for each object this takes minutes.
#[test]
fn many_objects_over_many_frames_are_checked_and_planned_in_a_moment() {
    let mut manifest = samples::manifest();
    let frame = Frame { pack: 0, offset: 0, length: 1, raw_length: 1, sha256: Digest::of(b"frame") };
    let frames = 200_000u32;
    manifest.frames = vec![frame; frames as usize];
    manifest.objects.truncate(1);
    manifest.objects[0] = ObjectEntry { length: u64::from(frames), offset: 0, ..manifest.objects[0] };
    for i in 1..100_000u32 {
        let id = ObjectId { kind: ObjectKind::File, checksum: Digest::of(&i.to_be_bytes()) };
        manifest.objects.push(ObjectEntry { id, frame: i, offset: 0, length: u64::from(frames - i) });
    }
    let begun = std::time::Instant::now();
    assert_eq!(Document::check(&manifest), Ok(()));
    assert!(manifest.needed(|_| true).is_full());
    let tail = manifest.needed(|id| id.checksum == Digest::of(&99_999u32.to_be_bytes()));
    assert_eq!((tail.iter().next(), tail.count()), (Some(99_999), frames - 99_999));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    manifest.objects[5].length += 1;
    assert!(problem(&manifest).contains("runs over the last frame"));
    manifest.objects[5].length = u64::MAX;
    assert!(problem(&manifest).contains("runs over the last frame"));
}

/// The update as it travels, whatever its limits.
fn update(statuses: usize, pieces: u32) -> Vec<u8> {
    let map = || Bitmap::new(pieces);
    let status = |i: usize| PeerStatus {
        peer: format!("p{i}").parse().unwrap(),
        seq: 1,
        origin: true,
        weight: 1,
        have: map(),
        need: map(),
        claims: map(),
        lease_ms: 0,
        stuck: false,
        failing: false,
        address: None,
    };
    let statuses = (0..statuses).map(status).collect();
    cbor::to_vec(&Control::Swarm(SwarmUpdate { manifest: Digest::of(b"m"), pieces, statuses }))
}

#[test]
fn a_status_takes_no_more_than_is_reckoned_and_its_address_is_text() {
    for (address, text) in [
        ("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ("192.0.2.7:4000", "192.0.2.7:4000"),
    ] {
        let mut map = Bitmap::new(8);
        (0..8).step_by(2).for_each(|piece| _ = map.set(piece));
        let status = PeerStatus {
            peer: "p".repeat(64).parse().unwrap(),
            seq: u64::MAX,
            origin: true,
            weight: u16::MAX,
            have: map.clone(),
            need: map.clone(),
            claims: map,
            lease_ms: u32::MAX,
            stuck: true,
            failing: true,
            address: Some(address.parse().unwrap()),
        };
        let bytes = cbor::to_vec(&status);
        assert!(bytes.len() <= crate::swarm::limits::STATUS_BYTES + 3, "{} bytes", bytes.len());
        assert!(bytes.windows(text.len()).any(|part| part == text.as_bytes()));
        assert_eq!(cbor::from_slice::<PeerStatus>(&bytes, CONTROL_LEN_MAX).unwrap(), status);
    }
}

#[test]
fn a_short_update_that_unfolds_to_much_is_refused_before_it_does() {
    let decode = |bytes: &[u8]| cbor::from_slice::<Control>(bytes, CONTROL_LEN_MAX);
    assert!(decode(&update(2, Bitmap::LEN_MAX)).is_ok());
    assert!(decode(&update(STATUSES_MAX, 10_000)).is_ok());
    let hostile = update(200, Bitmap::LEN_MAX);
    assert!(hostile.len() < 20_000, "{} bytes that would unfold to 75 MiB", hostile.len());
    assert!(decode(&hostile).unwrap_err().to_string().contains("1048576 bytes"));
    assert!(decode(&update(STATUSES_MAX + 1, 8)).is_err());
}

#[test]
fn a_control_message_of_countless_items_is_refused_before_it_is_decoded() {
    let decode = |bytes: &[u8]| cbor::from_slice_of_items::<Control>(bytes, CONTROL_LEN_MAX, CONTROL_ITEMS_MAX);
    let longest: Vec<StockItem> = (0..STOCK_MAX)
        .map(|i| StockItem {
            digest: Digest::of(&i.to_be_bytes()),
            length: 1,
            device: "p".parse().unwrap(),
            counter: 1,
            receipt: true,
        })
        .collect();
    let bytes = cbor::to_vec(&Control::Stock(longest));
    assert!(cbor::from_slice_of_items::<Control>(&bytes, bytes.len(), CONTROL_ITEMS_MAX).is_ok(), "the longest list");
    let many = [&[0x9a, 0, 7, 0xff, 0][..], &vec![0; 0x7ff00]].concat();
    assert_eq!(decode(&many), Err(CborError::TooMany { max: CONTROL_ITEMS_MAX }));
    let text = [&[0x5a, 0, 7, 0xff, 0][..], &vec![0; 0x7ff00]].concat();
    assert!(matches!(decode(&text), Err(CborError::Shape(_))), "the bytes of a string are no items");
    for cut in [&[0x5b][..], &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], &[0x5f], &[0xff]] {
        assert!(decode(cut).is_err());
    }
}

#[test]
fn a_hint_of_an_impossible_length_is_refused_wherever_it_comes_from() {
    let hint = |length| Hint { epoch: 1, counter: 2, digest: Digest::of(b"a"), length };
    let longest = envelope::envelope_len_max::<Announcement>() as u32;
    for (length, good) in [(1, true), (longest, true), (longest + 1, false), (u32::MAX, false), (0, false)] {
        let control = cbor::to_vec(&Control::Hint(hint(length)));
        assert_eq!(cbor::from_slice::<Control>(&control, CONTROL_LEN_MAX).is_ok(), good, "{length}");
        let local = cbor::to_vec(&ToPeer::Announce(hint(length)));
        assert_eq!(cbor::from_slice::<ToPeer>(&local, PACKET_LEN_MAX).is_ok(), good, "{length}");
        assert_eq!(Hint::decode(&hint(length).encode()).is_ok(), good, "{length}");
    }
}
