//! The exact bytes of every format. A change here breaks devices in the field: raise the major instead.

use super::samples;
use crate::wire::*;
use crate::{Bitmap, Digest};

/// Seals with key 1, reads it back, and gives `kind length sha256`.
fn line<D: Document + PartialEq + std::fmt::Debug>(document: &D) -> String {
    let bytes = seal(document, &[&samples::key(1)]).unwrap();
    let opened = open::<D>(&bytes).unwrap();
    assert_eq!(&opened.document, document);
    assert_eq!(opened.envelope.signers(&[samples::public(1)]).len(), 1);
    format!("{} {} {}", D::KIND, bytes.len(), Digest::of(&bytes))
}

#[test]
fn a_receipt_is_these_bytes() {
    let bytes = seal(&samples::receipt(), &[&samples::key(1)]).unwrap();
    let body = "a3 65 666c656574 67 706c616e742d37 66 646576696365 67 70726573732d31 67 636f756e746572 03";
    let body = hex::decode(body.replace(' ', "")).unwrap();
    let mut expected =
        hex::decode("a4646b696e64677265636569707465 6d616a6f7201 64626f64795827".replace(' ', "")).unwrap();
    expected.extend(&body);
    assert_eq!(&bytes[..expected.len()], expected);
    // The signature covers the kind, so that these bytes never count as another document.
    let signed = [b"fullmetal/receipt/v1\0".as_slice(), &body].concat();
    let envelope = Envelope::decode(&bytes, 4096).unwrap();
    assert!(samples::public(1).verifies(&signed, &envelope.signatures[0].signature));
}

#[test]
fn every_document_keeps_its_bytes() {
    let lines = [
        line(&samples::trust()),
        line(&samples::revocations()),
        line(&samples::bundle()),
        line(&samples::removal()),
        line(&samples::announcement()),
        line(&samples::manifest()),
        line(&samples::plain_manifest()),
        line(&samples::report()),
        line(&samples::receipt()),
        line(&samples::request()),
        line(&samples::answer()),
    ];
    assert_eq!(lines.join("\n"), GOLDEN.trim());
}

const GOLDEN: &str = "
trust 432 383f2d04af60f5d4f717fd82d8b42c5c8320578c9f1d36b35e39ae6e1ec5d960
revocations 214 5b934e7da25e9ec68691764ffbaa23936a9fa5c3e077eb2dc0132f71a9736396
bundle 459 9e0a4add4901d35eaa1950ae555d38cb3498c81a7c075e4d27a303d26fde964c
bundle 475 a6d51f9884dc9795cfceb5acb0f3cc692350cb03925cf6f0027cf95c00f1aff6
announcement 635 9ac731b96bffb248522a9bf7c3d47531bff6fe860f0760ff292df3a33cadd316
manifest 510 900bdaa2eebeeac55c3c1c9aea85dd42884bfcc520ef3434aff11a0e44739573
plain-manifest 461 4cd3a25a9c2134a5e3b10cee97d72359242692bf9fab752ed5ddc962b04f52f7
report 496 79227d5e505b8e5de96d868e296096b464dd7d3179f9afaa4bd4c4cfa5706f06
receipt 177 eed2d7c1e8b3733ffc2b2527f742ec8e5dce87a0fe7835c59669c235af8eacce
enrolment-request 265 56f3e779249a97adb7b386a96a28b69181b9ea4cddc1916b3bd1cc61315f9419
enrolment-answer 660 b3375bedf8ad7875a1ef081b0d516f03eb3f66c1e43aba3e0954d73b67bf5e59
";

#[test]
fn what_reports_of_newer_agents_say_besides_is_added_to_the_bytes_of_older_ones() {
    let old = samples::report();
    let new =
        Report { bytes_total: 4096, agent: "0.2.0".into(), bundle_major: 2, free_bytes: Some(1 << 30), ..old.clone() };
    let bytes = seal(&new, &[&samples::key(1)]).unwrap();
    assert_eq!(open::<Report>(&bytes).unwrap().document, new);
    let body = |report: &Report| {
        let bytes = seal(report, &[&samples::key(1)]).unwrap();
        Envelope::decode(&bytes, Report::LEN_MAX).unwrap().body.to_vec()
    };
    let added = body(&new).len() - body(&old).len();
    let keys = ["bytes_total", "agent", "bundle_major", "free_bytes"].map(|key| key.len() + 1).iter().sum::<usize>();
    assert_eq!(added, keys + 3 + 6 + 1 + 5, "four more keys");
    let odd = Report { agent: "0.2\n".into(), ..old };
    assert!(open::<Report>(&seal(&odd, &[&samples::key(1)]).unwrap_or_default()).is_err());
}

#[test]
fn a_hint_is_these_bytes() {
    let hint = Hint { epoch: 1, counter: 7, digest: Digest([0xab; 32]), length: 600 };
    let expected =
        format!("8201a4 6565706f636801 67636f756e74657207 66646967657374 5820{} 666c656e677468190258", "ab".repeat(32));
    assert_eq!(hex::encode(hint.encode()), expected.replace(' ', ""));
    assert_eq!(Hint::decode(&hint.encode()), Ok(hint));
}

#[test]
fn a_have_map_of_a_thousand_frames_is_small() {
    let mut have = Bitmap::new(1000);
    for i in 0..500 {
        have.set(i);
    }
    assert_eq!(cbor::to_vec(&have).len(), 1 + 3 + 2 + 63);
}
