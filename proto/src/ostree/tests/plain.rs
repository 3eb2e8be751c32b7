//! Golden files made by libostree 2022.7: the tree of the module above with `ostree --repo=r commit -b apps/web --generate-sizes
//! --owner-uid=1000 --owner-gid=1000 --timestamp=@1700000000 --tree=dir=tree` to an archive repository; then `xxd -p` of it.

use super::*;
use crate::wire::{Document as _, PlainObject};
use std::collections::BTreeMap;

const SIZED: &str = "\
6f73747265652e7265662d62696e64696e67000000000000617070732f77656200090061731300006f73747265652e73697a6573000000\
00132057af42edd3673d4c9cc4eedd97e3a7fc923ed1975dcc905fa0d633e9907925250236129cbb328483b13b51f2bc7ca3b284624774\
db34a8eb68a9c7e582bd793179bf01bf0102425ed44badf603aa41cf3e05f16f16b08a86e88ff0ebcbdb38efefee7752950d3502014515\
b64d3e0d38b0e0afeb2ded76c9a6cffd9f92fba08219bf18c91f28ed94322a0601794f9b8b314d4d57193fca37dab9149b075b598dadb3\
9d33f77d6a815fca584c0c0c0386b09cb1aa43e946b4fa426801e22d09fb8083a37df2cd09d7a0247ce1969107260401e097767f9f4e3e\
078b1be7a1c9ead4f4a0b715acb00bc3ed7220e7d4f78b7dc924000123486b8eb1d4f7006161790d0026003c0100000000000000000000\
00006553f10036129cbb328483b13b51f2bc7ca3b284624774db34a8eb68a9c7e582bd793179794f9b8b314d4d57193fca37dab9149b07\
5b598dadb39d33f77d6a815fca584c700142014101400140014001";
const HELLO_FILEZ: &str = "0000001a000000000000000000000006000003e8000003e8000089ed000000000019cb48cdc9c9e70200";
const LINK_FILEZ: &str = "0000001e000000000000000000000000000003e8000003e80000a1ff000000002e2e2f78001d";
const X_FILEZ: &str =
    "00000029000000000000000000000002000003e8000003e8000081a40000000000757365722e64656d6f007965730a0e19abe00200";

#[test]
fn a_filez_says_what_the_stream_says_and_how_long_the_content_is() {
    for (filez, size, checksum, content) in
        [(HELLO_FILEZ, 6, HELLO_SHA, "hello\n"), (LINK_FILEZ, 0, LINK_SHA, ""), (X_FILEZ, 2, X_SHA, "x\n")]
    {
        let bytes = hex(filez);
        let len = content_head_len(*bytes.first_chunk().unwrap()).unwrap();
        let header = ArchiveHeader::parse(&bytes[..len]).unwrap();
        assert_eq!(header.size, size);
        let stream = [&header.file.build()[..], content.as_bytes()].concat();
        assert_eq!(Digest::of(&stream), sha(checksum));
        assert!(
            ArchiveHeader::parse(&bytes[..len - 1]).is_err()
                && ArchiveHeader::parse(&bytes).is_err() == (len < bytes.len())
        );
    }
    let mut link = hex(LINK_FILEZ);
    link[15] = 1;
    assert_eq!(ArchiveHeader::parse(&link), Err(OstreeError::Field("content of a symlink")));
}

#[test]
fn the_sizes_of_a_commit_are_those_of_its_files() {
    let found = sizes(&hex(SIZED));
    assert_eq!(found.len(), 7);
    let hello = Size { archived: (HELLO_FILEZ.len() / 2) as u64, unpacked: 6 };
    assert_eq!(found[&sha(HELLO_SHA)], hello);
    assert_eq!(found[&sha(ROOT_SHA)], Size { archived: 191, unpacked: 191 });
    assert!(sizes(&hex(COMMIT)).is_empty(), "it says none");
}

fn load(tree: &Digest) -> Result<Vec<u8>, &'static str> {
    match tree.to_string().as_str() {
        ROOT_SHA => Ok(hex(ROOT)),
        SUB_SHA => Ok(hex(SUB)),
        _ => Err("unknown"),
    }
}

#[test]
fn a_plan_has_every_object_of_the_commit_once_and_the_commit_last() {
    for (object, sized) in [(hex(SIZED), true), (hex(COMMIT), false)] {
        let commit = Commit::parse(&object).unwrap();
        let manifest = plan(&object, &commit, &[], &mut load).unwrap();
        manifest.check().unwrap();
        assert_eq!(manifest.commit, Digest::of(&object));
        assert_eq!((manifest.ends.as_slice(), manifest.objects.len()), (&[4, 7, 8][..], 8));
        let by_id: BTreeMap<Digest, PlainObject> = manifest.objects.iter().map(|o| (o.id.checksum, *o)).collect();
        assert_eq!(by_id[&sha(HELLO_SHA)].archived, if sized { 42 } else { 0 });
        assert_eq!(by_id[&sha(ROOT_SHA)].unpacked, 191, "whoever derives it has read the dirtrees");
        let last = manifest.objects.last().unwrap();
        assert_eq!((last.id.kind, last.archived), (ObjectKind::Commit, object.len() as u64));
    }
    let commit = Commit::parse(&hex(SIZED)).unwrap();
    assert!(plan(&hex(SIZED), &commit, &[], &mut |_: &Digest| Err::<Vec<u8>, _>("gone")).is_err());
}
