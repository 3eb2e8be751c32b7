//! A central repo that gives wrong bytes, none, or not those that were asked for.

use super::bench::{Bench, nothing_half_written};
use fullmetal_proto::Digest;
use fullmetal_proto::wire::manifest::{Frame, ObjectKind, Pack};
use fullmetal_proto::wire::{Manifest, ObjectId, open, seal};
use fullmetal_sim::lab::{APP_REF, Answers};
use std::path::PathBuf;

/// So many bytes that do not compress make more frames than one Range request brings.
const NOISE: usize = 3 << 20;
const MANY_FRAMES: [&str; 2] = ["--frame-size", "64K"];

fn manifest(bench: &Bench, commit: &str) -> Manifest {
    open(&std::fs::read(bench.at_central("manifests", commit)).unwrap()).unwrap().document
}

/// The pack that this release added.
fn new_pack(bench: &Bench, commit: &str) -> PathBuf {
    let largest = manifest(bench, commit).packs.into_iter().max_by_key(|p| p.length).unwrap();
    bench.at_central("packs", &format!("{}.pack", largest.sha256))
}

fn publish_many_frames(bench: &mut Bench) -> String {
    bench.publish_with(NOISE, &MANY_FRAMES)["commit"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_missing_at_central_is_waited_for_and_named() {
    let mut bench = Bench::new(1);
    let commit = publish_many_frames(&mut bench);
    let pack = new_pack(&bench, &commit);
    let away = bench.dir.path().join("away");
    std::fs::rename(&pack, &away).unwrap();
    let name = pack.file_name().unwrap().to_string_lossy().into_owned();
    bench.deploy();
    bench.has_trouble(&["http://10.98.0.2", &name, "does not exist", "backup", "--recommit"]);
    std::fs::rename(&away, &pack).unwrap();
    let release = bench.release;
    bench.succeeds(release);

    let commit = publish_many_frames(&mut bench);
    let pack = new_pack(&bench, &commit);
    let whole = std::fs::read(&pack).unwrap();
    std::fs::write(&pack, &whole[..whole.len() / 2]).unwrap();
    bench.deploy();
    bench.has_trouble(&["http://10.98.0.2", "is shorter than its manifest says", "backup", "--recommit"]);
    std::fs::write(&pack, &whole).unwrap();
    let release = bench.release;
    bench.succeeds(release);
    nothing_half_written(bench.device());
}

#[test]
fn a_server_without_range_is_named_and_one_with_range_is_enough() {
    let mut bench = Bench::new(1);
    publish_many_frames(&mut bench);
    bench.site.central.restart(Answers::WithoutRanges).unwrap();
    bench.deploy();
    bench.has_trouble(&["http://10.98.0.2", ".pack", "this server has no Range", "nginx"]);
    bench.site.central.restart(Answers::Well).unwrap();
    let release = bench.release;
    bench.succeeds(release);
    nothing_half_written(bench.device());
}

#[test]
fn a_flipped_byte_at_central_never_gets_a_name() {
    let mut bench = Bench::new(1);
    let commit = publish_many_frames(&mut bench);
    let pack = new_pack(&bench, &commit);
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let manifest = manifest(&bench, &commit);
    let holds = |f: &&Frame| {
        let within = f.offset..f.offset + u64::from(f.length);
        pack.ends_with(format!("{}.pack", manifest.packs[f.pack as usize].sha256)) && within.contains(&(middle as u64))
    };
    let frame = *manifest.frames.iter().find(holds).unwrap();
    bench.deploy();
    let name = pack.file_stem().unwrap().to_string_lossy().into_owned();
    bench.has_trouble(&["central has wrong bytes for frame", &name, "backup", "remove it", "--recommit"]);
    for node in [bench.device(), &bench.site.gateway] {
        let cached = node.root().join("var/cache/fullmetal/frames").join(frame.sha256.to_string());
        assert!(!cached.exists(), "{}", cached.display());
        nothing_half_written(node);
    }
    // As the message says.
    std::fs::remove_file(&pack).unwrap();
    let tree = bench.release;
    bench.release += 1;
    let (release, repo) = (bench.release.to_string(), bench.repo());
    let key = bench.site.fleet.keys().join("build.key").to_string_lossy().into_owned();
    let mut again = vec!["publish", "--recommit", APP_REF, "--repo", &repo, "--key", &key, "--name", "web"];
    again.extend(["--release", &release, "--probation", "1"]);
    bench.fullmetal(&again).succeeds();
    bench.deploy();
    bench.succeeds(tree);
}

#[test]
fn a_flipped_object_in_a_well_hashed_frame_is_refused_by_the_device() {
    let mut bench = Bench::new(1);
    let commit = bench.publish()["commit"].as_str().unwrap().to_owned();
    let object = lie(&bench, &commit);
    bench.deploy();
    bench.fails(&["the manifest of", &commit, "lies about object", &object.to_string(), "remove", "publish --commit"]);
    nothing_half_written(bench.device());
    std::fs::remove_file(bench.at_central("manifests", &commit)).unwrap();
    bench.frame_again(&commit);
    bench.deploys();
}

/// Gives the commit a manifest whose frames are what it says, but one object's bytes are not.
fn lie(bench: &Bench, commit: &str) -> ObjectId {
    let mut manifest = manifest(bench, commit);
    let newest = manifest.objects.iter().find(|o| o.id.kind == ObjectKind::Commit).unwrap();
    let newest = manifest.frames[newest.frame as usize].pack;
    let is_new = |f: u32| manifest.frames[f as usize].pack == newest;
    let files = manifest.objects.iter().filter(|o| o.id.kind == ObjectKind::File && is_new(o.frame));
    let starts = manifest.starts();
    let entry = *files.filter(|o| starts.frames_of(o).count() == 1).min_by_key(|o| o.length).unwrap();
    let frame = manifest.frames[entry.frame as usize];
    let pack = bench.at_central("packs", &format!("{}.pack", manifest.packs[frame.pack as usize].sha256));
    let pack = std::fs::read(pack).unwrap();
    let compressed = &pack[frame.offset as usize..][..frame.length as usize];
    let mut raw = zstd::bulk::decompress(compressed, frame.raw_length as usize).unwrap();
    raw[entry.offset as usize + entry.length as usize - 1] ^= 1;
    let compressed = zstd::bulk::compress(&raw, 3).unwrap();
    let sha256 = Digest::of(&compressed);
    std::fs::write(bench.at_central("packs", &format!("{sha256}.pack")), &compressed).unwrap();
    let length = compressed.len() as u32;
    manifest.packs.push(Pack { sha256, length: length.into() });
    let pack = manifest.packs.len() as u32 - 1;
    manifest.frames[entry.frame as usize] = Frame { pack, offset: 0, length, raw_length: frame.raw_length, sha256 };
    std::fs::write(bench.at_central("manifests", commit), seal(&manifest, &[]).unwrap()).unwrap();
    entry.id
}
