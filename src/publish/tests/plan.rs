//! What devices fetch of a release: close to the fewest bytes, whatever they have.

use super::harness::{Bench, name, noise, publish};
use crate::publish::{Options, Published};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{FetchPlan, Pieces};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DIRECTORIES: usize = 20;
const FILES: usize = 20;
const FILE_LEN: usize = 6_000;

/// Directories with files that compress to half of themselves; a file of another `edition` is another.
fn write(root: &Path, directory: usize, edition: u64) {
    let dir = root.join(format!("usr/lib/part{directory}"));
    fs::create_dir_all(&dir).unwrap();
    for file in 0..FILES {
        let seed = 1 + edition * 1_000_000 + (directory * FILES + file) as u64;
        let bytes = [noise(FILE_LEN / 2, seed), vec![b' '; FILE_LEN / 2]].concat();
        fs::write(dir.join(format!("file{file}")), bytes).unwrap();
    }
}

fn tree(bench: &Bench, at: &str) -> (PathBuf, Options) {
    let root = bench.path(at);
    (0..DIRECTORIES).for_each(|directory| write(&root, directory, 0));
    (root.clone(), bench.options_of(root))
}

fn plan(bench: &Bench, release: &Published, having: &[&Published]) -> FetchPlan {
    let manifest = |commit: &Digest| Pieces::Frames(bench.manifest(commit));
    let there: BTreeSet<_> =
        having.iter().flat_map(|other| manifest(&other.commit).objects()).map(|(id, _)| id).collect();
    manifest(&release.commit).plan(|id| !there.contains(id))
}

/// At most so many percent beyond the fewest.
fn assert_close(plan: FetchPlan, percent: u64) {
    assert!(plan.fewest > 0 && plan.bytes * 100 <= plan.fewest * (100 + percent), "{plan:?}");
}

#[test]
fn a_fresh_device_and_those_that_are_one_or_two_releases_behind_fetch_little_beside() {
    let bench = Bench::new();
    let (root, options) = tree(&bench, "tree");
    let mut releases = vec![publish(&options).unwrap()];
    for release in 1..=2 {
        (0..3).for_each(|directory| write(&root, 3 * release + directory, release as u64));
        releases.push(publish(&options).unwrap());
    }
    let [first, second, third] = &releases[..] else { unreachable!() };
    assert_close(plan(&bench, third, &[second]), 5);
    assert_close(plan(&bench, third, &[first]), 5);
    // What the releases before had there lies beside what is still needed of them.
    assert_close(plan(&bench, third, &[]), 10);
    assert_eq!(plan(&bench, third, &[third]), FetchPlan::default());
}

#[test]
fn a_device_that_has_another_app_fetches_little_beside_what_it_lacks() {
    let bench = Bench::new();
    let (root, options) = tree(&bench, "tree");
    let web = publish(&options).unwrap();
    let other = Options { ref_name: Some(name("apps/db")), ..bench.options_of(root.clone()) };
    write(&root, 0, 7);
    let db = publish(&other).unwrap();
    assert!(db.new_packed_bytes < web.new_packed_bytes / 10, "what both have is packed once: {db:?}");
    assert_close(plan(&bench, &db, &[&web]), 5);
    assert_close(plan(&bench, &db, &[]), 10);
}

#[test]
fn a_device_without_the_other_app_does_not_pay_for_what_is_only_in_that() {
    let bench = Bench::new();
    let (root, options) = tree(&bench, "tree");
    publish(&options).unwrap();
    // A third of the files is shared, here and there.
    for directory in 0..DIRECTORIES {
        for file in (0..FILES).filter(|file| file % 3 > 0) {
            fs::remove_file(root.join(format!("usr/lib/part{directory}/file{file}"))).unwrap();
        }
    }
    let other = Options { ref_name: Some(name("apps/db")), ..bench.options_of(root) };
    assert_close(plan(&bench, &publish(&other).unwrap(), &[]), 10);
}

#[test]
fn what_is_left_of_a_frame_that_has_become_useless_is_packed_again_beside_what_is_new() {
    let bench = Bench::new();
    let (root, options) = tree(&bench, "tree");
    let first = publish(&options).unwrap();
    for directory in 0..DIRECTORIES {
        // One file of each directory stays.
        let kept = fs::read(root.join(format!("usr/lib/part{directory}/file0"))).unwrap();
        write(&root, directory, 1);
        fs::write(root.join(format!("usr/lib/part{directory}/file0")), kept).unwrap();
    }
    let second = publish(&options).unwrap();
    assert_close(plan(&bench, &second, &[]), 10);
    assert_close(plan(&bench, &second, &[&first]), 10);
    assert!(bench.manifest(&second.commit).packs.len() == 1, "nothing of the first pack is leaned on");
    bench.decode(&bench.manifest(&second.commit));
}
