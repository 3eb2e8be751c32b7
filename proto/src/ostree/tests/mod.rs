//! Golden objects made by libostree 2022.7: a tree of `hello` (mode 4755, "hello\n"), `empty`, `link` -> `../x` and `sub/x`
//! ("x\n", xattr user.demo=yes), committed by `ostree --repo=r commit -b apps/web -s "First release" --bind-ref=apps/web2
//! --owner-uid=1000 --owner-gid=1000 --timestamp=@1700000000 --add-metadata=… --tree=dir=tree` to a bare-user repository; then
//! `xxd -p` of its objects.

mod asks;
mod plain;

use super::gvariant::{build_array, build_tuple};
use super::*;
use crate::Digest;
use crate::wire::{ObjectId, ObjectKind};
use proptest::prelude::*;

const COMMIT: &str = "\
66756c6c6d6574616c2e76657273696f6e00000000000000312e30000073120066756c6c6d6574616c2e6e616d6500007765620000730f\
0066756c6c6d6574616c2e72656c65617365000000000000000700000000000000007412000000000066756c6c6d6574616c2e666c6f6f\
72000500000000000000007410000000000066756c6c6d6574616c2e686172647761726500000000000070726573732d37007072657373\
2d3800081000617313000066756c6c6d6574616c2e6865616c746800000000000000002f62696e2f74727565002d78000a0d0061731100\
0000000066756c6c6d6574616c2e70726f626174696f6e00000000001e000000007514006f73747265652e7265662d62696e64696e6700\
0000000000617070732f77656200617070732f77656232000913006173131f0037005b007b00ae00db00ff00310146697273742072656c\
656173650000000000006553f10036129cbb328483b13b51f2bc7ca3b284624774db34a8eb68a9c7e582bd793179794f9b8b314d4d5719\
3fca37dab9149b075b598dadb39d33f77d6a815fca584c780150014f01410141014101";
const COMMIT_SHA: &str = "9166d11b78c9e32d3cfd63fc70ae5a3a2950f2ad297c1252052b86af7119af3f";
const ROOT: &str = "\
656d70747900e097767f9f4e3e078b1be7a1c9ead4f4a0b715acb00bc3ed7220e7d4f78b7dc90668656c6c6f004515b64d3e0d38b0e0af\
eb2ded76c9a6cffd9f92fba08219bf18c91f28ed9432066c696e6b0086b09cb1aa43e946b4fa426801e22d09fb8083a37df2cd09d7a024\
7ce196910705274e7473756200132057af42edd3673d4c9cc4eedd97e3a7fc923ed1975dcc905fa0d633e99079794f9b8b314d4d57193f\
ca37dab9149b075b598dadb39d33f77d6a815fca584c24044677";
const ROOT_SHA: &str = "36129cbb328483b13b51f2bc7ca3b284624774db34a8eb68a9c7e582bd793179";
const SUB: &str = "7800425ed44badf603aa41cf3e05f16f16b08a86e88ff0ebcbdb38efefee7752950d022324";
const SUB_SHA: &str = "132057af42edd3673d4c9cc4eedd97e3a7fc923ed1975dcc905fa0d633e99079";
const META: &str = "000003e8000003e8000041ed";
const META_SHA: &str = "794f9b8b314d4d57193fca37dab9149b075b598dadb39d33f77d6a815fca584c";
const HELLO_SHA: &str = "4515b64d3e0d38b0e0afeb2ded76c9a6cffd9f92fba08219bf18c91f28ed9432";
const LINK_SHA: &str = "86b09cb1aa43e946b4fa426801e22d09fb8083a37df2cd09d7a0247ce1969107";
const X_SHA: &str = "425ed44badf603aa41cf3e05f16f16b08a86e88ff0ebcbdb38efefee7752950d";

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn sha(text: &str) -> Digest {
    text.parse().unwrap()
}

