//! A disk that is too small, or full.

use super::bench::{Bench, LIMIT, nothing_half_written};
use super::said::has;
use fullmetal_sim::lab::{APP, output_of, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A small ext4 file system on a loop device; unmounted when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn mount(image: &Path, at: &Path, mib: u64) -> Self {
        std::fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
        output_of(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image)).unwrap();
        std::fs::create_dir_all(at).unwrap();
        output_of(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at)).unwrap();
        SmallDisk { at: at.to_owned() }
    }

    /// Fills it to the last block.
    fn fill(&self) -> PathBuf {
        let file = self.at.join("filler");
        for block in ["bs=1M", "bs=1K"] {
            let dd = ["if=/dev/zero", block, "oflag=append", "conv=notrunc,fsync"];
            let _ = Command::new("dd").args(dd).arg(format!("of={}", file.display())).output();
        }
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        assert_eq!(stat.f_bavail, 0, "the fault does not bite: bytes of {} are free", stat.f_frsize);
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: something may still be ending in it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

#[test]
fn a_disk_that_is_too_small_is_told_before_the_first_byte_and_a_full_one_ends_nothing() {
    let mut bench = Bench::bare(1);
    // Declared after the bench, so unmounted before its directories go.
    let disk = on_small_disk(&mut bench, 128);
    bench.publish();
    bench.deploys();

    let before = bench.device().status().unwrap()["peer"]["bytes_from_peers"].clone();
    bench.publish_with(60 << 20, &["--level", "1"]);
    bench.deploy();
    bench.fails(&["not enough space on the disk of", "var/lib/fullmetal/repo", "the update needs", "free", "more"]);
    let status = bench.device().status().unwrap();
    assert_eq!(status["peer"]["bytes_from_peers"], before, "something was fetched");
    nothing_half_written(bench.device());

    bench.publish();
    let filler = disk.fill();
    bench.deploy();
    let told = wait_for("the agent to postpone it", LIMIT, || {
        let log = std::fs::read_to_string(bench.device().log("agent")).unwrap();
        Ok(log.lines().find(|l| l.contains("announcement postponed")).map(str::to_owned))
    });
    bench.check();
    has(&told.unwrap(), &["var/lib/fullmetal/bundles", "No space left", "make space", "tried again every 10 s"]);
    // The record of a start finds no space either; the agent lives on and tries again.
    let device = &mut bench.site.devices[0];
    device.end_agent();
    device.start_agent().unwrap();
    let trouble = wait_for("trouble in the status", LIMIT, || {
        bench.site.devices[0].check()?;
        let status = bench.device().status()?;
        Ok(status["trouble"].as_array().and_then(|t| t.first()?.as_str().map(str::to_owned)))
    });
    has(&trouble.unwrap(), &["var/lib/fullmetal", "No space left", "tried again"]);
    bench.check();
    std::fs::remove_file(filler).unwrap();
    let release = bench.release;
    bench.succeeds(release);
    let told = || bench.device().status().map(|s| s["trouble"].as_array().is_some_and(Vec::is_empty).then_some(()));
    wait_for("the trouble to end", LIMIT, told).unwrap();
    nothing_half_written(bench.device());
}

#[test]
fn leftovers_that_fill_the_disk_go_at_the_next_start() {
    let mut bench = Bench::bare(1);
    let disk = on_small_disk(&mut bench, 128);
    bench.publish();
    bench.deploys();
    let device = &mut bench.site.devices[0];
    device.end_agent();
    let left = disk.at.join("apps").join(APP).join("ab".repeat(32));
    std::fs::create_dir_all(&left).unwrap();
    let filler = disk.fill();
    std::fs::rename(filler, left.join("file")).unwrap();
    device.start_agent().unwrap();
    wait_for("the leftovers to go", LIMIT, || Ok((!left.exists()).then_some(()))).unwrap();
    bench.check();
    bench.publish();
    bench.deploys();
    nothing_half_written(bench.device());
}

/// Moves the first device's state to a small disk, before it has any but the app's data.
fn on_small_disk(bench: &mut Bench, mib: u64) -> SmallDisk {
    let image = bench.dir.path().join("disk");
    let device = &mut bench.site.devices[0];
    device.end_agent();
    let state = device.root().join("var/lib/fullmetal");
    std::fs::remove_dir_all(&state).unwrap();
    let disk = SmallDisk::mount(&image, &state, mib);
    device.write_data(APP, "port", "8080").unwrap();
    device.start_agent().unwrap();
    disk
}

#[test]
fn a_full_cache_is_told_and_goes_on_when_there_is_space() {
    let mut bench = Bench::new(1);
    let image = bench.dir.path().join("cache");
    let device = &mut bench.site.devices[0];
    device.end();
    let cache = device.root().join("var/cache/fullmetal");
    let disk = SmallDisk::mount(&image, &cache, 16);
    let uid = Some(fullmetal_sim::lab::PEER_UID);
    std::os::unix::fs::chown(&cache, uid, uid).unwrap();
    device.start_peer().unwrap();
    device.start_agent().unwrap();
    wait_for("the peer", Duration::from_secs(20), || Ok(bench.device().status()?["peer"].as_object().map(|_| ())))
        .unwrap();
    bench.publish_with(3 << 20, &[]);
    let filler = disk.fill();
    bench.deploy();
    let told = wait_for("somebody to tell of the full cache", LIMIT, || {
        let logs = ["peer", "agent"].map(|p| std::fs::read_to_string(bench.device().log(p)).unwrap_or_default());
        Ok(logs.concat().lines().find(|l| l.contains("is full")).map(str::to_owned))
    });
    has(&told.unwrap(), &["var/cache/fullmetal", "free some space or lower peer.cache_bytes_max"]);
    bench.check();
    std::fs::remove_file(filler).unwrap();
    let release = bench.release;
    bench.succeeds(release);
    nothing_half_written(bench.device());
}
