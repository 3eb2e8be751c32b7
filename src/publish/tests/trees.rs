//! What lands in the repo is what ostree itself would have put there.

use super::harness::{Bench, command, name, object_path, publish};
use crate::publish::{ReleaseInfo, Source};
use fullmetal_proto::Digest;
use fullmetal_proto::ostree::{Asks, Grant, Limits};
use fullmetal_proto::wire::ObjectKind;
use std::fs;
use std::path::Path;

const CONFIG: &[u8] =
    br#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"cwd":"/","args":["x"],"user":{"uid":0,"gid":0}}}"#;

/// Runs as any user that may set xattrs of its own files; says so when it cannot.
fn set_xattr(path: &Path) -> bool {
    let set = rustix::fs::setxattr(path, "user.fullmetal", b"v\0alue", rustix::fs::XattrFlags::empty());
    if let Err(e) = &set {
        eprintln!("no user xattrs in {}: {e}", path.display());
    }
    set.is_ok()
}

#[test]
fn a_directory_gives_the_same_tree_and_sizes_as_ostree_commit() {
    let bench = Bench::new();
    let bundle = bench.path("bundle");
    fs::create_dir(&bundle).unwrap();
    fs::rename(bench.rootfs(), bundle.join("rootfs")).unwrap();
    fs::write(bundle.join("config.json"), CONFIG).unwrap();
    let xattr = set_xattr(&bundle.join("rootfs/etc/twin")) && set_xattr(&bundle.join("rootfs/etc"));
    let mut options = bench.options_of(bundle.clone());
    options.source = Source::Tree { path: bundle.clone(), cmd: Vec::new() };
    let ours = publish(&options).unwrap().commit.to_string();
    let tree = format!("--tree=dir={}", bundle.display());
    let theirs = bench.ostree(&["commit", "-b", "theirs", "--generate-sizes", &tree]);
    let root = |rev: &str| bench.ostree(&["ls", "-C", "-X", rev, "/"]);
    assert_eq!(root(&ours), root(theirs.trim()));
    let sizes = |rev: &str| bench.ostree(&["show", "--raw", "--print-metadata-key=ostree.sizes", rev]);
    assert_eq!(sizes(&ours), sizes(theirs.trim()));
    assert!(bench.ostree(&["ls", "-R", "-X", &ours]).contains("user.fullmetal") == xattr);
    assert!(bench.ostree(&["ls", "-R", &ours]).contains("-04755"));
    bench.ostree(&["fsck"]);
}

#[test]
fn a_tarball_keeps_owners_setuid_and_capabilities_without_privileges() {
    let bench = Bench::new();
    let (rootfs, path) = (bench.rootfs(), bench.path("root.tar"));
    let (dir, tar) = (rootfs.display().to_string(), path.display().to_string());
    command("tar", &["-C", &dir, "--owner=1000", "--group=1001", "--format=pax", "-cf", &tar, "."]);
    command("gzip", &["-k", &tar]);
    command("zstd", &["-q", "-k", &tar]);
    let mut roots = Vec::new();
    for suffix in ["", ".gz", ".zst"] {
        let published = publish(&bench.options_of(format!("{tar}{suffix}").into())).unwrap();
        roots.push(bench.ostree(&["ls", "-R", "-C", &published.commit.to_string()]));
    }
    assert!(roots[0].contains("-04755 1000 1001"), "{}", roots[0]);
    assert_eq!(roots[0], roots[1]);
    assert_eq!(roots[0], roots[2]);
    bench.ostree(&["fsck"]);
}

#[test]
fn capability_attributes_and_hard_links_of_a_tarball_arrive() {
    let bench = Bench::new();
    let path = bench.path("x.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    let mut header = tar::Header::new_gnu();
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &b"\x01\0\0\x02\xff\n=x"[..])]).unwrap();
    header.set_size(2);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, "bin/ping", &b"ab"[..]).unwrap();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    builder.append_link(&mut header, "bin/ping6", "./bin/ping").unwrap();
    builder.finish().unwrap();
    let commit = publish(&bench.options_of(path)).unwrap().commit.to_string();
    let listing = bench.ostree(&["ls", "-R", "-C", "-X", &commit]);
    let lines: Vec<&str> = listing.lines().filter(|l| l.contains("/bin/ping")).collect();
    assert_eq!(lines.len(), 2, "{listing}");
    assert!(lines.iter().all(|l| l.contains("security.capability")), "{listing}");
    let sum = |line: &str| line.split_whitespace().nth(4).unwrap().to_owned();
    assert_eq!(sum(lines[0]), sum(lines[1]));
    bench.ostree(&["fsck"]);
}

fn asks() -> Asks {
    let names = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect();
    Asks {
        after: names(&["db", "mqtt"]),
        requires: names(&["db"]),
        wants: names(&["hmi"]),
        notify: true,
        start_timeout: Some(45),
        limits: Limits { memory: Some(64 << 20), cpu: Some(500), pids: Some(100), io: Some(200) },
        grants: vec![Grant::Screen, Grant::Serial("ttyUSB0".into())],
    }
}

