//! What bringing a release into a store costs a device's processor and disk: hashing, unpacking, writing.
//!
//! `cargo bench -p fullmetal --bench import`; a name as an argument runs those benches that have it in theirs. Repositories
//! are made where `TMPDIR` says: on a disk of the kind that devices have, or the figures say little.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use criterion::{BatchSize, Criterion, Throughput};
use fullmetal::publish::{Options, Published, Source, run};
use fullmetal::repo::{Import, LibostreeStore, MemoryStore, Objects, Packed, installed};
use fullmetal_proto::wire::{Frame, Manifest, Pieces};
use fullmetal_proto::{Bitmap, Digest};
use std::convert::Infallible;
use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const FILES: u32 = 4_000;
/// Most files are small, and a few are long; in bytes, like a Debian root's.
const SHORTEST: u64 = 2_000;
const LONGEST: u64 = 4 << 20;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hashing(&mut criterion);
    importing(&mut criterion);
    criterion.final_summary();
}

fn hashing(criterion: &mut Criterion) {
    let bytes = vec![0x5a; 1 << 20];
    let mut group = criterion.benchmark_group("hash");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("1 MiB", |b| b.iter(|| Digest::of(black_box(&bytes))));
    group.finish();
}

fn importing(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let release = Release::publish(dir.path());
    let Published { objects, raw_bytes, frames, .. } = release.published;
    let mut group = criterion.benchmark_group(format!("import {objects} objects, {frames} frames"));
    group.throughput(Throughput::Bytes(raw_bytes)).sample_size(10);
    group.bench_function("into memory", |b| {
        b.iter_batched_ref(MemoryStore::new, |store| release.import(store), BatchSize::PerIteration);
    });
    group.bench_function("into libostree", |b| {
        b.iter_batched_ref(
            || {
                let dir = tempfile::tempdir_in(dir.path()).unwrap();
                let store = LibostreeStore::open_or_create(&dir.path().join("repo")).unwrap();
                (store, dir)
            },
            |(store, _)| release.import(store),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A release as a device has it when all has come.
struct Release {
    published: Published,
    pieces: Pieces,
    /// Frames as they are packed.
    packed: Vec<Vec<u8>>,
}

impl Release {
    fn publish(dir: &Path) -> Self {
        let (tree, repo) = (dir.join("tree"), dir.join("central"));
        write_tree(&tree);
        let mut options = Options::new(&repo, Source::Tree { path: tree, cmd: vec!["/bin/true".into()] });
        options.ref_name = Some("apps/root/x86_64".parse().unwrap());
        options.info.name = Some("root".parse().unwrap());
        let published = run(&options, &mut |_, _, _| {}).unwrap();
        let file = repo.join("fullmetal/manifests").join(published.commit.to_string());
        let pieces = Pieces::open(&fs::read(file).unwrap()).unwrap();
        let packed = frames(&repo, &pieces);
        Release { published, pieces, packed }
    }

    fn import(&self, store: &mut dyn Objects) {
        let mut import = Import::plan(&self.pieces, store).unwrap();
        let have = Bitmap::full(self.pieces.count());
        while let Some(run) = import.next(&have) {
            let read = &mut |piece| Ok::<Packed, Infallible>(self.read(piece));
            import.feed(store, run, read).unwrap();
        }
        assert!(installed(store, &self.published.commit).unwrap());
    }

    fn read(&self, piece: u32) -> Packed {
        Packed::Bytes(self.packed[piece as usize].clone())
    }
}

fn frames(repo: &Path, pieces: &Pieces) -> Vec<Vec<u8>> {
    let Pieces::Frames(Manifest { packs, frames, .. }) = pieces else { panic!("publish makes frames") };
    let file = |sha256: &Digest| fs::read(repo.join(format!("fullmetal/packs/{sha256}.pack"))).unwrap();
    let packs: Vec<Vec<u8>> = packs.iter().map(|pack| file(&pack.sha256)).collect();
    let cut = |frame: &Frame| {
        let from = frame.offset as usize;
        packs[frame.pack as usize][from..from + frame.length as usize].to_vec()
    };
    frames.iter().map(cut).collect()
}

/// Files of lengths as of a Pareto distribution with exponent 1, which compress to about half.
fn write_tree(root: &Path) {
    for number in 0..FILES {
        let dir = root.join(format!("usr/lib/part-{:02}", number % 64));
        fs::create_dir_all(&dir).unwrap();
        let length = (SHORTEST * u64::from(FILES) / u64::from(number + 1)).min(LONGEST);
        fs::write(dir.join(format!("file-{number}")), contents(number.into(), length)).unwrap();
    }
    fs::create_dir_all(root.join("bin")).unwrap();
    let program = root.join("bin/true");
    fs::write(&program, "").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every second byte of four is drawn from the seed, the others are the same: half of it is left when it is packed.
fn contents(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed << 1 | 1;
    let mut byte = |at: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if at % 4 < 2 { (state >> 56) as u8 } else { b'-' }
    };
    (0..length).map(&mut byte).collect()
}
