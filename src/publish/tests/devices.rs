//! What a device's store makes of the frames.

use super::harness::{Bench, command, noise, publish};
use crate::publish::Published;
use crate::repo::{Import, LibostreeStore, Packed};
use fullmetal_proto::Bitmap;
use fullmetal_proto::wire::Pieces;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Imports a release into the device's store from the frames it needs; how many those were.
fn import(bench: &Bench, store: &mut LibostreeStore, published: &Published) -> u32 {
    let manifest = bench.manifest(&published.commit);
    let mut import = Import::plan(&Pieces::Frames(manifest.clone()), store).unwrap();
    let need = import.needed();
    let have: Bitmap = need.clone();
    let mut read = |i: u32| {
        assert!(need.get(i), "frame {i} is not needed");
        let frame = manifest.frames[i as usize];
        let pack = bench.pack(&manifest.packs[frame.pack as usize].sha256);
        let bytes = pack[frame.offset as usize..][..frame.length as usize].to_vec();
        Ok::<_, Infallible>(Packed::Bytes(bytes))
    };
    while let Some(run) = import.next(&have) {
        import.feed(store, run, &mut read).unwrap();
    }
    import.flush(store).unwrap();
    assert!(import.is_complete());
    need.count()
}

#[test]
fn a_device_with_the_last_release_needs_the_new_pack_only() {
    let bench = Bench::new();
    let options = bench.options();
    fs::write(bench.path("rootfs/etc/large"), noise(300_000, 5)).unwrap();
    fs::set_permissions(bench.path("rootfs/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    let device = bench.path("device");
    let mut store = LibostreeStore::open_or_create(&device).unwrap();
    let first = publish(&options).unwrap();
    assert_eq!(import(&bench, &mut store, &first) as usize, first.frames);
    fs::write(bench.path("rootfs/etc/new"), noise(1000, 6)).unwrap();
    let second = publish(&options).unwrap();
    let manifest = bench.manifest(&second.commit);
    let new_frames = manifest.frames.iter().filter(|f| f.pack == 0).count();
    assert_eq!(import(&bench, &mut store, &second) as usize, new_frames);
    let repo = format!("--repo={}", device.display());
    command("ostree", &["fsck", &repo]);
    let commit = second.commit.to_string();
    let listing = command("ostree", &["ls", "-R", "-X", "-C", &repo, &commit]);
    assert_eq!(listing, bench.ostree(&["ls", "-R", "-X", "-C", &commit]));
}