#[test]
fn another_wish_of_the_same_tree_is_another_release() {
    let bench = Bench::new();
    let mut options = bench.options();
    let mut commits = vec![publish(&options).unwrap().commit];
    let changes: [fn(&mut Asks); 10] = [
        |a| a.after = asks().after,
        |a| a.requires = asks().requires,
        |a| a.wants = asks().wants,
        |a| a.notify = true,
        |a| a.start_timeout = Some(45),
        |a| a.limits.memory = Some(64 << 20),
        |a| a.limits.cpu = Some(500),
        |a| a.limits.pids = Some(100),
        |a| a.limits.io = Some(200),
        |a| a.grants = asks().grants,
    ];
    for change in changes {
        change(&mut options.info.asks);
        let published = publish(&options).unwrap();
        assert!(!commits.contains(&published.commit) && !published.unchanged);
        commits.push(published.commit);
    }
    assert_eq!(options.info.asks, asks());
}

#[test]
fn the_commit_says_what_it_is() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.timestamp = Some(1_700_000_000);
    options.info = ReleaseInfo {
        release: Some(7),
        floor: Some(5),
        hardware: vec!["press".parse().unwrap(), "mill".parse().unwrap()],
        version: Some("2.1".into()),
        name: Some("web".parse().unwrap()),
        health: vec!["/data/check".into(), "a b".into()],
        probation: Some(20),
        asks: asks(),
    };
    let first = publish(&options).unwrap().commit.to_string();
    // The ostree program prints numbers as if they were big-endian.
    let (u64, u32) = (|n: u64| format!("uint64 {}", n.swap_bytes()), |n: u32| format!("uint32 {}", n.swap_bytes()));
    let expected = [
        ("ostree.ref-binding", "['apps/web']"),
        ("fullmetal.release", &u64(7)),
        ("fullmetal.floor", &u64(5)),
        ("fullmetal.hardware", "['press', 'mill']"),
        ("fullmetal.version", "'2.1'"),
        ("fullmetal.name", "'web'"),
        ("fullmetal.health", "['/data/check', 'a b']"),
        ("fullmetal.probation", &u32(20)),
        ("fullmetal.after", "['db', 'mqtt']"),
        ("fullmetal.requires", "['db']"),
        ("fullmetal.wants", "['hmi']"),
        ("fullmetal.notify", "true"),
        ("fullmetal.start-timeout", &u32(45)),
        ("fullmetal.memory", &u64(64 << 20)),
        ("fullmetal.cpu", &u32(500)),
        ("fullmetal.pids", &u32(100)),
        ("fullmetal.io", &u32(200)),
        ("fullmetal.grants", "['screen', 'serial:ttyUSB0']"),
    ];
    for (key, value) in expected {
        assert_eq!(
            bench.ostree(&["show", "--raw", &format!("--print-metadata-key={key}"), &first]).trim(),
            value,
            "{key}"
        );
    }
    let sum: Digest = first.parse().unwrap();
    let object = fs::read(object_path(&bench.repo(), ObjectKind::Commit, &sum)).unwrap();
    let parsed = fullmetal_proto::ostree::Commit::parse(&object).unwrap();
    assert_eq!(
        (parsed.metadata.release, parsed.metadata.floor, parsed.metadata.probation),
        (Some(7), Some(5), Some(20))
    );
    assert_eq!(parsed.metadata.asks, asks());
    assert!(publish(&options).unwrap().unchanged, "the same again says nothing new");
    let shown = bench.ostree(&["show", &first]);
    assert!(shown.contains("2023-11-14 22:13:20 +0000"), "{shown}");
    options.info.release = Some(8);
    let second = publish(&options).unwrap();
    assert_eq!(bench.ostree(&["rev-parse", "apps/web^"]).trim(), first);
    assert_eq!(bench.ostree(&["rev-parse", "apps/web"]).trim(), second.commit.to_string());
}

#[test]
fn recommit_gives_a_foreign_commit_a_release_and_a_binding() {
    let bench = Bench::new();
    let mut options = bench.options();
    let tree = format!("--tree=dir={}", bench.rootfs().display());
    bench.ostree(&["init", "--mode=archive"]);
    let foreign = bench.ostree(&["commit", "-b", "theirs/app", &tree]);
    options.source = Source::Recommit("theirs/app".into());
    options.info.release = Some(3);
    options.ref_name = Some(name("apps/web"));
    let published = publish(&options).unwrap();
    let commit = published.commit.to_string();
    assert_ne!(commit, foreign.trim());
    assert_eq!(bench.ostree(&["ls", "-C", &commit, "/"]), bench.ostree(&["ls", "-C", foreign.trim(), "/"]));
    let release = bench.ostree(&["show", "--raw", "--print-metadata-key=fullmetal.release", &commit]);
    assert_eq!(release.trim(), format!("uint64 {}", 3u64.swap_bytes()), "printed as if big-endian");
    assert_eq!(bench.ostree(&["rev-parse", "theirs/app"]), foreign);
    assert!(publish(&options).unwrap().unchanged);
}
