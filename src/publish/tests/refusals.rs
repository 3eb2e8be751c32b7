//! Bad input: what is said, whose fault it is, and that nothing half-made is left.

use super::harness::{Bench, Entry, command, key, object_path, publish, tarball};
use crate::publish::{Options, PublishError, Source, Stage, run};
use fullmetal_proto::wire::ObjectKind;
use std::fs;
use tar::EntryType;

#[test]
fn hostile_tarballs_are_refused_and_make_no_repo() {
    let bench = Bench::new();
    let file = EntryType::Regular;
    let long = "x".repeat(99);
    let cases: &[(&[Entry<'_>], &str)] = &[
        (&[("../escape", file, b"x", "")], "paths with '..' are refused"),
        (&[("a/../../escape", file, b"x", "")], "paths with '..' are refused"),
        (&[("/etc/passwd", file, b"x", "")], "absolute paths are refused"),
        (&[("d", EntryType::Symlink, b"", "/etc"), ("d/passwd", file, b"x", "")], "lies beneath a file or symlink"),
        (&[("h", EntryType::Link, b"", "/etc/shadow")], "absolute paths are refused"),
        (&[("h", EntryType::Link, b"", "../shadow")], "paths with '..' are refused"),
        (&[("h", EntryType::Link, b"", "later"), ("later", file, b"x", "")], "no file before it"),
        (&[("d", EntryType::Directory, b"", ""), ("h", EntryType::Link, b"", "d")], "no file before it"),
        (&[("null", EntryType::Char, b"", "")], "device node"),
        (&[("pipe", EntryType::Fifo, b"", "")], "device node"),
        (&[("s", EntryType::GNUSparse, b"", "")], "sparse"),
        (&[("l", EntryType::Symlink, b"", "")], "symlink's target"),
        (&[("d/x", file, b"", ""), ("d", file, b"x", "")], "would replace a directory"),
        (&[(".", file, b"x", "")], "no directory"),
        (&[(&long, EntryType::new(b'Z'), b"x", "")], "cannot be published"),
    ];
    for (i, (entries, expected)) in cases.iter().enumerate() {
        let path = bench.path(&format!("{i}.tar"));
        tarball(&path, entries);
        let error = publish(&bench.options_of(path)).unwrap_err();
        assert!(error.to_string().contains(expected), "case {i}: {error}");
        assert!(!error.is_usage());
        assert!(!bench.repo().exists());
    }
}

#[test]
fn a_tarball_that_is_cut_short_is_refused() {
    let bench = Bench::new();
    let path = bench.path("x.tar");
    tarball(&path, &[("a", EntryType::Regular, &[7; 5000], ""), ("b", EntryType::Regular, b"x", "")]);
    let whole = fs::read(&path).unwrap();
    // In the first member, between the two, before the end mark, in a header, no tarball at all.
    for len in [3000, 512 + 5120, 512 + 5120 + 1024, 512 + 5120 + 300, 0] {
        fs::write(&path, &whole[..len]).unwrap();
        let error = publish(&bench.options_of(path.clone())).unwrap_err();
        assert!(!error.is_usage(), "{len}: {error}");
        assert!(error.to_string().contains("x.tar"), "{len}: {error}");
    }
    for suffix in ["gz", "zst"] {
        fs::write(&path, &whole).unwrap();
        let (program, packed) = (if suffix == "gz" { "gzip" } else { "zstd" }, bench.path(&format!("x.tar.{suffix}")));
        command(program, &["-q", "-f", "-k", &path.display().to_string()]);
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() - 12]).unwrap();
        let error = publish(&bench.options_of(packed)).unwrap_err();
        assert!(error.to_string().starts_with("decompressing"), "{error}");
    }
    assert!(!bench.repo().exists());
}

#[test]
fn usage_errors_are_told_from_failures() {
    let bench = Bench::new();
    let usage = |options: &Options, expected: &str| {
        let error = publish(options).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
    };
    let mut options = bench.options();
    options.source = Source::Tree { path: bench.rootfs(), cmd: Vec::new() };
    usage(&options, "give --cmd");
    let mut options = bench.options();
    options.ref_name = None;
    usage(&options, "--ref");
    let mut options = bench.options();
    options.frame_len = 5 << 20;
    usage(&options, "--frame-size");
    let mut options = bench.options();
    options.repo = bench.path("rootfs/var/repo");
    usage(&options, "lies inside");
    let mut options = bench.options();
    options.repo = bench.path("rootfs");
    options.source = Source::Recommit("x".into());
    let error = publish(&options).unwrap_err();
    assert!(!error.is_usage() && error.to_string().starts_with("opening the repo"), "{error}");
    let mut options = bench.options();
    options.repo = bench.path("other");
    fs::create_dir(&options.repo).unwrap();
    fs::write(options.repo.join("file"), b"").unwrap();
    usage(&options, "is no OSTree repo");
    options.repo = bench.path("bare");
    command("ostree", &["init", "--mode=bare-user", &format!("--repo={}", options.repo.display())]);
    usage(&options, "archive");
    assert!(!bench.repo().exists());
}

