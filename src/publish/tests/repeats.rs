//! Publishing again, publishing the next release, and completing what a crash left undone.

use super::harness::{Bench, name, noise, publish};
use crate::publish::Published;
use std::fs;

#[test]
fn the_same_tree_twice_writes_no_byte() {
    let bench = Bench::new();
    let options = bench.options();
    let first = publish(&options).unwrap();
    assert!(!first.unchanged);
    let before = bench.snapshot();
    let second = publish(&options).unwrap();
    assert!(before == bench.snapshot(), "the repo changed");
    let expected = Published { unchanged: true, new_packed_bytes: 0, new_objects: 0, ..first };
    assert_eq!(second, expected);
}

#[test]
fn a_touched_file_is_no_change_and_another_mode_is_one() {
    let bench = Bench::new();
    let options = bench.options();
    let first = publish(&options).unwrap().commit;
    fs::write(bench.path("rootfs/etc/twin"), b"same").unwrap();
    assert_eq!(publish(&options).unwrap().commit, first);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(bench.path("rootfs/etc/twin"), fs::Permissions::from_mode(0o600)).unwrap();
    let changed = publish(&options).unwrap();
    assert_ne!(changed.commit, first);
    // The commit, the file and the dirtrees above it: rootfs/etc, rootfs, /.
    assert_eq!(changed.new_objects, 5);
}

#[test]
fn a_second_release_adds_only_what_is_new() {
    let bench = Bench::new();
    let options = bench.options();
    fs::write(bench.path("rootfs/etc/large"), noise(200_000, 3)).unwrap();
    let first = publish(&options).unwrap();
    fs::write(bench.path("rootfs/etc/new"), b"new").unwrap();
    let second = publish(&options).unwrap();
    assert_eq!(second.new_objects, 5);
    let (old, new) = (bench.manifest(&first.commit), bench.manifest(&second.commit));
    assert_eq!(new.packs[1..], old.packs);
    assert!(second.new_packed_bytes < first.new_packed_bytes / 4);
    // Every earlier frame that is named is one of the first release's, unchanged.
    let key = |f: &fullmetal_proto::wire::Frame| (f.offset, f.length, f.raw_length, f.sha256);
    let olds: Vec<_> = old.frames.iter().map(key).collect();
    assert!(new.frames.iter().filter(|f| f.pack == 1).all(|f| olds.contains(&key(f))));
    assert_eq!(bench.decode(&new).len(), second.objects);
    // Gone from the second release, back in the third: the first release's frames are found again.
    fs::remove_file(bench.path("rootfs/bin/su")).unwrap();
    publish(&options).unwrap();
    bench.rootfs();
    let third = publish(&options).unwrap();
    assert_eq!(third.new_objects, 1, "only the commit is new");
    bench.decode(&bench.manifest(&third.commit));
}

#[test]
fn an_earlier_pack_that_is_gone_is_not_leaned_on() {
    let bench = Bench::new();
    let options = bench.options();
    let first = publish(&options).unwrap();
    let pack = bench.manifest(&first.commit).packs[0].sha256;
    fs::remove_file(bench.repo().join(format!("fullmetal/packs/{pack}.pack"))).unwrap();
    let error = publish(&options).unwrap_err();
    assert!(error.to_string().contains("missing or cut") && !error.is_usage(), "{error}");
    fs::write(bench.path("rootfs/etc/new"), b"new").unwrap();
    let second = publish(&options).unwrap();
    assert_eq!((second.packs, second.new_objects), (1, second.objects));
    bench.decode(&bench.manifest(&second.commit));
}

#[test]
fn whatever_a_crash_left_out_is_completed_by_the_next_publish() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.timestamp = Some(1_700_000_000);
    let whole = publish(&options).unwrap();
    let snapshot =
        |bench: &Bench| bench.snapshot().into_iter().map(|(path, (.., content))| (path, content)).collect::<Vec<_>>();
    let expected = snapshot(&bench);
    let manifest = format!("fullmetal/manifests/{}", whole.commit);
    let pack = format!("fullmetal/packs/{}.pack", bench.manifest(&whole.commit).packs[0].sha256);
    let sum = whole.commit.to_string();
    let commitmeta = format!("objects/{}/{}.commitmeta", &sum[..2], &sum[2..]);
    let commit = format!("objects/{}/{}.commit", &sum[..2], &sum[2..]);
    let mut gone: Vec<&str> = Vec::new();
    // Backwards through the order of writing: ref, manifest, pack, signature, commit.
    for next in ["refs/heads/apps/web", &manifest, &pack, &commitmeta, &commit] {
        gone.push(next);
        for path in &gone {
            fs::remove_file(bench.repo().join(path)).unwrap();
        }
        fs::write(bench.repo().join("fullmetal/packs/.tmp-crashed"), b"half").unwrap();
        let again = publish(&options).unwrap();
        assert_eq!((again.commit, again.unchanged), (whole.commit, false), "without {gone:?}");
        assert!(snapshot(&bench) == expected, "without {gone:?}");
    }
}

#[test]
fn publishers_of_one_repo_take_turns() {
    let bench = Bench::new();
    let first = bench.options();
    let mut second = first.clone();
    second.ref_name = Some(name("apps/other"));
    std::thread::scope(|scope| {
        for options in [&first, &second, &first, &second] {
            scope.spawn(|| publish(options).unwrap());
        }
    });
    bench.ostree(&["fsck"]);
    for options in [&first, &second] {
        let published = publish(options).unwrap();
        assert!(published.unchanged);
        bench.decode(&bench.manifest(&published.commit));
    }
}

#[test]
fn a_ref_does_not_go_to_another_tree_without_a_higher_release_unless_told_to() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.info.release = Some(5);
    let first = publish(&options).unwrap().commit;
    // The same tree may be told of otherwise.
    options.info.version = Some("five".into());
    let renamed = publish(&options).unwrap().commit;
    assert_ne!(first, renamed);
    fs::write(bench.path("rootfs/etc/new"), "x").unwrap();
    let before = bench.snapshot();
    for (release, words) in [(Some(5), "release 5 with"), (Some(4), "release 4 with"), (None, "without a number")] {
        options.info.release = release;
        let error = publish(&options).unwrap_err();
        let text = error.to_string();
        assert!(error.is_usage() && text.contains(words), "{text}");
        assert!(text.contains("apps/web is at release 5") && text.contains("--allow-lower-release"), "{text}");
    }
    assert!(before == bench.snapshot(), "something was written");
    options.info.release = Some(4);
    options.allow_lower_release = true;
    assert!(!publish(&options).unwrap().unchanged);
    options.allow_lower_release = false;
    options.info.release = Some(6);
    publish(&options).unwrap();
}
