use super::samples;
use crate::Digest;
use crate::wire::asking::{FromAgent, ToAgent};
use crate::wire::local::{FromPeer, PACKET_LEN_MAX, ToPeer};
use crate::wire::transfer::{CONTROL_LEN_MAX, Control, Hello, Request};
use crate::wire::*;
use proptest::prelude::*;

/// Valid envelopes of every kind, to be damaged.
fn valid() -> Vec<Vec<u8>> {
    let key = samples::key(1);
    let seal_all = |bytes: [Result<Vec<u8>, OpenError>; 11]| bytes.into_iter().map(|b| b.unwrap()).collect();
    seal_all([
        seal(&samples::trust(), &[&key]),
        seal(&samples::revocations(), &[&key]),
        seal(&samples::bundle(), &[&key]),
        seal(&samples::removal(), &[&key]),
        seal(&samples::announcement(), &[&key]),
        seal(&samples::manifest(), &[&key]),
        seal(&samples::plain_manifest(), &[&key]),
        seal(&samples::report(), &[&key]),
        seal(&samples::receipt(), &[&key]),
        seal(&samples::request(), &[&key]),
        seal(&samples::answer(), &[&key]),
    ])
}

/// Opens as every kind; whatever is accepted must be writable again.
fn open_all(bytes: &[u8]) {
    fn again<D: Document>(bytes: &[u8]) {
        if let Ok(opened) = open::<D>(bytes) {
            seal(&opened.document, &[]).expect("what was accepted can be written");
        }
    }
    again::<Trust>(bytes);
    again::<Revocations>(bytes);
    again::<Bundle>(bytes);
    again::<Announcement>(bytes);
    again::<Manifest>(bytes);
    again::<PlainManifest>(bytes);
    let _ = Pieces::open(bytes);
    again::<Report>(bytes);
    again::<Receipt>(bytes);
    again::<EnrolmentRequest>(bytes);
    again::<EnrolmentAnswer>(bytes);
}

proptest! {
    #[test]
    fn damaged_documents_are_refused_without_a_panic(
        which in 0usize..10, at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = valid()[which].clone();
        let i = at.index(bytes.len());
        bytes[i] = value;
        open_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        open_all(&bytes);
    }

    #[test]
    fn a_flipped_bit_in_a_signed_body_ends_its_signature(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let bytes = seal(&samples::announcement(), &[&samples::key(3)]).unwrap();
        let mut envelope = Envelope::decode(&bytes, 1 << 20).unwrap();
        let i = at.index(envelope.body.len());
        envelope.body[i] ^= 1 << bit;
        prop_assert!(envelope.signers(&[samples::public(3)]).is_empty());
    }

    #[test]
    fn no_bytes_make_a_message_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Hint::decode(&bytes);
        let _ = cbor::from_slice::<Control>(&bytes, CONTROL_LEN_MAX);
        let _ = cbor::from_slice::<Hello>(&bytes, CONTROL_LEN_MAX);
        let _ = cbor::from_slice::<Request>(&bytes, CONTROL_LEN_MAX);
        let _ = cbor::from_slice::<ToPeer>(&bytes, PACKET_LEN_MAX);
        let _ = cbor::from_slice::<FromPeer>(&bytes, PACKET_LEN_MAX);
        let _ = cbor::from_slice::<ToAgent>(&bytes, PACKET_LEN_MAX);
        let _ = cbor::from_slice::<FromAgent>(&bytes, PACKET_LEN_MAX);
    }

    #[test]
    fn a_manifest_survives_its_tables(frames in 1u32..40, raws in prop::collection::vec(1u32..1000, 40)) {
        let mut manifest = samples::manifest();
        manifest.packs[0].length = u64::from(frames) * 10;
        manifest.frames = (0..frames)
            .map(|i| Frame {
                pack: 0, offset: u64::from(i) * 10, length: 10, raw_length: raws[i as usize], sha256: Digest::of(&i.to_be_bytes()),
            })
            .collect();
        let total: u64 = manifest.frames.iter().map(|f| u64::from(f.raw_length)).sum();
        manifest.objects.truncate(1);
        manifest.objects[0].length = total;
        let opened = open::<Manifest>(&seal(&manifest, &[]).unwrap()).unwrap();
        prop_assert_eq!(opened.document.starts().frames_of(&manifest.objects[0]), 0..=frames - 1);
        prop_assert_eq!(opened.document, manifest);
    }
}