#[test]
fn a_commit_of_libostree_says_what_was_committed() {
    assert_eq!(Digest::of(&hex(COMMIT)), sha(COMMIT_SHA));
    let commit = Commit::parse(&hex(COMMIT)).unwrap();
    let metadata = CommitMetadata {
        refs: vec!["apps/web".into(), "apps/web2".into()],
        release: Some(7),
        floor: Some(5),
        hardware: vec!["press-7".parse().unwrap(), "press-8".parse().unwrap()],
        version: Some("1.0".into()),
        bootable: false,
        kernel: None,
        name: Some("web".parse().unwrap()),
        health: vec!["/bin/true".into(), "-x".into()],
        probation: Some(30),
        asks: Asks::default(),
    };
    assert_eq!(commit.metadata, metadata);
    assert_eq!((commit.parent, commit.subject.as_str(), commit.timestamp), (None, "First release", 1_700_000_000));
    assert_eq!((commit.root, commit.root_meta), (sha(ROOT_SHA), sha(META_SHA)));
}

#[test]
fn trees_of_libostree_list_what_was_committed() {
    let root = DirTree::parse(&hex(ROOT)).unwrap();
    let names: Vec<&str> = root.files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["empty", "hello", "link"]);
    assert_eq!(root.files[1].content, sha(HELLO_SHA));
    assert_eq!(root.dirs, [DirEntry { name: "sub".into(), tree: sha(SUB_SHA), meta: sha(META_SHA) }]);
    assert_eq!(DirTree::parse(&hex(SUB)).unwrap().files, [FileEntry { name: "x".into(), content: sha(X_SHA) }]);
    let meta = DirMeta::parse(&hex(META)).unwrap();
    assert_eq!(meta, DirMeta { uid: 1000, gid: 1000, mode: 0o40755, xattrs: vec![] });
}

#[test]
fn a_built_content_head_hashes_to_libostrees_checksum() {
    let header = |mode, target: Option<&str>, xattrs: &[(&str, &str)]| ContentHeader {
        uid: 1000,
        gid: 1000,
        mode,
        target: target.map(str::to_owned),
        xattrs: xattrs.iter().map(|(name, value)| Xattr { name: (*name).into(), value: (*value).into() }).collect(),
    };
    let cases = [
        (header(0o104755, None, &[]), "hello\n", HELLO_SHA),
        (header(0o120777, Some("../x"), &[]), "", LINK_SHA),
        (header(0o100644, None, &[("user.demo", "yes")]), "x\n", X_SHA),
    ];
    for (header, content, checksum) in cases {
        let head = header.build();
        assert_eq!(Digest::of_parts(&[&head, content.as_bytes()]), sha(checksum));
        let stream = [&head, content.as_bytes()].concat();
        assert_eq!(ContentHeader::parse(&stream), Ok((header, head.len())));
        assert_eq!(content_head_len(head[..4].try_into().unwrap()), Ok(head.len()));
    }
}

fn tree(files: &[&str], dirs: &[&str]) -> Vec<u8> {
    let name = |name: &str| [name.as_bytes(), &[0]].concat();
    let file = |n: &&str| build_tuple(&[], &[&name(n), &[1; 32]]);
    let dir = |n: &&str| build_tuple(&[], &[&name(n), &[2; 32], &[3; 32]]);
    let files = build_array(&files.iter().map(file).collect::<Vec<_>>());
    let dirs = build_array(&dirs.iter().map(dir).collect::<Vec<_>>());
    build_tuple(&[], &[&files, &dirs])
}

#[test]
fn hostile_names_are_refused() {
    assert!(DirTree::parse(&tree(&["a", "..."], &["b"])).is_ok());
    for bad in ["", ".", "..", "a/b", "/", "../../etc/passwd", "a\0b", &"x".repeat(256)] {
        assert!(matches!(DirTree::parse(&tree(&[bad], &[])), Err(OstreeError::Name(_))), "{bad:?}");
        assert!(matches!(DirTree::parse(&tree(&[], &["ok", bad])), Err(OstreeError::Name(_))), "{bad:?}");
    }
    assert_eq!(DirTree::parse(&tree(&["a"], &["a"])), Err(OstreeError::DuplicateName("a".into())));
    assert_eq!(DirTree::parse(&tree(&["a", "a"], &[])), Err(OstreeError::DuplicateName("a".into())));
}

