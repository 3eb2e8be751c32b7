//! Images that umoci makes and skopeo copies.

use super::super::harness::{Bench, command, name, publish};
use super::layout::{options, source};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An image of two layers: busybox, and one that removes a file of the first and adds a setuid program.
fn umoci_image(bench: &Bench) -> String {
    let (layout, bundle) = (bench.path("umoci"), bench.path("bundle"));
    let image = format!("{}:v1", layout.display());
    let (bundle_path, rootfs) = (bundle.display().to_string(), bundle.join("rootfs"));
    let umoci = |args: &[&str]| command("umoci", args);
    let rootless: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--rootless"] };
    umoci(&["init", "--layout", &layout.display().to_string()]);
    umoci(&["new", "--image", &image]);
    for step in [first_layer, second_layer] {
        let _ = fs::remove_dir_all(&bundle);
        umoci(&[&["unpack"], rootless, &["--image", &image, &bundle_path]].concat());
        step(&rootfs);
        umoci(&["repack", "--image", &image, &bundle_path]);
    }
    umoci(&["config", "--image", &image, "--config.entrypoint", "/bin/busybox", "--config.cmd", "true"]);
    image
}

fn first_layer(rootfs: &Path) {
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    fs::hard_link(rootfs.join("bin/busybox"), rootfs.join("bin/sh")).unwrap();
    fs::create_dir_all(rootfs.join("etc/old")).unwrap();
    fs::write(rootfs.join("etc/old/file"), "1").unwrap();
    fs::write(rootfs.join("etc/gone"), "1").unwrap();
}

fn second_layer(rootfs: &Path) {
    fs::remove_file(rootfs.join("etc/gone")).unwrap();
    fs::remove_dir_all(rootfs.join("etc/old")).unwrap();
    fs::write(rootfs.join("etc/old"), "now a file").unwrap();
    fs::write(rootfs.join("bin/su"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(rootfs.join("bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
}

#[test]
fn images_of_umoci_and_copies_by_skopeo_make_the_same_tree() {
    let bench = Bench::new();
    let image = umoci_image(&bench);
    let tree = |path: &str, ref_name: &str| {
        let mut options = options(&bench, Path::new(path));
        options.ref_name = Some(name(ref_name));
        source(&mut options).arch = Some(std::env::consts::ARCH.parse().unwrap());
        publish(&options).unwrap();
        bench.ostree(&["ls", "-RCX", ref_name])
    };
    let first = tree(&image, "apps/umoci");
    for line in ["-04755 ", "/rootfs/bin/su\n", "/rootfs/etc/old\n", "/rootfs/bin/sh\n"] {
        assert!(first.contains(line), "{line}: {first}");
    }
    assert!(!first.contains("etc/gone") && !first.contains("old/file") && !first.contains(".wh."), "{first}");
    assert_eq!(bench.ostree(&["cat", "apps/umoci", "/rootfs/etc/old"]), "now a file");
    let copy = |to: &str, options: &[&str]| {
        let to = format!("{}:v2", bench.path(to).display());
        let policy = ["--insecure-policy", "copy", "-q"];
        command("skopeo", &[&policy, options, &[&format!("oci:{image}"), &format!("oci:{to}")]].concat());
        to
    };
    let zstd = copy("skopeo-zstd", &["--dest-compress-format", "zstd", "--dest-compress"]);
    assert_eq!(tree(&zstd, "apps/zstd"), first);
    let blobs = fs::read_dir(bench.path("skopeo-zstd/blobs/sha256")).unwrap();
    let is_zstd = |path| fs::read(path).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(blobs.filter(|e| is_zstd(e.as_ref().unwrap().path())).count(), 2);
    assert_eq!(tree(&copy("skopeo", &[]), "apps/gzip"), first);
}
