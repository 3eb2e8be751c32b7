//! Commit objects and their signatures as libostree writes them (GVariant, little framing offsets).

use fullmetal_proto::wire::SigningKey;
use fullmetal_proto::wire::keys::sign;

/// Framing offsets are as wide as the whole needs.
fn framed(mut body: Vec<u8>, ends: &[usize]) -> Vec<u8> {
    let wide = body.len() + ends.len() > 255;
    for end in ends {
        let bytes = (*end as u16).to_le_bytes();
        body.extend(&bytes[..if wide { 2 } else { 1 }]);
    }
    body
}

fn pad(body: &mut Vec<u8>, align: usize) {
    body.resize(body.len().next_multiple_of(align), 0);
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn array(items: &[Vec<u8>], align: usize) -> Vec<u8> {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for item in items {
        pad(&mut body, align);
        body.extend(item);
        ends.push(body.len());
    }
    framed(body, &ends)
}

fn entry(key: &str, kind: &str, value: &[u8]) -> Vec<u8> {
    let mut body = string(key);
    let end = body.len();
    pad(&mut body, 8);
    body.extend(value);
    body.push(0);
    body.extend(kind.as_bytes());
    framed(body, &[end])
}

/// A commit bound to `refs`, whose root central does not have.
pub fn commit(refs: &[&str], version: &str, hardware: &[&str]) -> Vec<u8> {
    commit_of([1; 32], refs, version, hardware)
}

/// A commit of the directory with this checksum.
pub fn commit_of(root: [u8; 32], refs: &[&str], version: &str, hardware: &[&str]) -> Vec<u8> {
    commit_saying(vec![entry("fullmetal.version", "s", &string(version))], root, refs, hardware)
}

/// An operating system bound to `refs`, with a version as other tools write it.
pub fn os_commit(refs: &[&str], version: &str) -> Vec<u8> {
    let metadata = vec![entry("ostree.bootable", "b", &[1]), entry("version", "s", &string(version))];
    commit_saying(metadata, [1; 32], refs, &[])
}

fn commit_saying(mut metadata: Vec<Vec<u8>>, root: [u8; 32], refs: &[&str], hardware: &[&str]) -> Vec<u8> {
    let strings = |list: &[&str]| array(&list.iter().map(|s| string(s)).collect::<Vec<_>>(), 1);
    if !refs.is_empty() {
        metadata.push(entry("ostree.ref-binding", "as", &strings(refs)));
    }
    if !hardware.is_empty() {
        metadata.push(entry("fullmetal.hardware", "as", &strings(hardware)));
    }
    let mut body = array(&metadata, 8);
    let mut ends = vec![body.len(), body.len(), body.len()];
    for text in ["a release", ""] {
        body.extend(string(text));
        ends.push(body.len());
    }
    pad(&mut body, 8);
    body.extend(1_795_528_440u64.to_be_bytes());
    body.extend(root);
    ends.push(body.len());
    body.extend([2; 32]);
    ends.reverse();
    framed(body, &ends)
}

/// The `.commitmeta` with the signature of `key`.
pub fn commitmeta(commit: &[u8], key: &SigningKey) -> Vec<u8> {
    let signatures = array(&[sign(key, commit).to_vec()], 1);
    array(&[entry("ostree.sign.ed25519", "aay", &signatures)], 8)
}