#[test]
fn device_nodes_pipes_sockets_and_odd_modes_are_refused() {
    let head = |mode: u32, rdev: u32, target: &str| {
        let numbers = [0, 0, mode, rdev].map(u32::to_be_bytes).concat();
        let header = build_tuple(&numbers, &[&[target.as_bytes(), &[0]].concat(), &[]]);
        [&(header.len() as u32).to_be_bytes()[..], &[0; 4], &header].concat()
    };
    for kind in [0o020_000, 0o060_000, 0o010_000, 0o140_000, 0o040_000, 0, 0o1_100_000] {
        assert_eq!(ContentHeader::parse(&head(kind | 0o644, 0, "")), Err(OstreeError::Mode(kind | 0o644)));
    }
    assert_eq!(ContentHeader::parse(&head(0o100_644, 0x103, "")), Err(OstreeError::Field("rdev")));
    assert_eq!(ContentHeader::parse(&head(0o100_644, 0, "x")), Err(OstreeError::Field("symlink target")));
    assert_eq!(ContentHeader::parse(&head(0o120_777, 0, "")), Err(OstreeError::Field("symlink target")));
    let mut meta = hex(META);
    meta[10] = 0x81;
    assert_eq!(DirMeta::parse(&meta), Err(OstreeError::Mode(0o100_755)));
}

#[test]
fn our_metadata_keys_must_have_their_type_and_limits() {
    let at = |key: &str| {
        let bytes = hex(COMMIT);
        let found = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap();
        (bytes, found)
    };
    let (mut bytes, key) = at("fullmetal.release");
    bytes[key + 24 + 9] = b'x';
    assert!(matches!(Commit::parse(&bytes), Err(OstreeError::Metadata { key: "fullmetal.release", .. })));
    let (mut bytes, key) = at("press-7");
    bytes[key] = b'.';
    assert!(matches!(Commit::parse(&bytes), Err(OstreeError::Metadata { key: "fullmetal.hardware", .. })));
    let (mut bytes, key) = at("1.0");
    bytes[key] = b'\n';
    assert!(matches!(Commit::parse(&bytes), Err(OstreeError::Metadata { key: "fullmetal.version", .. })));
    let (mut bytes, key) = at("fullmetal.floor");
    bytes[key..key + 15].copy_from_slice(b"fullmetal.healt");
    assert!(Commit::parse(&bytes).is_ok(), "unknown keys are ignored");
}

#[test]
fn a_metadata_key_twice_is_refused() {
    let entry = [b'k', 0, 0, 0, 0, 0, 0, 0, b'v', 0, 0, b's', 2];
    let metadata = [&entry[..], &[0; 3], &entry, &[13, 29]].concat();
    assert_eq!(gvariant::dictionary(&metadata, 9).map(|entries| entries.len()), Ok(2));
    // No parent, no related objects, no subject, no body, padding, timestamp, root.
    let commit = |metadata: &[u8]| {
        let pad = (metadata.len() + 2).next_multiple_of(8) - metadata.len() - 2;
        let mut bytes = [metadata, &[0, 0], &vec![0; pad], &[0; 8], &[1; 32], &[2; 32]].concat();
        let end = metadata.len() as u8;
        bytes.extend([bytes.len() as u8 - 32, end + 2, end + 1, end, end, end]);
        bytes
    };
    assert_eq!(Commit::parse(&commit(&metadata)), Err(OstreeError::DuplicateKey("k".into())));
    assert!(Commit::parse(&commit(&[&entry[..], &[13]].concat())).is_ok());
}

#[test]
fn malformed_signatures_are_passed_over() {
    let meta = |elements: &[Vec<u8>]| {
        let mut entry = [&b"ostree.sign.ed25519"[..], &[0; 5], &build_array(elements), &[0], b"aay"].concat();
        entry.push(20);
        build_array(&[entry])
    };
    assert_eq!(signatures(&meta(&[vec![7; 64], vec![1; 3], vec![], vec![9; 64]])), [[7; 64], [9; 64]]);
    assert_eq!(signatures(&meta(&[vec![1; 63]])), [[0u8; 64]; 0]);
    assert!(signatures(&meta(&vec![vec![1; 64]; 1000])).is_empty(), "over the limit");
    assert!(signatures(b"").is_empty() && signatures(&[0xff; 300]).is_empty());
}