#[test]
fn commits_that_are_missing_or_bound_elsewhere_are_refused() {
    let bench = Bench::new();
    publish(&bench.options()).unwrap();
    let mut options = Options::new(bench.repo(), Source::Commit("0".repeat(64)));
    options.key = Some(key(1));
    for rev in ["0".repeat(64), "no/such/ref".into()] {
        options.source = Source::Commit(rev.clone());
        let error = publish(&options).unwrap_err();
        assert!(matches!(&error, PublishError::NoSuchCommit { rev: found, .. } if *found == rev), "{error}");
    }
    options.source = Source::Commit("apps/web".into());
    options.ref_name = Some("apps/other".parse().unwrap());
    assert!(publish(&options).unwrap_err().to_string().contains("is not bound to ref apps/other"));
}

#[test]
fn a_corrupt_object_is_found_before_it_is_framed() {
    let bench = Bench::new();
    bench.ostree(&["init", "--mode=archive"]);
    let tree = format!("--tree=dir={}", bench.rootfs().display());
    bench.ostree(&["commit", "-b", "theirs", &tree]);
    let sum = bench.ostree(&["ls", "-C", "theirs", "/etc/conf7.txt"]);
    let sum = sum.split_whitespace().nth(4).unwrap().parse().unwrap();
    let path = object_path(&bench.repo(), ObjectKind::File, &sum);
    let whole = fs::read(&path).unwrap();
    let options = Options { key: Some(key(1)), ..Options::new(bench.repo(), Source::Commit("theirs".into())) };
    for i in [whole.len() - 8, whole.len() / 2, 60] {
        let mut bytes = whole.clone();
        bytes[i] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let error = publish(&options).unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains(&sum.to_string()), "byte {i}: {error}");
        assert_eq!(fs::read_dir(bench.repo().join("fullmetal/packs")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(bench.repo().join("fullmetal/manifests")).unwrap().count(), 0);
    }
    fs::write(&path, &whole).unwrap();
    publish(&options).unwrap();
}

#[test]
fn a_manifest_that_is_damaged_is_an_error_and_stays() {
    let bench = Bench::new();
    let options = bench.options();
    let published = publish(&options).unwrap();
    let path = bench.repo().join(format!("fullmetal/manifests/{}", published.commit));
    fs::write(&path, b"not a manifest").unwrap();
    let error = publish(&options).unwrap_err();
    assert!(matches!(error, PublishError::Manifest { .. }) && !error.is_usage(), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"not a manifest");
    // The next release does not lean on it.
    fs::write(bench.path("rootfs/etc/new"), b"new").unwrap();
    let next = publish(&options).unwrap();
    assert_eq!(next.new_objects, next.objects);
}

#[test]
fn sockets_and_names_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let options = bench.options();
    let socket = std::os::unix::net::UnixListener::bind(bench.path("rootfs/etc/sock")).unwrap();
    assert!(publish(&options).unwrap_err().to_string().contains("device node, pipe or socket"));
    drop(socket);
    fs::remove_file(bench.path("rootfs/etc/sock")).unwrap();
    let odd = bench.path("rootfs/etc").join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::write(&odd, b"").unwrap();
    assert!(publish(&options).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn a_source_that_changes_meanwhile_is_told_and_can_be_published_afterwards() {
    let bench = Bench::new();
    let options = bench.options();
    let mut changed = false;
    let error = run(&options, &mut |stage, _, _| {
        if stage == Stage::Writing && !changed {
            changed = true;
            for i in 0..40 {
                fs::write(bench.path(&format!("rootfs/etc/conf{i}.txt")), format!("VALUE = {i}\n").repeat(200))
                    .unwrap();
            }
        }
    });
    let error = error.unwrap_err();
    assert!(matches!(&error, PublishError::Changed(path) if path.starts_with("/rootfs/etc/conf")), "{error}");
    assert_eq!(bench.ostree(&["refs"]), "");
    let published = publish(&options).unwrap();
    bench.decode(&bench.manifest(&published.commit));
    bench.ostree(&["fsck"]);
}

#[test]
fn what_no_device_would_accept_is_not_framed() {
    let bench = Bench::new();
    bench.ostree(&["init", "--mode=archive"]);
    let root = bench.rootfs();
    let tree = format!("--tree=dir={}", root.display());
    // A release number of another type: devices refuse the commit.
    bench.ostree(&["commit", "-b", "odd", "--add-metadata-string=fullmetal.release=one", &tree]);
    let options = Options { key: Some(key(1)), ..Options::new(bench.repo(), Source::Commit("odd".into())) };
    let error = publish(&options).unwrap_err();
    assert!(matches!(error, PublishError::Unfit { .. }) && !error.is_usage(), "{error}");
    assert!(error.to_string().contains("fullmetal.release"), "{error}");
}
