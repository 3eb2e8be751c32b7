//! What is in the packs is what the objects are.

use super::harness::{Bench, command, noise, object_path, publish};
use fullmetal_proto::wire::{self, ObjectKind};
use ostree::gio::{Cancellable, MemoryInputStream};
use ostree::glib::{Bytes, Variant, VariantTy};
use std::fs;

#[test]
fn objects_from_frames_make_a_repo_that_passes_fsck() {
    let bench = Bench::new();
    let options = bench.options();
    fs::write(bench.path("rootfs/etc/large"), noise(300_000, 1)).unwrap();
    let published = publish(&options).unwrap();
    let manifest = bench.manifest(&published.commit);
    assert_eq!(manifest.objects.len(), published.objects);
    let large = manifest.objects.iter().find(|o| o.length > 300_000).unwrap();
    assert!(manifest.starts().frames_of(large).count() >= 5, "it spans frames");
    let objects = bench.decode(&manifest);
    let device = bench.path("device");
    command("ostree", &["init", "--mode=bare-user", &format!("--repo={}", device.display())]);
    let repo = ostree::Repo::new_for_path(&device);
    repo.open(Cancellable::NONE).unwrap();
    let transaction = repo.auto_transaction(Cancellable::NONE).unwrap();
    for ((kind, sum), stream) in &objects {
        let sum = sum.to_string();
        let (kind, ty) = match kind {
            1 => {
                let input = MemoryInputStream::from_bytes(&Bytes::from(stream));
                repo.write_content(Some(&sum), &input, stream.len() as u64, Cancellable::NONE).unwrap();
                continue;
            }
            2 => (ostree::ObjectType::DirTree, "(a(say)a(sayay))"),
            3 => (ostree::ObjectType::DirMeta, "(uuua(ayay))"),
            _ => (ostree::ObjectType::Commit, "(a{sv}aya(say)sstayay)"),
        };
        let variant = Variant::from_data_with_type(stream.clone(), VariantTy::new(ty).unwrap());
        repo.write_metadata(kind, Some(&sum), &variant, Cancellable::NONE).unwrap();
    }
    transaction.commit(Cancellable::NONE).unwrap();
    let device = format!("--repo={}", device.display());
    command("ostree", &["fsck", &device]);
    let commit = published.commit.to_string();
    let listing = command("ostree", &["ls", "-R", "-X", "-C", &device, &commit]);
    assert_eq!(listing, bench.ostree(&["ls", "-R", "-X", "-C", &commit]));
}

#[test]
fn metadata_lies_first_in_frames_of_its_own() {
    let bench = Bench::new();
    let published = publish(&bench.options()).unwrap();
    let manifest = bench.manifest(&published.commit);
    assert_eq!(manifest.objects[0].id.kind, ObjectKind::Commit);
    let is_file = |o: &&wire::ObjectEntry| o.id.kind == ObjectKind::File;
    let last_metadata =
        manifest.objects.iter().filter(|o| !is_file(o)).map(|o| *manifest.starts().frames_of(o).end()).max();
    let first_file = manifest.objects.iter().filter(is_file).map(|o| o.frame).min();
    assert!(last_metadata < first_file);
    assert!(manifest.objects.is_sorted_by_key(|o| o.id.kind == ObjectKind::File));
    assert_eq!(published.packed_bytes, published.new_packed_bytes);
}

#[test]
fn the_same_release_gives_the_same_bytes_in_another_repo() {
    let (a, b) = (Bench::new(), Bench::new());
    let mut published = Vec::new();
    for bench in [&a, &b] {
        let mut options = bench.options();
        options.timestamp = Some(1);
        fs::write(bench.path("rootfs/etc/large"), noise(500_000, 2)).unwrap();
        published.push(publish(&options).unwrap());
    }
    assert_eq!(published[0], published[1]);
}

#[test]
fn plain_bytes_are_the_sizes_of_the_objects_files() {
    let bench = Bench::new();
    let published = publish(&bench.options()).unwrap();
    let mut expected = 0;
    for object in &bench.manifest(&published.commit).objects {
        expected += fs::metadata(object_path(&bench.repo(), object.id.kind, &object.id.checksum)).unwrap().len();
    }
    assert_eq!(published.plain_bytes, expected);
}