#[test]
fn the_closure_is_everything_that_the_commit_reaches() {
    let commit = Commit::parse(&hex(COMMIT)).unwrap();
    let mut load = |tree: &Digest| match tree.to_string().as_str() {
        ROOT_SHA => Ok(hex(ROOT)),
        SUB_SHA => Ok(hex(SUB)),
        _ => Err("unknown"),
    };
    let reached = closure(&commit, &mut load).unwrap();
    let count = |kind| reached.iter().filter(|id| id.kind == kind).count();
    assert_eq!(
        [ObjectKind::File, ObjectKind::DirTree, ObjectKind::DirMeta, ObjectKind::Commit].map(count),
        [4, 2, 1, 0]
    );
    let lost = closure(&commit, &mut |_: &Digest| Err::<Vec<u8>, _>("gone")).unwrap_err();
    let object = ObjectId { kind: ObjectKind::DirTree, checksum: sha(ROOT_SHA) };
    assert_eq!(lost, WalkError::Load { object, source: "gone" });
}

/// Trees `t0` (ten files), `t1` (ten times `t0`), … : each level multiplies the files by ten.
fn doll(levels: usize, width: usize) -> (Commit, std::collections::BTreeMap<Digest, Vec<u8>>) {
    let mut objects = std::collections::BTreeMap::new();
    let mut below = tree(&["a"], &[]);
    for _ in 0..levels {
        let sum = Digest::of(&below);
        objects.insert(sum, below);
        let dir = |i: usize| build_tuple(&[], &[format!("{i}\0").as_bytes(), sum.as_bytes(), &[3; 32]]);
        let dirs = build_array(&(0..width).map(dir).collect::<Vec<_>>());
        below = build_tuple(&[], &[&[], &dirs]);
    }
    let mut commit = Commit::parse(&hex(COMMIT)).unwrap();
    commit.root = Digest::of(&below);
    objects.insert(commit.root, below);
    (commit, objects)
}

#[test]
fn trees_that_unfold_without_bound_are_refused() {
    for (levels, width, fits) in [(5, 10, true), (9, 10, false), (DEPTH_MAX, 1, true), (DEPTH_MAX + 1, 1, false)] {
        let (commit, objects) = doll(levels, width);
        let walked = closure(&commit, &mut |tree| objects.get(tree).cloned().ok_or(()).map_err(|()| "lost"));
        let refused = matches!(walked, Err(WalkError::Object { source: OstreeError::TreeSize, .. }));
        assert_eq!((walked.is_ok(), refused), (fits, !fits), "{levels} levels of {width}");
    }
}

fn parse_all(bytes: &[u8]) {
    let _ = (Commit::parse(bytes), DirTree::parse(bytes), DirMeta::parse(bytes), ContentHeader::parse(bytes));
    let _ = (signatures(bytes), sizes(bytes), ArchiveHeader::parse(bytes));
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse_all(&bytes);
    }

    #[test]
    fn no_change_of_a_real_object_makes_a_parser_panic(
        which in 0usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let mut bytes = hex([COMMIT, ROOT, META][which]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        parse_all(&bytes);
    }

    #[test]
    fn an_accepted_content_head_is_rebuilt_byte_for_byte(
        uid in any::<u32>(),
        mode in 0u32..0o10000,
        target in proptest::option::of("[a-z./]{1,40}"),
        xattrs in proptest::collection::vec(("[a-z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..300)), 0..5),
    ) {
        let kind = if target.is_some() { 0o120_000 } else { 0o100_000 };
        let xattrs = xattrs.into_iter().map(|(name, value)| Xattr { name: name.into_bytes(), value }).collect();
        let header = ContentHeader { uid, gid: 7, mode: kind | mode, target, xattrs };
        let head = header.build();
        prop_assert_eq!(ContentHeader::parse(&head), Ok((header, head.len())));
    }
}
