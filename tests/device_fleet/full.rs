//! Disks that are full while an operating system comes: it waits or fails with the figures, and the next one comes when there is
//! room.

use crate::LIMIT;
use crate::systems::Site;
use fullmetal_proto::Digest;
use fullmetal_sim::lab::net::WAN;
use fullmetal_sim::lab::wait_for;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File};

/// The disk of all that a device has.
const DISK_MIB: u64 = 1024;
const FILLER: &str = "/var/lib/filler";

/// Takes all of the disk but so much, at once.
fn fill(site: &Site, left_kib: u64) {
    let path = site.host().device.seen(FILLER).unwrap();
    let file = File::options().create(true).append(true).open(&path).unwrap();
    let free = || {
        let disk = rustix::fs::fstatvfs(&file).unwrap();
        (disk.f_bavail * disk.f_frsize).saturating_sub(left_kib << 10)
    };
    // What the file system keeps of the file itself takes some, too.
    let (mut length, mut most) = (0, u64::MAX);
    while free() > 0 && most >= 512 {
        let more = free().min(most);
        match fallocate(&file, FallocateFlags::empty(), length, more) {
            Ok(()) => length += more,
            Err(_) => most = more / 2,
        }
    }
    assert_eq!(free(), 0, "the fault does not bite");
}

fn empty(site: &Site) {
    fs::remove_file(site.host().device.seen(FILLER).unwrap()).unwrap();
}

/// Waits until that is known which a full disk keeps from being written: by the agent, or by the peer, which waits for room.
fn is_told(site: &Site) {
    wait_for("the trouble is told", LIMIT, || {
        let status = site.host().status();
        let (agent, peer) = (status["trouble"].to_string(), status["peer"]["trouble"].to_string());
        Ok((agent.contains("No space left") || peer.contains(" is full: free some space")).then_some(()))
    })
    .unwrap();
}

fn before_it_is_fetched(site: &mut Site) {
    fill(site, 32 << 10);
    site.publish(&[]);
    let action = site.decide(&[]);
    site.bench.end_of(action);
    empty(site);
    let (reason, boots) = site.ends(action, "failed", 1);
    assert_eq!(boots, []);
    for words in ["not enough space on the disk of", "must stay free", "is free; free"] {
        assert!(reason.contains(words), "{words:?} is not in {reason}");
    }
}

/// Decides for what is fetched slowly, and waits for that.
fn fetches(site: &mut Site) -> u64 {
    site.bench.net.limit("central", WAN, 100_000).unwrap();
    let digest = |number: u32| Digest::of(format!("{number} of {}", site.release).as_bytes()).to_string();
    let noise: String = (0..6000).map(digest).collect();
    site.publish(&[("usr/share/noise", &noise, 0o644)]);
    // Those of the tree come first; space was asked for before.
    let frames = site.host().paths().cache_dir().join("frames");
    let before = fs::read_dir(&frames).map_or(0, Iterator::count);
    let action = site.decide(&[]);
    wait_for(
        "the first frame",
        LIMIT,
        || Ok((fs::read_dir(&frames).map_or(0, Iterator::count) > before).then_some(())),
    )
    .unwrap();
    action
}

/// What cannot be cached waits; what cannot be imported fails, unless there was room again before that.
fn while_it_is_fetched(site: &mut Site) {
    let (action, runs) = (fetches(site), site.host().system());
    fill(site, 0);
    site.bench.net.limit("central", WAN, 100_000_000).unwrap();
    is_told(site);
    empty(site);
    if site.bench.end_of(action).state == "succeeded" {
        let release = site.release;
        site.ends(action, "succeeded", release);
    } else {
        let (reason, boots) = site.ends(action, "failed", runs);
        assert_eq!(boots, []);
        assert!(reason.to_lowercase().contains("no space left"), "{reason}");
    }
}

/// There is room for what is fetched, but not for what OSTree keeps free, or else for the directories of the checkout.
fn while_little_is_free(site: &mut Site) {
    let (action, runs) = (fetches(site), site.host().system());
    fill(site, 3 << 10);
    site.bench.net.limit("central", WAN, 100_000_000).unwrap();
    site.bench.end_of(action);
    empty(site);
    let (reason, boots) = site.ends(action, "failed", runs);
    assert_eq!(boots, []);
    assert!(reason.to_lowercase().contains("no space left"), "{reason}");
}

#[test]
fn a_full_disk_is_told_with_figures_and_the_operating_system_after_it_comes() {
    let mut site = Site::with(1, |device| device.give_sysroot_disk(DISK_MIB).unwrap());
    before_it_is_fetched(&mut site);
    while_it_is_fetched(&mut site);
    while_little_is_free(&mut site);
    let runs = site.release + 1;
    site.publish(&[]);
    let action = site.decide(&[]);
    site.ends(action, "succeeded", runs);
}
