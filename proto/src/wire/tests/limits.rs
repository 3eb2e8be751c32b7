use super::samples;
use crate::wire::*;
use crate::{Digest, Timestamp};

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
    let cases: [(Break, &str); 9] = [
        (|m| m.frames[0].pack = 1, "pack index"),
        (|m| m.frames[1].offset = u64::MAX, "over its pack's end"),
        (|m| m.frames[1].offset = 51, "over its pack's end"),
        (|m| m.frames[0].raw_length = u32::MAX, "over 8388608"),
        (|m| m.objects[2].frame = 2, "frame index"),
        (|m| m.objects[2].length = 131, "over the last frame"),
        (|m| m.objects[2].offset = 60, "past its frame's end"),
        (|m| m.objects[1].id = m.objects[0].id, "an object twice"),
        (|m| m.commit = Digest::of(b"other"), "commit itself is missing"),
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
    assert_eq!(manifest.frames_of(&manifest.objects[2]), 0..=1);
    assert_eq!(manifest.frames_of(&manifest.objects[1]), 0..=0);
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
