//! Images that are broken or mean harm: what is said, and that no repo is made.

use super::super::harness::{Bench, publish};
use super::layout::{Layer, Layout, gzip, one_image, options, source};
use crate::publish::oci::read_within;
use fullmetal_proto::Digest;
use serde_json::json;
use std::fs;
use tar::EntryType;

/// What is said about the layout, whose fault it is not to have typed it.
fn refused(bench: &Bench, layout: &Layout) -> String {
    let error = publish(&options(bench, &layout.dir)).unwrap_err();
    assert!(!error.is_usage(), "{error}");
    assert!(!bench.repo().exists(), "{error}");
    error.to_string()
}

#[test]
fn members_that_lead_out_of_the_image_are_refused() {
    let (one, two) = ("d/".repeat(48), format!("a/{}", "d/".repeat(47)));
    let deep = Layer::new().dir(&one).symlink("a", &one).dir(&two).symlink("b", &two);
    let round = Layer::new().symlink("a", "b").symlink("b", "a");
    let cases: Vec<(Layer, &str)> = vec![
        (Layer::new().file("../escape", ""), "layer 2: ../escape: paths with '..' are refused"),
        (Layer::new().file("/etc/passwd", ""), "absolute paths are refused"),
        (Layer::new().file("etc/../../.wh.x", ""), "paths with '..' are refused"),
        (Layer::new().link("h", "/etc/shadow"), "absolute paths are refused"),
        (Layer::new().link("h", "../../etc/shadow"), "paths with '..' are refused"),
        (Layer::new().symlink("etc", "/../../usr").link("h", "etc/shadow"), "no file before it"),
        (Layer::new().link("h", "bin"), "no file before it"),
        (Layer::new().add("sda", EntryType::Block, 0o644, b"", ""), "device node"),
        (Layer::new().add("pipe", EntryType::Fifo, 0o644, b"", ""), "device node"),
        (Layer::new().file("bin/app/x", ""), "lies beneath a file"),
        (round.file("a/x", ""), "symlinks"),
        (Layer::new().file(".wh.", ""), "whiteout that names no file"),
        (Layer::new().file("x/.wh...", ""), "whiteout that names no file"),
        (deep.file(&format!("b/{}x", "d/".repeat(40)), ""), "lies deeper than"),
    ];
    for (layer, expected) in cases {
        let bench = Bench::new();
        let said = refused(&bench, &one_image(&bench, json!({}), vec![layer]));
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_blob_that_is_not_what_its_name_says_is_refused() {
    let bench = Bench::new();
    let layout = one_image(&bench, json!({}), vec![Layer::new().file("x", "1"), Layer::new().file("y", "1")]);
    let blobs: Vec<_> = fs::read_dir(layout.dir.join("blobs/sha256")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(blobs.len(), 5);
    for blob in &blobs {
        let whole = fs::read(blob).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for (bytes, expected) in [
            (flipped, "is corrupt: "),
            (whole[..whole.len() - 1].to_vec(), "is corrupt: "),
            ([&whole[..], b"\n"].concat(), "is corrupt: "),
        ] {
            fs::write(blob, bytes).unwrap();
            let said = refused(&bench, &layout);
            assert!(said.contains(expected) && said.contains(blob.to_str().unwrap()), "{said}");
        }
        fs::remove_file(blob).unwrap();
        assert!(refused(&bench, &layout).contains("is missing from the layout"));
        std::os::unix::fs::symlink("/dev/zero", blob).unwrap();
        refused(&bench, &layout);
        fs::remove_file(blob).unwrap();
        fs::write(blob, whole).unwrap();
    }
    publish(&options(&bench, &layout.dir)).unwrap();
}

#[test]
fn a_layer_is_what_the_configuration_says_it_is_after_decompression() {
    let bench = Bench::new();
    let mut layout = Layout::new(&bench);
    let (layer, other) = (Layer::new().program("app").bytes(), Layer::new().program("other").bytes());
    let blob = layout.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip(&layer));
    for (diff_ids, kind, expected) in [
        (vec![&other], "", "but the image's configuration says"),
        (vec![&layer, &layer], "", "1 layers, 2 in its configuration"),
        (vec![], "", "1 layers, 0 in its configuration"),
        (vec![&layer], "application/vnd.oci.image.layer.v1.tar+lzma", "only tar, tar+gzip and tar+zstd are read"),
        (vec![&layer], "application/vnd.oci.image.layer.v1.tar", "but the image's configuration says"),
        (vec![&layer], "", ""),
    ] {
        let diff_ids: Vec<_> = diff_ids.iter().map(|l| format!("sha256:{}", Digest::of(l))).collect();
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        let run = json!({ "Cmd": ["/app"] });
        let config = json!({ "architecture": "amd64", "os": "linux", "config": run, "rootfs": rootfs });
        let mut blob = blob.clone();
        if !kind.is_empty() {
            blob["mediaType"] = json!(kind);
        }
        layout.index.clear();
        let manifest = layout.manifest(&config, &[blob]);
        layout.list(manifest, "");
        if expected.is_empty() {
            publish(&options(&bench, &layout.dir)).unwrap();
        } else {
            let said = refused(&bench, &layout);
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}

#[test]
fn a_bomb_is_stopped_at_the_bound_of_all_layers_together() {
    let bench = Bench::new();
    let zeros = "\0".repeat(1 << 20);
    let layers = || vec![Layer::new().file("a", &zeros), Layer::new().file("b", &zeros)];
    let layout = one_image(&bench, json!({}), layers());
    let mut options = options(&bench, &layout.dir);
    let image = source(&mut options);
    let arch = image.arch.clone().unwrap();
    let total: u64 = layers().into_iter().map(|l| l.bytes().len() as u64).sum::<u64>() + 4096;
    let read = |bound| read_within(image, &arch, &[], bound);
    assert!(read(total).is_ok());
    for bound in [total - 4096, 3 << 19, 100] {
        let said = read(bound).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(&format!("longer than {bound} bytes after decompression")), "{said}");
    }
}

#[test]
fn documents_that_are_too_long_or_make_no_sense_are_refused() {
    let bench = Bench::new();
    let layout = one_image(&bench, json!({}), vec![]);
    let index = fs::read(layout.dir.join("index.json")).unwrap();
    for (file, text, expected) in [
        ("index.json", " ".repeat((4 << 20) + 1), "longer than 4 MiB"),
        ("index.json", "[]".to_owned(), "is not what an image has there"),
        ("index.json", r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), "has no image"),
        ("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#.to_owned(), "version \"2.0.0\" is not known"),
    ] {
        fs::write(layout.dir.join(file), text).unwrap();
        let said = refused(&bench, &layout);
        assert!(said.contains(expected), "{said}");
        fs::write(layout.dir.join("index.json"), &index).unwrap();
    }
}
